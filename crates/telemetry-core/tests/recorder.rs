//! The emit path as a whole: what goes in comes out as frames, and what does not is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Wake, Waker};
use std::time::Duration;

use proptest::prelude::*;
use prost::Message;
use telemetry_core::{
    Budget, Control, Fields, FrameSplitter, ManualClock, Outcome, Overflow, PolicySpec,
    QueueLimits, Reason, Recorder, RecorderConfig, SamplingRule, ValueRef,
};
use telemetry_proto::TelemetryEvent;
use telemetry_proto::telemetry_value::Value as ProtoValue;

const ALL: Budget = Budget {
    events: usize::MAX,
    bytes: usize::MAX,
};

fn recorder(config: RecorderConfig) -> Recorder {
    Recorder::new(
        config,
        Arc::new(ManualClock::new(1_700_000_000_000_000_000)),
    )
    .expect("a valid policy")
}

fn small_queue(events: usize, overflow: Overflow) -> Recorder {
    let queue = QueueLimits {
        events,
        ..QueueLimits::default()
    };
    recorder(RecorderConfig {
        queue,
        overflow,
        ..RecorderConfig::default()
    })
}

fn emit(recorder: &Recorder, name: &str) -> Outcome {
    let site = recorder.callsite(name).expect("a valid name");
    recorder.record(&site, &Fields::default())
}

fn drain(recorder: &Recorder) -> Vec<TelemetryEvent> {
    let (mut bytes, mut events) = (Vec::new(), Vec::new());
    recorder.drain_frames(&mut bytes, ALL);
    FrameSplitter::new(1 << 20)
        .feed(&bytes, |frame| {
            events.push(TelemetryEvent::decode(frame).expect("prost reads it"));
        })
        .expect("whole frames");
    events
}

#[test]
fn an_event_arrives_with_exact_values_and_its_sequence() {
    let recorder = recorder(RecorderConfig::default());
    let site = recorder.callsite("tool.execution.stop").expect("valid");
    for _ in 0..2 {
        let outcome = recorder.record(
            &site,
            &Fields {
                measurements: &[("duration", 42_i64.into()), ("cpu_percent", 0.5.into())],
                metadata: &[("tool", "parse"), ("password", "hunter2")],
                correlation_id: "abc",
                timestamp_ns: None,
            },
        );
        assert_eq!(outcome, Outcome::Accepted);
    }
    let events = drain(&recorder);
    assert_eq!(
        events.iter().map(|e| e.sequence).collect::<Vec<_>>(),
        [1, 2]
    );
    let event = &events[0];
    assert_eq!(event.event_parts, ["tool", "execution", "stop"]);
    let value = |key: &str| event.measurements[key].value.clone();
    assert_eq!(value("duration"), Some(ProtoValue::IntValue(42)));
    assert_eq!(value("cpu_percent"), Some(ProtoValue::FloatValue(0.5)));
    assert_eq!(event.metadata["tool"], "parse");
    assert_eq!(event.metadata["password"], "[redacted]");
    assert_eq!(event.timestamp_ns, 1_700_000_000_000_000_000);
    assert_eq!(event.correlation_id, "abc");
    assert_eq!(event.sampling_rate, None);
}

#[test]
fn what_breaks_a_limit_is_dropped_under_its_reason() {
    let recorder = recorder(RecorderConfig::default());
    assert!(recorder.callsite("no spaces allowed").is_err());
    let site = recorder.callsite("a.b").expect("valid");
    let measured = |value: ValueRef<'_>| {
        recorder.record(
            &site,
            &Fields {
                measurements: &[("count", value)],
                ..Fields::default()
            },
        )
    };
    assert_eq!(
        measured(f64::NAN.into()),
        Outcome::Dropped(Reason::InvalidValue)
    );
    assert_eq!(
        measured(f64::INFINITY.into()),
        Outcome::Dropped(Reason::InvalidValue)
    );
    let many = [("count", ValueRef::Int(1)); 33];
    let outcome = recorder.record(
        &site,
        &Fields {
            measurements: &many,
            ..Fields::default()
        },
    );
    assert_eq!(outcome, Outcome::Dropped(Reason::TooManyFields));
    drop(recorder.draft(&site, ""));

    let snapshot = recorder.snapshot();
    assert_eq!(snapshot.check(), Ok(()));
    assert_eq!(snapshot.emitted, 5);
    for (reason, count) in [
        (Reason::InvalidName, 1),
        (Reason::InvalidValue, 2),
        (Reason::TooManyFields, 1),
        (Reason::InternalError, 1),
    ] {
        assert_eq!(snapshot.dropped.get(reason), count, "{reason}");
    }
    assert!(drain(&recorder).is_empty());
}

