//! The report of a run and its table.

use std::fmt::Write as _;

use serde::Serialize;

use crate::measure::{CONTROL_TOLERANCE, Comparison};

/// Everything one run found.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Cores the process may use.
    pub(crate) cores: usize,
    /// The same thing measured against itself; far from 1, nothing else can be believed.
    pub(crate) control: Comparison,
    /// The comparisons.
    pub(crate) rows: Vec<Comparison>,
}

/// The table for a terminal.
pub(crate) fn render(report: &Report) -> String {
    let mut out = String::new();
    let believable = (report.control.ratio - 1.0).abs() <= CONTROL_TOLERANCE;
    let _infallible = writeln!(
        out,
        "{} cores, build with optimisation: {}",
        report.cores,
        !cfg!(debug_assertions)
    );
    let _infallible = writeln!(
        out,
        "{:<44} {:>9} {:>9}  {:>7} {:<17} {:>7}  verdict",
        "bench", "ours ns", "peer ns", "ratio", "[min..max]", "floor"
    );
    for row in std::iter::once(&report.control).chain(&report.rows) {
        let verdict = match row.floor {
            None => "",
            Some(_) if !believable => "no verdict",
            Some(floor) if row.ratio >= floor => "holds",
            Some(_) => "MISSED",
        };
        let floor = row
            .floor
            .map(|floor| format!("{floor:.2}"))
            .unwrap_or_default();
        let spread = format!("[{:.2}..{:.2}]", row.lowest, row.highest);
        let _infallible = writeln!(
            out,
            "{:<44} {:>9.1} {:>9.1}  {:>7.2} {spread:<17} {floor:>7}  {verdict}",
            row.name, row.ours_ns, row.peer_ns, row.ratio
        );
    }
    if !believable {
        let _infallible = writeln!(
            out,
            "no verdict: the control is {:.3}, more than {CONTROL_TOLERANCE} from 1",
            report.control.ratio
        );
    }
    out
}
