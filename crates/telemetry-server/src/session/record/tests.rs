//! What a worker may say of itself without harm to the counters, and what a new stream forgets.

use std::time::Duration;

use telemetry_core::{Note, Reason};
use telemetry_proto::{ReasonCount, WorkerHello, WorkerReport};

use super::*;

fn record() -> Record {
    let endpoint = "unix:/run/w.sock".parse().expect("an endpoint");
    Record::new(WorkerContext::new("w"), endpoint, Changes::default())
}

fn hello(incarnation: &str) -> WorkerHello {
    WorkerHello {
        incarnation_id: incarnation.to_owned(),
        ..WorkerHello::default()
    }
}

/// A report of events that all were accepted and are queued, and of drops and redactions.
fn report(accepted: u64, dropped: u64) -> WorkerReport {
    let count = |reason| {
        vec![ReasonCount {
            reason,
            count: dropped,
        }]
    };
    WorkerReport {
        emitted: accepted + dropped,
        accepted,
        queued: accepted,
        dropped: count(Reason::QueueFull.number()),
        notes: count(Note::Redacted.number()),
        policy_revision: 7,
        ..WorkerReport::default()
    }
}

#[test]
fn a_report_that_takes_counts_back_does_not_lower_any_total() {
    let record = record();
    record.hello(&hello("a"));
    record.report(&report(100, 10)).expect("believable");
    record.report(&report(3, 0)).expect("believable");
    let reported = record.info(1).reported;
    assert_eq!((reported.emitted, reported.accepted), (110, 100));
    assert_eq!(reported.dropped.get(Reason::QueueFull), 10);
    assert_eq!(reported.notes.get(Note::Redacted), 10);
    assert_eq!(reported.queued, 3, "a level, not a count");
}

#[test]
fn absurd_counts_are_refused_wherever_they_stand() {
    let record = record();
    record.hello(&hello("a"));
    let mut notes = report(1, 1);
    notes.notes[0].count = u64::MAX;
    let mut queued = report(1, 1);
    queued.queued = u64::MAX;
    for absurd in [
        report(u64::MAX / 2, 0),
        report(0, u64::MAX / 2),
        notes,
        queued,
    ] {
        assert_eq!(record.report(&absurd), Err(RefusedReport::Absurd));
    }
    assert_eq!(record.info(1).reported, WorkerSnapshot::default());
}

#[test]
fn a_worker_that_dies_over_and_over_with_huge_counts_overflows_nothing() {
    let record = record();
    let mut last = 0;
    for life in 0..3_000 {
        record.hello(&hello(&life.to_string()));
        record.report(&report(MAX_COUNT, 0)).expect("believable");
        let lost = record.info(1).lost_at_crash;
        assert!(lost >= last, "{lost} after {last}");
        last = lost;
    }
    assert_eq!(last, u64::MAX);
}

#[test]
fn what_was_true_of_an_old_stream_is_not_said_of_the_next() {
    let record = record();
    let state = StreamState::Backoff;
    record.waiting(state, "refused", 1, Duration::from_secs(1), false);
    record.connecting();
    assert_eq!(record.info(7).retry_after_ms, None);
    record.streaming(1);
    record.hello(&hello("a"));
    record.report(&report(0, 0)).expect("believable");
    assert!(record.info(7).is_policy_applied());
    // Replaced by a registration: no wait in between.
    record.closed();
    record.connecting();
    assert_eq!(record.info(7).applied_revision, 0);
}