#[test]
fn an_event_beyond_its_size_limit_is_dropped_as_oversize() {
    let mut config = RecorderConfig::default();
    config.limits.event_bytes = 100;
    let recorder = recorder(config);
    let site = recorder.callsite("a").expect("valid");
    let text = "x".repeat(200);
    let outcome = recorder.record(
        &site,
        &Fields {
            metadata: &[("tool", &text)],
            ..Fields::default()
        },
    );
    assert_eq!(outcome, Outcome::Dropped(Reason::Oversize));
    assert_eq!(recorder.snapshot().check(), Ok(()));
}

#[test]
fn a_long_value_is_cut_on_a_char_boundary_and_noted() {
    let recorder = recorder(RecorderConfig::default());
    let site = recorder.callsite("a").expect("valid");
    let text = "ä".repeat(1_000);
    let fields = Fields {
        metadata: &[("tool", text.as_str())],
        ..Fields::default()
    };
    assert_eq!(recorder.record(&site, &fields), Outcome::Accepted);
    let events = drain(&recorder);
    let kept = &events[0].metadata["tool"];
    assert!(kept.len() <= 1_024 && text.starts_with(kept.as_str()) && kept.len() > 1_000);
    assert_eq!(
        recorder
            .snapshot()
            .notes
            .get(telemetry_core::Note::Truncated),
        1
    );
}

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
        telemetry_core::WorkerSnapshot::default()
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
        Control::Policy(PolicySpec {
            revision,
            deny: vec![pattern.to_owned()],
            ..PolicySpec::default()
        })
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
    assert_eq!(
        recorder.drain_frames(&mut Vec::new(), one),
        0,
        "a.x is filtered"
    );
    let names: Vec<_> = drain(&recorder)
        .iter()
        .map(|e| e.event_parts.join("."))
        .collect();
    assert_eq!(names, ["b.x", "b.y"]);

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
    let rule = SamplingRule {
        rate: 0.25,
        patterns: vec!["tool.*".to_owned()],
    };
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
    for round in 0..10_000 {
        let rate = if round % 3 == 0 { 0.5 } else { 0.1 };
        let rule = |rate| {
            Control::Sampling(SamplingRule {
                rate,
                patterns: Vec::new(),
            })
        };
        recorder.gate().apply(&rule(rate)).expect("valid");
        let decision = recorder
            .decide_span(&start, &stop, &exception, "")
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
    let rule = |rate| {
        Control::Sampling(SamplingRule {
            rate,
            patterns: vec!["*.stop".to_owned()],
        })
    };
    let [start, stop, exception] =
        ["op.start", "op.stop", "op.exception"].map(|n| recorder.callsite(n).expect("valid"));
    let mut kept = 0;
    for _ in 0..1_000 {
        recorder.gate().apply(&rule(0.25)).expect("valid");
        let decision = recorder
            .decide_span(&start, &stop, &exception, "")
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
    let rule = SamplingRule {
        rate: 0.25,
        patterns: Vec::new(),
    };
    recorder
        .gate()
        .apply(&Control::Sampling(rule))
        .expect("valid");
    let [start, stop, exception] =
        ["op.start", "op.stop", "op.exception"].map(|n| recorder.callsite(n).expect("valid"));
    for _ in 0..1_000 {
        recorder.gate().apply(&filter(&["*.stop"])).expect("valid");
        let decision = recorder
            .decide_span(&start, &stop, &exception, "")
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
    let rule = SamplingRule {
        rate: 0.5,
        patterns: Vec::new(),
    };
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
fn eight_threads_flooding_a_queue_of_64_balance_exactly() {
    let recorder = small_queue(64, Overflow::DropNewest);
    let done = AtomicBool::new(false);
    let mut received = 0;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let site = recorder.callsite("a.b").expect("valid");
                    (0..5_000)
                        .filter(|_| recorder.record(&site, &Fields::default()) == Outcome::Accepted)
                        .count()
                })
            })
            .collect();
        let drainer = scope.spawn(|| {
            let mut received = 0;
            while !done.load(Ordering::Acquire) {
                received += drain(&recorder).len();
                std::thread::yield_now();
            }
            received + drain(&recorder).len()
        });
        let accepted: usize = threads
            .into_iter()
            .map(|t| t.join().expect("no panic"))
            .sum();
        done.store(true, Ordering::Release);
        received = drainer.join().expect("no panic");
        assert_eq!(accepted, received);
    });
    let snapshot = recorder.snapshot();
    assert_eq!(snapshot.check(), Ok(()));
    assert_eq!(snapshot.emitted, 40_000);
    assert_eq!(snapshot.sent, received as u64);
    assert_eq!(
        snapshot.dropped.get(Reason::QueueFull),
        40_000 - snapshot.accepted
    );
}

