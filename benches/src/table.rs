//! Reports as text for a terminal: one table, an environment line, the extra tables.

mod columns;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::report::{Bound, Limit, Report, Reports, Row, Subject, Verdict};

use columns::Columns;

/// Everything, rows in the order of their targets; those without one come last.
pub(crate) fn render(all: &Reports) -> String {
    let mut columns = Columns::new(&["bench", "ours", "peer", "ratio", "target", "verdict"]);
    let rows = all.reports.iter().flat_map(|report| &report.rows);
    let mut rows: Vec<_> = rows.collect();
    rows.sort_by_key(|row| target_number(row));
    for row in &rows {
        let mut bench = row.targets.join(" ");
        if !bench.is_empty() {
            bench.push(' ');
        }
        bench.push_str(&row.bench);
        let cells = [
            bench,
            ours(row),
            peer_with_name(row),
            ratio(row),
            target(row),
            verdict(row),
        ];
        columns.push(cells);
    }
    let mut out = columns.to_string();
    for row in rows {
        if let Some(note) = &row.note {
            let _infallible = writeln!(out, "note: {}: {note}", row.bench);
        }
    }
    out.push('\n');
    for line in all.reports.iter().filter_map(control) {
        let _infallible = writeln!(out, "{line}");
    }
    let _infallible = writeln!(out, "{}", environment(all));
    let tables = all.reports.iter().flat_map(|report| &report.tables);
    for table in tables {
        let names: Vec<_> = table.columns.iter().map(String::as_str).collect();
        let mut columns = Columns::new(&names);
        for row in &table.rows {
            columns.push(row.iter().cloned());
        }
        let _infallible = write!(out, "\n{}\n{columns}", table.title);
    }
    out
}

/// For sorting: 2 for `T2`.
pub(crate) fn target_number(row: &Row) -> u32 {
    let first = row.targets.first().and_then(|target| target.get(1..));
    first.and_then(|n| n.parse().ok()).unwrap_or(u32::MAX)
}

/// Our value with its unit.
pub(crate) fn ours(row: &Row) -> String {
    let ours = row.ours.as_ref();
    ours.map(|ours| quantity(ours.value, &ours.unit))
        .unwrap_or_default()
}

/// The peer's value with its unit, and who it is.
pub(crate) fn peer_with_name(row: &Row) -> String {
    let peer = row.peer.as_ref();
    peer.map(|peer| format!("{}, {}", quantity(peer.value, &peer.unit), peer.name))
        .unwrap_or_default()
}

/// `6.02 [5.1..7.0]`.
pub(crate) fn ratio(row: &Row) -> String {
    row.ratio
        .map(|spread| {
            format!(
                "{} [{}..{}]",
                times(spread.median),
                times(spread.min),
                times(spread.max)
            )
        })
        .unwrap_or_default()
}

/// The floor, and the moonshot in brackets.
pub(crate) fn target(row: &Row) -> String {
    let bounds = |bounds: &[Bound]| {
        let bounds: Vec<_> = bounds.iter().map(|bound| limit(row, *bound)).collect();
        bounds.join(", ")
    };
    match (bounds(&row.floor), bounds(&row.moonshot)) {
        (floor, moonshot) if moonshot.is_empty() => floor,
        (floor, moonshot) => format!("{floor} ({moonshot})").trim_start().to_owned(),
    }
}

/// In words, loud where something is wrong.
pub(crate) fn verdict(row: &Row) -> String {
    match &row.verdict {
        Verdict::FloorMissed => "FLOOR MISSED".to_owned(),
        Verdict::FloorHolds if row.floor.is_empty() => "moonshot not reached".to_owned(),
        Verdict::FloorHolds if row.moonshot.is_empty() => "holds".to_owned(),
        Verdict::FloorHolds => "floor holds".to_owned(),
        Verdict::MoonshotReached => "moonshot reached".to_owned(),
        Verdict::Informative => String::new(),
        Verdict::Undecided { reason } => format!("no verdict: {reason}"),
        Verdict::Skipped { reason } => format!("skipped: {reason}"),
    }
}

