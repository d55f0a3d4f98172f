//! What a worker may say of itself without harm to the counters, and what a new stream forgets.

use std::time::Duration;

use telemetry_core::{
    ManualClock,
    ledger::{Note, Reason, WorkerSnapshot},
};
use telemetry_proto::{ReasonCount, WorkerHello, WorkerReport};

use super::*;
use crate::accounts::{Implausible, LedgerWriter, Parting};
use crate::session::info::StreamInfo;

/// A record and the stream that is open.
struct Rig {
    record: Record,
    writer: LedgerWriter,
}

impl Rig {
    fn new() -> Self {
        let endpoint = "unix:/run/w.sock".parse().expect("an endpoint");
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(1));
        let context = WorkerContext::new("w");
        let record = Record::new(
            context,
            Some(endpoint),
            Arc::default(),
            &Arc::default(),
            &clock,
        );
        let writer = record.try_begin().expect("nobody reads");
        Self { record, writer }
    }

    /// The stream ends and another one of this incarnation begins.
    fn restart(&mut self, incarnation: &str) {
        let writer = std::mem::take(&mut self.writer);
        self.record.end(writer, Parting::Cut);
        self.writer = self.record.try_begin().expect("nobody reads");
        self.hello(incarnation);
    }

    fn hello(&mut self, incarnation: &str) {
        let hello = WorkerHello {
            incarnation_id: incarnation.to_owned(),
            ..WorkerHello::default()
        };
        self.record.hello(&hello, &mut self.writer);
    }

    fn report(&mut self, report: &WorkerReport) -> Result<(), Implausible> {
        self.record.report(report, &mut self.writer)
    }

    fn info(&self) -> StreamInfo {
        self.record.info(7, Labels::new())
    }
}

#[test]
fn a_worker_of_another_machine_is_nobody_else_by_an_incarnation() {
    let book = Arc::default();
    let rig = |worker: &str| {
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(1));
        let context = WorkerContext::new(worker);
        let record = Record::new(context, None, Arc::default(), &book, &clock);
        record.asked(None, LinkKind::In);
        let writer = record.try_begin().expect("nobody reads");
        Rig { record, writer }
    };
    let (mut honest, mut liar) = (rig("honest"), rig("liar"));
    honest.hello("a");
    honest.report(&report(100, 10)).expect("believable");
    let before = honest.info().reported;
    let writer = std::mem::take(&mut honest.writer);
    honest.record.end(writer, Parting::Cut);
    liar.hello("a");
    liar.report(&report(5, 0))
        .expect("it is the first of its own");
    assert_eq!(liar.info().reported.queued, 5);
    honest.writer = honest.record.try_begin().expect("nobody reads");
    honest.hello("a");
    assert_eq!(honest.info().reported, before);
    honest.report(&report(101, 10)).expect("it goes on");
    assert_eq!(honest.info().reported.queued, 101);
}

fn count(reason: u32, count: u64) -> ReasonCount {
    ReasonCount { reason, count }
}

/// A report of events that all were accepted and are queued, and of drops and redactions.
fn report(accepted: u64, dropped: u64) -> WorkerReport {
    WorkerReport {
        emitted: accepted + dropped,
        accepted,
        queued: accepted,
        dropped: vec![count(Reason::QueueFull.number(), dropped)],
        notes: vec![count(Note::Redacted.number(), dropped)],
        policy_revision: 7,
        position: Some(0),
        ..WorkerReport::default()
    }
}

#[test]
fn a_report_that_takes_counts_back_is_left_out_and_counted() {
    let mut rig = Rig::new();
    rig.hello("a");
    rig.report(&report(100, 10)).expect("believable");
    rig.report(&report(3, 0)).expect_err("it fell");
    let info = rig.info();
    assert_eq!((info.reported.emitted, info.reported.queued), (10, 100));
    assert_eq!(info.reported.dropped.get(Reason::QueueFull), 10);
    assert_eq!(info.reported.notes.get(Note::Redacted), 10);
    assert_eq!(info.ledger.notes.get(Note::ImplausibleReport), 1);
    rig.report(&report(101, 10)).expect("it goes on");
    assert_eq!(rig.info().reported.queued, 101);
}