#[test]
fn a_report_is_settled_only_if_it_balances() {
    let recorder = small_queue(64, Overflow::DropOldest);
    let difference = |report: &telemetry_proto::WorkerReport| {
        telemetry_core::snapshot_from_report(report)
            .expect("known reasons")
            .difference()
    };
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for name in ["a", "b", "c"] {
            let (recorder, done) = (&recorder, &done);
            scope.spawn(move || {
                while !done.load(Ordering::Acquire) {
                    emit(recorder, name);
                }
            });
        }
        let broken = (0..2_000)
            .map(|_| recorder.report())
            .filter(|report| report.settled && difference(report) > 0)
            .count();
        done.store(true, Ordering::Release);
        assert_eq!(broken, 0);
    });
    let report = recorder.report();
    assert!(report.settled);
    assert_eq!(difference(&report), 0);
}

#[test]
fn drop_oldest_keeps_the_newest_and_counts_the_rest() {
    let recorder = small_queue(4, Overflow::DropOldest);
    for name in ["a", "b", "c", "d", "e", "f"] {
        assert_eq!(emit(&recorder, name), Outcome::Accepted);
    }
    let snapshot = recorder.snapshot();
    assert_eq!(snapshot.check(), Ok(()));
    assert_eq!(snapshot.dropped.get(Reason::EvictedOldest), 2);
    let names: Vec<_> = drain(&recorder)
        .iter()
        .map(|e| e.event_parts.join("."))
        .collect();
    assert_eq!(names, ["c", "d", "e", "f"]);
}

#[test]
fn closing_refuses_new_events_and_counts_what_is_left() {
    let recorder = small_queue(64, Overflow::DropNewest);
    for _ in 0..10 {
        emit(&recorder, "a.b");
    }
    recorder.close();
    assert_eq!(emit(&recorder, "a.b"), Outcome::Dropped(Reason::NotRunning));
    assert!(!recorder.wait_drained(Duration::from_millis(5)));
    assert_eq!(recorder.discard_queued(Reason::ShutdownDeadline), 10);
    let snapshot = recorder.snapshot();
    assert_eq!(snapshot.check(), Ok(()));
    assert_eq!((snapshot.emitted, snapshot.accepted), (11, 0));
}

#[test]
fn names_beyond_the_table_are_recorded_and_still_obey_the_policy() {
    let recorder = recorder(RecorderConfig {
        max_callsites: 2,
        ..RecorderConfig::default()
    });
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
    assert_eq!(recorder.gate().names().len(), 2);
    assert_eq!(recorder.snapshot().emitted, 7);
}

