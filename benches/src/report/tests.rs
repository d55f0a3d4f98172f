//! The verdict on a row, and JSON as another language writes it.

use super::*;

const GOOD: Control = Control {
    ratio: 1.01,
    min: 0.9,
    max: 1.1,
    ok: true,
    attempts: 1,
    tolerance: 0.03,
};

fn gain(median: f64) -> Row {
    let spread = Spread {
        median,
        min: median,
        max: median,
    };
    Row::new("emit")
        .ours(100.0, "ns")
        .peer("peer", 100.0 * median, "ns")
        .gain(spread)
        .floor(Bound::ratio_at_least(5.0))
        .moonshot(Bound::ratio_at_least(8.0))
}

#[track_caller]
fn check(mut row: Row, control: Option<Control>, expected: &str) {
    row.judge(control.as_ref());
    let json = serde_json::to_value(&row.verdict).unwrap();
    let mut text = json["is"].as_str().unwrap().to_owned();
    if let Some(reason) = json["reason"].as_str() {
        text = format!("{text}: {reason}");
    }
    assert_eq!(text, expected);
}

#[test]
fn floor_and_moonshot_are_judged_on_the_median() {
    check(gain(4.99), Some(GOOD), "floor_missed");
    check(gain(5.0), Some(GOOD), "floor_holds");
    check(gain(8.0), Some(GOOD), "moonshot_reached");
    check(gain(f64::NAN), Some(GOOD), "floor_missed");
}

#[test]
fn every_bound_must_hold() {
    let both = |value| {
        gain(9.0)
            .ours(value, "ns")
            .moonshot(Bound::value_at_most(200.0))
    };
    check(both(200.0), Some(GOOD), "moonshot_reached");
    check(both(201.0), Some(GOOD), "floor_holds");
}

#[test]
fn a_floor_without_a_moonshot_just_holds() {
    let row = Row::new("emit")
        .ours(10.0, "ns")
        .floor(Bound::value_at_most(12.0));
    check(row, Some(GOOD), "floor_holds");
}

#[test]
fn without_bounds_there_is_nothing_to_judge() {
    check(Row::new("emit").ours(1.0, "ns"), None, "informative");
}

#[test]
fn a_control_that_is_off_or_missing_gives_no_verdict() {
    let off = Control { ok: false, ..GOOD };
    check(gain(9.0), Some(off), "no_verdict: the control is off");
    check(gain(9.0), None, "no_verdict: no control");
}

#[test]
fn a_count_needs_no_control() {
    let row = Row::new("allocations")
        .ours(0.0, "allocations")
        .exact()
        .floor(Bound::value_at_most(0.0));
    check(row, None, "floor_holds");
}

#[test]
fn a_bound_without_its_figure_gives_no_verdict() {
    let row = Row::new("emit").floor(Bound::ratio_at_most(1.05));
    check(row, Some(GOOD), "no_verdict: no figure");
}

#[test]
fn a_skipped_row_stays_skipped() {
    check(
        Row::skipped("emit", "not installed").floor(Bound::ratio_at_least(1.0)),
        Some(GOOD),
        "skipped: not installed",
    );
}

#[test]
fn the_control_is_judged_by_the_reader() {
    let control = Control {
        ratio: 1.04,
        ..GOOD
    };
    let mut report = Report {
        control: Some(control),
        rows: vec![gain(9.0)],
        ..Report::default()
    };
    report.judge();
    assert!(matches!(report.rows[0].verdict, Verdict::Undecided { .. }));
    assert_eq!(report.missed_floors(), 0);
}

#[test]
fn a_timing_that_cannot_be_told_from_its_peer_gets_no_verdict() {
    let level = |median| {
        let row = gain(median);
        Row {
            floor: vec![Bound::ratio_at_least(1.0)],
            ..row
        }
    };
    let same = "no_verdict: the same, as far as the control tells";
    check(level(0.98), Some(GOOD), same);
    check(level(0.96), Some(GOOD), "floor_missed");
    check(level(0.98).exact(), Some(GOOD), "floor_missed");
    check(gain(4.9), Some(GOOD), "floor_missed");
}

#[test]
fn a_control_is_measured_again_while_it_is_off() {
    let mut measured = [1.2, 0.996, 1.0].into_iter();
    let control = Control::of(0.005, || {
        let median = measured.next().unwrap();
        Spread {
            median,
            min: median,
            max: median,
        }
    });
    assert!(control.ok);
    assert_eq!((control.ratio, control.attempts), (0.996, 2));
}

#[test]
fn json_with_only_what_is_needed_is_read() {
    let text = r#"{"suite": "python", "rows": [
        {"bench": "emit", "ours": {"value": 3, "unit": "x"}, "exact": true,
         "floor": [{"subject": "value", "at_least": 2.5}]},
        {"bench": "other", "verdict": {"is": "skipped", "reason": "missing"}}]}"#;
    let mut report: Report = serde_json::from_str(text).unwrap();
    report.judge();
    assert_eq!(report.rows[0].verdict, Verdict::FloorHolds);
    assert!(matches!(report.rows[1].verdict, Verdict::Skipped { .. }));
}

#[test]
fn a_report_survives_json() {
    let report = Report {
        suite: "micro".to_owned(),
        control: Some(GOOD),
        rows: vec![gain(6.0).target("T2").note("why")],
        ..Report::default()
    };
    let text = serde_json::to_string(&report).unwrap();
    assert!(
        text.contains(r#""floor":[{"subject":"ratio","at_least":5.0}]"#),
        "{text}"
    );
    let again: Report = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string(&again).unwrap(), text);
}
