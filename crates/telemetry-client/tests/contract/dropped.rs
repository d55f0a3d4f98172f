//! Events that a backend cannot keep are dropped under their reason, and cost no other backend anything.

use std::sync::Arc;
use std::time::Duration;

use telemetry_client::Telemetry;
use telemetry_client::backend::{Backend, CompositeBackend, MemoryBackend};
use telemetry_core::{
    Outcome,
    emit::{PolicySpec, Recorder},
    ledger::{Reason, WorkerSnapshot},
    wire::Control,
};

use crate::lines::{full_device, lines_to};
use crate::rig::{NOTHING, PATIENCE, balanced, clock, config, recorder, stream};

#[test]
fn a_full_queue_shuts_down_in_time_and_counts_the_rest() {
    let telemetry = Telemetry::builder()
        .backend(stream(PolicySpec::default()))
        .build();
    while telemetry.emit("tool.result_size", NOTHING, &[], "") == Outcome::Accepted {}
    let begun = std::time::Instant::now();
    let last = telemetry.shutdown(PATIENCE);
    assert!(
        begun.elapsed() < PATIENCE / 2,
        "nobody is attached, so there is nothing to wait for"
    );
    assert_eq!(last.dropped.get(Reason::ShutdownDeadline), 8_192);
    assert_eq!(last.dropped.get(Reason::QueueFull), 1);
    last.check().expect("balance");
}

#[test]
fn a_part_that_panics_takes_nothing_from_the_others() {
    #[derive(Debug)]
    struct Broken(Arc<dyn Backend>);
    impl Backend for Broken {
        fn resolve(
            &self,
            name: &str,
        ) -> Result<telemetry_client::backend::Site, telemetry_core::catalog::NameError> {
            self.0.resolve(name)
        }
        fn record(
            &self,
            _site: &telemetry_client::backend::Site,
            _draw: telemetry_client::backend::Draw<'_>,
            _fields: &telemetry_core::emit::Fields<'_>,
        ) -> Outcome {
            panic!("this backend is broken")
        }
        fn decide(
            &self,
            sites: &telemetry_client::backend::SpanSites,
            ties: &telemetry_core::emit::Ties<'_>,
        ) -> Option<telemetry_client::backend::SpanFate> {
            self.0.decide(sites, ties)
        }
        fn apply(&self, control: &Control) -> Result<(), telemetry_core::wire::ControlError> {
            self.0.apply(control)
        }
        fn flush(&self, timeout: Duration) -> bool {
            self.0.flush(timeout)
        }
        fn shutdown(&self, timeout: Duration) -> WorkerSnapshot {
            self.0.shutdown(timeout)
        }
        fn ledger(&self) -> WorkerSnapshot {
            self.0.ledger()
        }
    }
    let memory = Arc::new(MemoryBackend::new(config(PolicySpec::default()), clock()).expect("ok"));
    let broken = Arc::new(Broken(recorder(PolicySpec::default())));
    let unwritable = Arc::new(lines_to(Box::new(full_device())));
    let parts: Vec<Arc<dyn Backend>> = vec![broken, memory.clone(), unwritable];
    let telemetry = Telemetry::builder()
        .backend(Arc::new(CompositeBackend::new(parts)))
        .build();
    assert_eq!(
        telemetry.emit("tool.result_size", NOTHING, &[], ""),
        Outcome::Accepted
    );
    assert_eq!(memory.take().len(), 1);
    assert!(telemetry.flush(PATIENCE));
    let ledger = balanced(&telemetry);
    assert_eq!((ledger.emitted, ledger.delivered), (3, 1));
    assert_eq!(ledger.dropped.get(Reason::BackendError), 2);
}

#[test]
fn events_before_the_start_wait_and_are_counted_as_such() {
    let recorder = Arc::new(Recorder::new(config(PolicySpec::default()), clock()).expect("ok"));
    recorder.set_started(false);
    let telemetry = Telemetry::builder().backend(recorder).build();
    let emit = || telemetry.emit("tool.result_size", NOTHING, &[], "");
    for _ in 0..8_192 {
        assert_eq!(emit(), Outcome::Accepted);
    }
    assert_eq!(emit(), Outcome::Dropped(Reason::NotStarted));
    let ledger = balanced(&telemetry);
    assert_eq!((ledger.emitted, ledger.queued), (8_193, 8_192));
    let last = telemetry.shutdown(Duration::ZERO);
    last.check().expect("balance");
    assert_eq!(last.dropped.get(Reason::NotStarted), 8_193);
    assert_eq!(last.dropped.total(), last.emitted);
}

#[test]
fn a_backend_that_forgets_an_event_has_dropped_it() {
    let recorder = Arc::new(Recorder::new(config(PolicySpec::default()), clock()).expect("ok"));
    let telemetry = Telemetry::builder().backend(recorder.clone()).build();
    for _ in 0..4 {
        telemetry.emit("tool.result_size", NOTHING, &[], "");
    }
    let mut event = Vec::new();
    let mut hand_out = || recorder.hand_out(&mut event).expect("an event");
    let held = hand_out();
    assert_eq!(balanced(&telemetry).queued, 4, "it is in somebody's hands");
    held.delivered();
    hand_out().dropped(Reason::QueueFull);
    drop(hand_out());
    let ledger = balanced(&telemetry);
    assert_eq!((ledger.delivered, ledger.queued), (1, 1));
    assert_eq!(ledger.dropped.get(Reason::QueueFull), 1);
    assert_eq!(ledger.dropped.get(Reason::BackendError), 1);
    // What ends after the deadline was counted at the deadline.
    let late = hand_out();
    assert_eq!(recorder.discard_queued(Reason::ShutdownDeadline), 1);
    late.delivered();
    let ledger = balanced(&telemetry);
    assert_eq!((ledger.delivered, ledger.queued), (1, 0));
    assert_eq!(ledger.dropped.total(), 3);
}