/// One line about machine, build and versions of all suites.
pub(crate) fn environment(all: &Reports) -> String {
    let known = |field: fn(&Report) -> &str| {
        let mut texts = all.reports.iter().map(field);
        texts.find(|text| !text.is_empty()).unwrap_or("unknown")
    };
    let cores = all.reports.iter().map(|report| report.environment.cores);
    let optimised = all.reports.iter().any(|r| r.environment.optimised);
    let tools: BTreeMap<_, _> = all
        .reports
        .iter()
        .flat_map(|report| &report.environment.tools)
        .collect();
    let mut line = format!(
        "{}, {} cores, Linux {}, {}, {}",
        known(|report| &report.environment.cpu),
        cores.max().unwrap_or(0),
        known(|report| &report.environment.kernel),
        known(|report| &report.environment.rustc),
        if optimised {
            "optimised"
        } else {
            "NOT OPTIMISED"
        },
    );
    for (name, version) in tools {
        let _infallible = write!(line, ", {name} {version}");
    }
    line
}

/// How a suite's control went.
fn control(report: &Report) -> Option<String> {
    let control = report.control?;
    let mut line = format!(
        "control of {}: {:.3} [{:.3}..{:.3}]",
        report.suite, control.ratio, control.min, control.max
    );
    if control.attempts > 1 {
        let _infallible = write!(line, ", measured {} times", control.attempts);
    }
    line.push_str(if control.ok { ", ok" } else { ", OFF" });
    if report.quick {
        line.push_str(" (quick run: figures are rough)");
    }
    Some(line)
}

fn limit(row: &Row, bound: Bound) -> String {
    let (sign, limit) = match bound.limit {
        Limit::AtLeast(limit) => ("≥", limit),
        Limit::AtMost(limit) => ("≤", limit),
    };
    match (bound.subject, &row.ours) {
        (Subject::Ratio, _) => format!("{sign} {limit:.2}x"),
        (Subject::Value, Some(ours)) => format!("{sign} {}", quantity(limit, &ours.unit)),
        (Subject::Value, None) => format!("{sign} {limit}"),
    }
}

/// `1.45 M events/s`, `187.2 ns`.
fn quantity(value: f64, unit: &str) -> String {
    match value.abs() {
        size if size >= 1e6 => format!("{:.2} M {unit}", value / 1e6),
        size if size >= 1e4 => format!("{:.1} k {unit}", value / 1e3),
        size if size >= 10.0 || value == 0.0 => format!("{value:.1} {unit}"),
        size if size < 0.01 => format!("{value:.0e} {unit}"),
        _ => format!("{value:.2} {unit}"),
    }
}

/// A ratio with as many digits as it is worth.
fn times(ratio: f64) -> String {
    if ratio >= 100.0 {
        format!("{ratio:.0}")
    } else {
        format!("{ratio:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Control, Spread};

    #[test]
    fn a_row_reads_from_bench_to_verdict() {
        let mut report = Report {
            suite: "micro".to_owned(),
            control: Some(Control {
                ratio: 1.002,
                min: 0.97,
                max: 1.04,
                ok: true,
                attempts: 2,
                tolerance: 0.03,
            }),
            rows: vec![
                Row::skipped("emit / statsd", "not installed"),
                Row::new("emit")
                    .target("T2")
                    .ours(55.25, "ns")
                    .peer("opentelemetry span", 323.0, "ns")
                    .gain(Spread {
                        median: 5.85,
                        min: 5.1,
                        max: 106.2,
                    })
                    .floor(Bound::ratio_at_least(5.0))
                    .moonshot(Bound::ratio_at_least(8.0)),
            ],
            ..Report::default()
        };
        report.judge();
        let text = render(&Reports {
            reports: vec![report],
        });
        let lines: Vec<_> = text.lines().collect();
        let words = lines[2].split("  ").map(str::trim);
        let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
        let expected = [
            "T2 emit",
            "55.2 ns",
            "323.0 ns, opentelemetry span",
            "5.85 [5.10..106]",
            "≥ 5.00x (≥ 8.00x)",
            "floor holds",
        ];
        assert_eq!(words, expected, "{text}");
        assert!(lines[3].ends_with("skipped: not installed"), "{text}");
        assert!(
            text.contains("control of micro: 1.002 [0.970..1.040], measured 2 times, ok"),
            "{text}"
        );
    }

    #[test]
    fn quantities_keep_three_digits_or_so() {
        assert_eq!(quantity(1_450_000.0, "events/s"), "1.45 M events/s");
        assert_eq!(quantity(68_000.0, "ns"), "68.0 k ns");
        assert_eq!(quantity(187.24, "ns"), "187.2 ns");
        assert_eq!(quantity(1.034, "ns"), "1.03 ns");
        assert_eq!(quantity(0.0, "allocations"), "0.0 allocations");
        assert_eq!(quantity(0.000_021, "syscalls"), "2e-5 syscalls");
    }
}