#[test]
fn waiting_for_ever_is_allowed() {
    let recorder = recorder(RecorderConfig::default());
    assert!(recorder.wait_drained(Duration::MAX));
    emit(&recorder, "a");
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| recorder.wait_drained(Duration::MAX));
        recorder.discard_queued(Reason::ShutdownDeadline);
        assert!(waiter.join().expect("no panic"));
    });
}

#[test]
fn a_secret_is_hidden_however_long_its_key_and_whatever_carries_it() {
    let recorder = recorder(RecorderConfig::default());
    let site = recorder.callsite("a").expect("valid");
    let long = format!("{}_password", "x".repeat(64));
    let fields = Fields {
        measurements: &[("token", "canary".into()), ("password", 7_i64.into())],
        metadata: &[(&long, "canary")],
        ..Fields::default()
    };
    assert_eq!(recorder.record(&site, &fields), Outcome::Accepted);
    let mut bytes = Vec::new();
    recorder.drain_frames(&mut bytes, ALL);
    assert!(!bytes.windows(6).any(|window| window == b"canary"));
    let notes = recorder.snapshot().notes;
    assert_eq!(notes.get(telemetry_core::Note::Redacted), 2);
}

#[test]
fn the_largest_event_that_is_accepted_can_be_read_with_its_sequence() {
    let recorder = recorder(RecorderConfig::default());
    let site = recorder.callsite("a").expect("valid");
    let full = "x".repeat(1_024);
    let keys: Vec<_> = (0..64).map(|n| format!("{n:064}")).collect();
    for last in 600..=800 {
        let mut draft = recorder.draft(&site, "").expect("kept");
        for key in &keys[..32] {
            draft.measurement(key, full.as_str().into());
        }
        for key in &keys[32..59] {
            draft.metadata(key, &full);
        }
        draft.metadata(&keys[59], &full[..last]);
        if draft.commit() == Outcome::Dropped(Reason::Oversize) {
            assert!(last > 600, "the limit lies within the range that was tried");
            return;
        }
        let mut bytes = Vec::new();
        recorder.drain_frames(&mut bytes, ALL);
        telemetry_core::decode_event(&bytes[5..], &telemetry_core::DecodeLimits::default())
            .unwrap_or_else(|error| panic!("{error}"));
    }
    panic!("the limit lies within the range that was tried");
}

#[test]
fn an_event_larger_than_the_queue_evicts_nothing() {
    let recorder = recorder(RecorderConfig {
        queue: QueueLimits {
            events: 64,
            bytes: 500,
        },
        overflow: Overflow::DropOldest,
        ..RecorderConfig::default()
    });
    emit(&recorder, "a");
    let site = recorder.callsite("b").expect("valid");
    let text = "x".repeat(1_000);
    let fields = Fields {
        metadata: &[("tool", &text)],
        ..Fields::default()
    };
    assert_eq!(
        recorder.record(&site, &fields),
        Outcome::Dropped(Reason::QueueFull)
    );
    assert_eq!(drain(&recorder)[0].event_parts, ["a"]);
}

#[test]
fn drop_oldest_refuses_nothing_while_another_thread_drains() {
    let recorder = small_queue(1, Overflow::DropOldest);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                recorder.drain_frames(&mut Vec::new(), ALL);
            }
        });
        let site = recorder.callsite("a").expect("valid");
        for _ in 0..100_000 {
            recorder.record(&site, &Fields::default());
        }
        done.store(true, Ordering::Release);
    });
    let snapshot = recorder.snapshot();
    assert_eq!(snapshot.check(), Ok(()));
    assert_eq!(snapshot.dropped.get(Reason::QueueFull), 0);
}

#[test]
fn closing_ends_under_a_flood_and_loses_nothing() {
    let recorder = small_queue(64, Overflow::DropNewest);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let site = recorder.callsite("a").expect("valid");
                while !done.load(Ordering::Acquire) {
                    recorder.record(&site, &Fields::default());
                }
            });
        }
        while recorder.queued() == 0 {
            std::thread::yield_now();
        }
        recorder.close();
        let left = recorder.queued() as u64;
        assert_eq!(recorder.discard_queued(Reason::ShutdownDeadline), left);
        assert_eq!(recorder.queued(), 0);
        done.store(true, Ordering::Release);
    });
    assert_eq!(recorder.queued(), 0);
    assert_eq!(recorder.snapshot().check(), Ok(()));
}

