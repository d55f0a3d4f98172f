//! What passes: toggle, filter and sampling, of single events and of spans.

use telemetry_core::{
    Outcome,
    emit::{Budget, Fields, Overflow, PolicySpec, RecorderConfig, SamplingRule},
    ledger::Reason,
    wire::Control,
};

use crate::{drain, emit, recorder, small_queue};

#[test]
fn toggled_off_nothing_is_emitted_and_nothing_counted() {
    let recorder = recorder(RecorderConfig::default());
    recorder
        .gate()
        .apply(&Control::Toggle { enabled: false })
        .expect("valid");
    assert_eq!(emit(&recorder, "a.b"), Outcome::Off);
    assert!(recorder.callsite("not valid").is_err());
    assert_eq!(
        recorder.snapshot(),
        telemetry_core::ledger::WorkerSnapshot::default()
    );
    recorder
        .gate()
        .apply(&Control::Toggle { enabled: true })
        .expect("valid");
    assert_eq!(emit(&recorder, "a.b"), Outcome::Accepted);
}

#[test]
fn an_invalid_control_changes_nothing_and_is_reported() {
    let recorder = recorder(RecorderConfig::default());
    let deny = |pattern: &str, revision| {
        let mut policy = PolicySpec::default();
        policy.revision = revision;
        policy.deny = vec![pattern.to_owned()];

        Control::Policy(policy)
    };
    recorder.gate().apply(&deny("a.*", 1)).expect("valid");
    assert!(recorder.gate().apply(&deny("b.[", 2)).is_err());
    assert_eq!(emit(&recorder, "a.x"), Outcome::Dropped(Reason::Filtered));
    assert_eq!(emit(&recorder, "b.x"), Outcome::Accepted);
    let report = recorder.report();
    assert_eq!(
        (report.policy_revision, report.rejected_policy_revision),
        (1, 2)
    );
    assert!(
        report.control_error.contains("b.["),
        "{}",
        report.control_error
    );
}

#[test]
fn what_was_queued_before_a_policy_is_drained_only_as_far_as_that_allows() {
    let recorder = recorder(RecorderConfig::default());
    for name in ["a.x", "b.x", "a.y", "b.y"] {
        emit(&recorder, name);
    }
    let deny = |pattern: &str| Control::Filter {
        allow: Vec::new(),
        deny: vec![pattern.to_owned()],
    };
    recorder.gate().apply(&deny("a.*")).expect("valid");
    recorder.recheck_queued();
    let one = Budget {
        events: 1,
        bytes: usize::MAX,
    };
    let mut first = Vec::new();
    assert_eq!(recorder.drain_frames(&mut first, one), 1, "behind a.x");
    let names: Vec<_> = drain(&recorder)
        .iter()
        .map(|e| e.event_parts.join("."))
        .collect();
    assert_eq!(names, ["b.y"]);

    emit(&recorder, "b.x");
    recorder
        .gate()
        .apply(&Control::Toggle { enabled: false })
        .expect("valid");
    recorder.recheck_queued();
    assert!(drain(&recorder).is_empty(), "a muted worker leaks nothing");
    let snapshot = recorder.snapshot();
    assert_eq!(snapshot.check(), Ok(()));
    assert_eq!((snapshot.emitted, snapshot.sent), (5, 2));
    assert_eq!(snapshot.dropped.get(Reason::Filtered), 3);
}

#[test]
fn sampling_a_quarter_keeps_a_quarter_and_leaves_others_alone() {
    let recorder = small_queue(100_000, Overflow::DropNewest);
    let rule = SamplingRule::new(0.25, ["tool.*"]);
    recorder
        .gate()
        .apply(&Control::Sampling(rule))
        .expect("valid");
    for _ in 0..40_000 {
        emit(&recorder, "tool.execution.stop");
    }
    for _ in 0..1_000 {
        assert_eq!(emit(&recorder, "python.call.stop"), Outcome::Accepted);
    }
    let kept = i64::try_from(recorder.snapshot().accepted).expect("small") - 1_000;
    assert!((kept - 10_000).abs() <= 100, "{kept} of 40,000");
    assert_eq!(drain(&recorder)[0].sampling_rate, Some(0.25));
}

#[test]
fn a_span_is_kept_or_dropped_whole_even_when_the_rate_changes_within() {
    let recorder = small_queue(100_000, Overflow::DropNewest);
    let [start, stop, exception] =
        ["op.start", "op.stop", "op.exception"].map(|n| recorder.callsite(n).expect("valid"));
    for round in 0..2_000 {
        let rate = if round % 3 == 0 { 0.5 } else { 0.1 };
        let rule = |rate| Control::Sampling(SamplingRule::of_all(rate));
        recorder.gate().apply(&rule(rate)).expect("valid");
        let decision = recorder
            .decide_span(&start, &stop, &exception, "", None)
            .expect("enabled");
        let first = recorder.record_decided(&start, decision.start, &Fields::default());
        recorder.gate().apply(&rule(1.0 - rate)).expect("valid");
        let last = recorder.record_decided(&stop, decision.stop, &Fields::default());
        assert_eq!(first, last, "round {round}");
    }
    assert_eq!(recorder.snapshot().check(), Ok(()));
}