#[test]
fn absurd_counts_are_left_out_wherever_they_stand() {
    let mut rig = Rig::new();
    rig.hello("a");
    rig.report(&report(1, 1)).expect("believable");
    let before = rig.info().reported;
    let mut notes = report(1, 1);
    notes.notes[0].count = u64::MAX;
    let mut queued = report(1, 1);
    queued.queued = u64::MAX;
    let mut sent = report(1, 1);
    sent.sent = 1 << 60;
    let mut position = report(1, 1);
    position.position = Some(2);
    let absurd = [
        report(u64::MAX / 2, 0),
        report(0, u64::MAX / 2),
        notes,
        queued,
        sent,
        position,
    ];
    for (n, absurd) in absurd.iter().enumerate() {
        rig.report(absurd).expect_err("absurd");
        let info = rig.info();
        assert_eq!(info.reported, before, "{absurd:?}");
        let counted = info.ledger.notes.get(Note::ImplausibleReport);
        assert_eq!(counted, n as u64 + 1);
    }
}

#[test]
fn control_is_heard_whatever_becomes_of_the_counters() {
    let mut rig = Rig::new();
    rig.hello("a");
    let mut absurd = report(1, 0);
    absurd.queued = u64::MAX;
    absurd.control_error = "no such glob".to_owned();
    (absurd.stalled_ms, absurd.open_spans) = (700, 3);
    rig.report(&absurd).expect_err("absurd");
    let info = rig.info();
    assert!(info.is_policy_applied());
    assert_eq!(info.control_error, "no such glob");
    assert_eq!((info.stalled_ms, info.open_spans), (700, 3));
}

#[test]
fn reasons_that_nobody_knows_and_those_of_others_leave_the_rest_as_it_is() {
    let mut rig = Rig::new();
    rig.hello("a");
    let mut odd = report(5, 2);
    odd.emitted = 10;
    odd.dropped.push(count(99, 3));
    odd.dropped.push(count(Reason::Gap.number(), 1_000));
    odd.notes.push(count(77, 4));
    rig.report(&odd).expect("believable");
    let info = rig.info();
    assert_eq!(info.reported.dropped.get(Reason::Other), 3);
    assert_eq!(info.reported.dropped.get(Reason::QueueFull), 2);
    assert_eq!(info.reported.dropped.get(Reason::Gap), 0);
    assert_eq!(info.reported.notes.get(Note::OtherNote), 4);
    assert_eq!(info.ledger.notes.get(Note::ImplausibleReport), 1);
    assert_eq!((info.reported.emitted, info.applied_revision), (5, 7));
}

#[test]
fn a_worker_that_claims_2_to_the_53_in_every_life_adds_nothing_to_any_sum() {
    let mut rig = Rig::new();
    rig.hello("honest");
    rig.report(&report(100, 10)).expect("believable");
    for life in 0..3_000 {
        rig.restart(&format!("liar {life}"));
        let mut claim = report(1 << 53, 0);
        claim.queued = 0;
        rig.report(&claim).expect_err("nobody emits so fast");
    }
    let info = rig.info();
    assert_eq!(info.lost_at_crash, 100, "of the honest one");
    assert_eq!(info.reported.emitted, 110);
    assert_eq!(info.ledger.notes.get(Note::ImplausibleReport), 3_000);
}

#[test]
fn what_was_true_of_an_old_stream_is_not_said_of_the_next() {
    let mut rig = Rig::new();
    let state = StreamState::Backoff;
    rig.record
        .waiting(state, "refused", 1, Some(Duration::from_secs(1)), false);
    rig.record.connecting();
    assert_eq!(rig.info().retry_after_ms, None);
    rig.record.streaming(1);
    rig.hello("a");
    rig.report(&report(0, 0)).expect("believable");
    assert!(rig.info().is_policy_applied());
    // Replaced by a registration: no wait in between.
    rig.record.closed();
    rig.record.connecting();
    assert_eq!(rig.info().applied_revision, 0);
    assert_eq!(rig.info().reported, WorkerSnapshot::default());
}