#[test]
fn a_report_without_room_for_all_names_has_the_busiest() {
    let recorder = small_queue(2_000, Overflow::DropNewest);
    let name = |n: u32| [format!("n{n:03}"), vec!["x".repeat(64); 7].join(".")].join(".");
    for n in 0..1_000 {
        emit(&recorder, &name(n));
    }
    emit(&recorder, &name(999));
    let report = recorder.report();
    assert!(report.names.len() < 1_000 && report.encoded_len() < 300_000);
    assert_eq!(
        (&report.names[0].name, report.names[0].emitted),
        (&name(999), 2)
    );
}

/// Counts how often it is woken.
#[derive(Default)]
struct Bell(AtomicU64);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn only_a_sleeping_pump_is_woken_and_only_once() {
    let recorder = recorder(RecorderConfig::default());
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(Arc::clone(&bell));
    emit(&recorder, "a");
    assert_eq!(bell.0.load(Ordering::Relaxed), 0);
    assert!(!recorder.sleep_until_event(&waker), "an event is waiting");
    drain(&recorder);
    assert!(recorder.sleep_until_event(&waker));
    emit(&recorder, "a");
    emit(&recorder, "a");
    assert_eq!(bell.0.load(Ordering::Relaxed), 1);
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Emit(bool),
    Drain(usize),
    Deny(bool),
    Sample(bool),
    Toggle(bool),
    Close,
    Discard,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => any::<bool>().prop_map(Step::Emit),
        2 => (0_usize..6).prop_map(Step::Drain),
        1 => any::<bool>().prop_map(Step::Deny),
        1 => any::<bool>().prop_map(Step::Sample),
        1 => any::<bool>().prop_map(Step::Toggle),
        1 => Just(Step::Close),
        1 => Just(Step::Discard),
    ]
}

proptest! {
    #[test]
    fn the_ledger_balances_after_any_history(
        steps in proptest::collection::vec(step(), 0..200),
        drop_oldest in any::<bool>(),
    ) {
        let overflow = if drop_oldest { Overflow::DropOldest } else { Overflow::DropNewest };
        let recorder = small_queue(5, overflow);
        let (mut emits, mut drained) = (0_u64, 0_u64);
        for step in steps {
            match step {
                Step::Emit(valid) => {
                    let value: ValueRef<'_> = if valid { 1.0 } else { f64::NAN }.into();
                    let site = recorder.callsite("x.y").expect("valid");
                    let fields = Fields { measurements: &[("count", value)], ..Fields::default() };
                    emits += u64::from(recorder.record(&site, &fields) != Outcome::Off);
                }
                Step::Drain(events) => {
                    let budget = Budget { events, bytes: usize::MAX };
                    drained += recorder.drain_frames(&mut Vec::new(), budget) as u64;
                }
                Step::Deny(on) => {
                    let deny = if on { vec!["x.*".to_owned()] } else { Vec::new() };
                    let filter = Control::Filter { allow: Vec::new(), deny };
                    recorder.gate().apply(&filter).expect("valid");
                }
                Step::Sample(on) => {
                    let rule = SamplingRule { rate: if on { 0.5 } else { 1.0 }, patterns: vec![] };
                    recorder.gate().apply(&Control::Sampling(rule)).expect("valid");
                }
                Step::Toggle(enabled) => {
                    recorder.gate().apply(&Control::Toggle { enabled }).expect("valid");
                }
                Step::Close => recorder.close(),
                Step::Discard => {
                    recorder.discard_queued(Reason::ShutdownDeadline);
                }
            }
        }
        let snapshot = recorder.snapshot();
        prop_assert_eq!(snapshot.check(), Ok(()));
        prop_assert_eq!(snapshot.emitted, emits);
        prop_assert_eq!(snapshot.sent, drained);
    }
}
