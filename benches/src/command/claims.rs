//! The performance table of the README, written from the last full run and from nothing else.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::read;
use crate::report::{Reports, Verdict};
use crate::table;

/// The table stands between these.
const BEGIN: &str = "<!-- bench:begin -->";
/// See [`BEGIN`].
const END: &str = "<!-- bench:end -->";

/// Replaces the table in `readme` by that of `reports`; refuses figures that cannot be believed.
pub(super) fn write(reports: &Path, readme: &Path) -> Result<(), String> {
    let text = fs::read_to_string(reports).map_err(|error| {
        format!(
            "there is no full run to claim from ({}: {error}); run `cargo xtask bench all` first",
            reports.display()
        )
    })?;
    let all: Reports = serde_json::from_str(&text)
        .map_err(|error| format!("{} holds no reports: {error}", reports.display()))?;
    let page = replaced(&read(readme)?, &claims(all)?)
        .map_err(|error| format!("{}: {error}", readme.display()))?;
    fs::write(readme, page).map_err(|error| format!("cannot write {}: {error}", readme.display()))
}

/// The table as Markdown, or why there is none.
fn claims(mut all: Reports) -> Result<String, String> {
    if all.reports.is_empty() {
        return Err("the run has no reports".to_owned());
    }
    for report in &mut all.reports {
        report.judge();
        let suite = &report.suite;
        if report.quick {
            return Err(format!("`{suite}` was a --quick run: no claims from that"));
        }
        if let Some(control) = report.control.filter(|control| !control.ok) {
            return Err(format!(
                "the control of `{suite}` is off ({:.3}): no claims from that run, repeat it",
                control.ratio
            ));
        }
        if let [only] = report.rows.as_slice()
            && let Verdict::Skipped { reason } = &only.verdict
        {
            return Err(format!("`{suite}` did not run: {reason}"));
        }
        for row in &report.rows {
            if !row.targets.is_empty() && !report.environment.optimised {
                return Err(format!("`{suite}` was built without optimisation"));
            }
            if let Verdict::Undecided { reason } = &row.verdict {
                return Err(format!("`{}` has no verdict: {reason}", row.bench));
            }
        }
    }
    Ok(markdown(&all))
}

fn markdown(all: &Reports) -> String {
    let mut out = String::from(
        "| target | what | ours | peer | ratio | floor (moonshot) | verdict |\n|---|---|--:|--:|--:|---|---|\n",
    );
    let rows = all.reports.iter().flat_map(|report| &report.rows);
    let mut rows: Vec<_> = rows.filter(|row| !row.targets.is_empty()).collect();
    rows.sort_by_key(|row| table::target_number(row));
    for row in rows {
        let cells = [
            row.targets.join(", "),
            row.bench.clone(),
            table::ours(row),
            table::peer_with_name(row),
            table::ratio(row),
            table::target(row),
            table::verdict(row),
        ];
        let _infallible = writeln!(out, "| {} |", cells.map(|cell| escaped(&cell)).join(" | "));
    }
    let _infallible = write!(out, "\n{}", table::environment(all));
    out
}

/// A cell cannot hold the sign that ends it.
fn escaped(cell: &str) -> String {
    cell.replace('|', "\\|")
}

fn replaced(page: &str, table: &str) -> Result<String, String> {
    let missing = || format!("no {BEGIN} and {END} around the table");
    let (head, rest) = page.split_once(BEGIN).ok_or_else(missing)?;
    let (_, tail) = rest.split_once(END).ok_or_else(missing)?;
    Ok(format!("{head}{BEGIN}\n{}\n{END}{tail}", table.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Bound, Control, Environment, Report, Row, Spread};

    fn full() -> Reports {
        let spread = Spread {
            median: 6.0,
            min: 5.5,
            max: 6.5,
        };
        let row = Row::new("kept emit")
            .target("T2")
            .ours(50.0, "ns")
            .peer("prost | queue", 300.0, "ns")
            .gain(spread)
            .floor(Bound::ratio_at_least(5.0));
        let control = Control {
            ratio: 1.01,
            min: 0.9,
            max: 1.1,
            ok: true,
            attempts: 1,
            tolerance: 0.03,
        };
        Reports {
            reports: vec![Report {
                suite: "micro".to_owned(),
                control: Some(control),
                rows: vec![row, Row::new("only informs").ours(1.0, "ns")],
                environment: Environment {
                    optimised: true,
                    ..Environment::default()
                },
                ..Report::default()
            }],
        }
    }

    #[track_caller]
    fn check_refused(reports: Reports, expected: &str) {
        let error = claims(reports).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn only_rows_with_a_target_are_claimed() {
        let table = claims(full()).unwrap();
        assert!(
            table.contains("| T2 | kept emit | 50.0 ns | 300.0 ns, prost \\| queue | 6.00"),
            "{table}"
        );
        assert!(!table.contains("only informs"), "{table}");
    }

    #[test]
    fn a_quick_run_claims_nothing() {
        let mut reports = full();
        reports.reports[0].quick = true;
        check_refused(reports, "--quick");
    }

    #[test]
    fn a_failed_control_claims_nothing() {
        let mut reports = full();
        if let Some(control) = &mut reports.reports[0].control {
            control.ratio = 0.96;
        }
        check_refused(reports, "control of `micro` is off (0.960)");
    }

    #[test]
    fn a_row_without_verdict_claims_nothing() {
        let mut reports = full();
        reports.reports[0].control = None;
        check_refused(reports, "has no verdict: no control");
    }

    #[test]
    fn a_run_without_one_of_the_suites_claims_nothing() {
        let mut reports = full();
        reports.reports.push(Report::skipped("python", "no venv"));
        check_refused(reports, "`python` did not run: no venv");
    }

    #[test]
    fn a_run_without_reports_claims_nothing() {
        check_refused(Reports::default(), "no reports");
    }

    #[test]
    fn only_what_is_between_the_markers_is_replaced() {
        let page = format!("head\n{BEGIN}\nold\n{END}\ntail\n");
        let page = replaced(&page, "new\n").unwrap();
        assert_eq!(page, format!("head\n{BEGIN}\nnew\n{END}\ntail\n"));
        assert!(replaced("no markers", "new").is_err());
    }
}