#[test]
fn an_event_of_a_span_carries_the_rate_at_which_it_was_drawn() {
    let recorder = small_queue(100_000, Overflow::DropNewest);
    let rule = |rate| Control::Sampling(SamplingRule::new(rate, ["*.stop"]));
    let [start, stop, exception] =
        ["op.start", "op.stop", "op.exception"].map(|n| recorder.callsite(n).expect("valid"));
    let mut kept = 0;
    for _ in 0..1_000 {
        recorder.gate().apply(&rule(0.25)).expect("valid");
        let decision = recorder
            .decide_span(&start, &stop, &exception, "", None)
            .expect("enabled");
        let first = recorder.record_decided(&start, decision.start, &Fields::default());
        assert_eq!(first, Outcome::Accepted, "no rule speaks of the start");
        recorder.gate().apply(&rule(0.0)).expect("valid");
        let last = recorder.record_decided(&stop, decision.stop, &Fields::default());
        kept += usize::from(last == Outcome::Accepted);
    }
    assert!((245..=255).contains(&kept), "{kept} of 1,000");
    let rates: Vec<_> = drain(&recorder)
        .iter()
        .filter(|event| event.event_parts[1] == "stop")
        .map(|event| event.sampling_rate)
        .collect();
    assert_eq!(rates, vec![Some(0.25); kept]);
}

#[test]
fn an_event_that_was_filtered_when_its_span_started_is_drawn_by_its_own_rate() {
    let recorder = small_queue(100_000, Overflow::DropNewest);
    let filter = |deny: &[&str]| Control::Filter {
        allow: Vec::new(),
        deny: deny.iter().map(|&glob| glob.to_owned()).collect(),
    };
    let rule = SamplingRule::of_all(0.25);
    recorder
        .gate()
        .apply(&Control::Sampling(rule))
        .expect("valid");
    let [start, stop, exception] =
        ["op.start", "op.stop", "op.exception"].map(|n| recorder.callsite(n).expect("valid"));
    for _ in 0..1_000 {
        recorder.gate().apply(&filter(&["*.stop"])).expect("valid");
        let decision = recorder
            .decide_span(&start, &stop, &exception, "", None)
            .expect("enabled");
        let first = recorder.record_decided(&start, decision.start, &Fields::default());
        recorder.gate().apply(&filter(&[])).expect("valid");
        let last = recorder.record_decided(&stop, decision.stop, &Fields::default());
        assert_eq!(first, last);
    }
}

#[test]
fn events_of_one_correlation_id_are_kept_or_dropped_together() {
    let recorder = small_queue(100_000, Overflow::DropNewest);
    let rule = SamplingRule::of_all(0.5);
    recorder
        .gate()
        .apply(&Control::Sampling(rule))
        .expect("valid");
    let [start, stop] = ["op.start", "op.stop"].map(|n| recorder.callsite(n).expect("valid"));
    let mut kept = 0;
    for request in 0..10_000 {
        let id = format!("request-{request}");
        let fields = Fields {
            correlation_id: &id,
            ..Fields::default()
        };
        let outcomes = [
            recorder.record(&start, &fields),
            recorder.record(&stop, &fields),
        ];
        assert_eq!(outcomes[0], outcomes[1], "{id}");
        kept += usize::from(outcomes[0] == Outcome::Accepted);
    }
    assert!((4_700..=5_300).contains(&kept), "{kept} of 10,000");
}

#[test]
fn names_beyond_the_table_are_recorded_and_still_obey_the_policy() {
    let mut config = RecorderConfig::default();
    config.max_callsites = 2;
    let recorder = recorder(config);
    for name in ["a", "b", "c", "d"] {
        assert_eq!(emit(&recorder, name), Outcome::Accepted);
    }
    let held = recorder.callsite("e").expect("valid");
    let filter = Control::Filter {
        allow: Vec::new(),
        deny: vec!["[de]".to_owned()],
    };
    recorder.gate().apply(&filter).expect("valid");
    assert_eq!(
        recorder.record(&held, &Fields::default()),
        Outcome::Dropped(Reason::Filtered)
    );
    assert_eq!(emit(&recorder, "d"), Outcome::Dropped(Reason::Filtered));
    assert_eq!(emit(&recorder, "c"), Outcome::Accepted);
    assert_eq!(recorder.snapshot().check(), Ok(()));
    assert_eq!(recorder.report().names.len(), 2);
    assert_eq!(recorder.snapshot().emitted, 7);
}
