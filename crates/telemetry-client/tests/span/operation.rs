//! An operation is resolved once, and its spans are like those of its name.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use telemetry_client::Telemetry;
use telemetry_client::backend::{
    Backend, CompositeBackend, Draw, Phase, Site, SpanFate, SpanSites,
};
use telemetry_core::{
    ManualClock, Outcome, ValueRef,
    catalog::NameError,
    emit::{Fields, PolicySpec, Recorder, RecorderConfig, Ties},
    ledger::{Reason, WorkerSnapshot},
    wire::{Control, ControlError},
};

use super::{Fixture, fixture};

#[test]
fn spans_of_an_operation_are_like_those_of_its_name() {
    let fixture = Fixture::new();
    let operation = fixture.telemetry.operation("tool.execution");
    assert_eq!(operation.error(), None);
    for span in [
        operation.span(),
        operation.clone().span(),
        fixture.telemetry.span("tool.execution"),
    ] {
        let mut span = span
            .metadata("tool", "grep")
            .metadata(String::from("operation"), String::from("read"))
            .measurement("count", 1_i64)
            .correlation_id("id")
            .start();
        span.set("model", format!("m{}", 1));
        fixture.clock.advance(Duration::from_nanos(7));
        span.finish();
        let events = fixture.memory.take();
        assert_eq!(events[0].name(), "tool.execution.start");
        assert_eq!(events[0].measurement("count"), Some(ValueRef::Int(1)));
        assert_eq!(
            events[0].measurement("system_time"),
            Some(ValueRef::Int(events[0].timestamp_ns))
        );
        assert_eq!(events[1].name(), "tool.execution.stop");
        assert_eq!(events[1].measurement("duration"), Some(ValueRef::Int(7)));
        assert_eq!(events[1].metadata("model"), Some("m1"));
        for event in &events {
            assert_eq!(event.metadata("operation"), Some("read"));
            assert_eq!(event.correlation_id, "id");
        }
        assert_eq!(events.len(), 2);
    }
}

#[test]
fn a_refused_operation_counts_every_span() {
    let fixture = Fixture::new();
    let operation = fixture.telemetry.operation("not a name");
    assert!(operation.error().is_some());
    let refused = || fixture.telemetry.ledger().dropped.get(Reason::InvalidName);
    let resolved = refused();
    for spans in 1..=3 {
        operation.span().metadata("tool", "grep").start().finish();
        assert_eq!(refused() - resolved, spans);
    }
    assert!(fixture.memory.take().is_empty());
    fixture.telemetry.ledger().check().expect("balance");
}

#[test]
fn control_that_arrives_later_switches_an_operation() {
    let mut policy = PolicySpec::default();
    policy.enabled = false;
    let fixture = fixture(policy);
    let toggle = |enabled| {
        let toggle = Control::Toggle { enabled };
        fixture.memory.apply(&toggle).expect("a toggle");
    };
    let operation = fixture.telemetry.operation("tool.execution");
    operation.span().start().finish();
    assert!(fixture.memory.take().is_empty());
    assert_eq!(fixture.telemetry.ledger().emitted, 0);
    // The builder is older than the control, its start is not.
    let builder = operation.span();
    toggle(true);
    builder.start().finish();
    assert_eq!(fixture.end().name(), "tool.execution.stop");
    toggle(false);
    operation.span().start().finish();
    assert!(fixture.memory.take().is_empty());
    assert_eq!(fixture.telemetry.ledger().emitted, 2);
}

#[test]
fn an_operation_reaches_every_part_of_a_composite() {
    let (first, second) = (Fixture::new(), Fixture::new());
    let parts: Vec<Arc<dyn Backend>> = vec![first.memory.clone(), second.memory.clone()];
    let composite = Arc::new(CompositeBackend::new(parts));
    let telemetry = Telemetry::builder().backend(composite).build();
    let operation = telemetry.operation("tool.execution");
    operation.span().start().finish();
    assert_eq!(first.end().name(), "tool.execution.stop");
    assert_eq!(second.end().name(), "tool.execution.stop");
    // Each part obeys its own control.
    let off = Control::Toggle { enabled: false };
    first.memory.apply(&off).expect("a toggle");
    operation.span().start().finish();
    assert!(first.memory.take().is_empty());
    assert_eq!(second.end().name(), "tool.execution.stop");
}

#[tokio::test]
async fn a_future_in_a_span_outlives_the_operation_and_the_name() {
    let fixture = Fixture::new();
    let task = {
        let operation = fixture.telemetry.operation("tool.execution");
        tokio::spawn(operation.span().instrument(async {}))
    };
    task.await.expect("no panic");
    assert_eq!(fixture.end().name(), "tool.execution.stop");
    let task = {
        let name = String::from("tool.execution");
        tokio::spawn(fixture.telemetry.span(&name).instrument(async {}))
    };
    task.await.expect("no panic");
    assert_eq!(fixture.end().name(), "tool.execution.stop");
}

/// Panics with every event whose phase is `at`.
#[derive(Debug)]
struct Panicking {
    recorder: Recorder,
    at: Phase,
    recorded: Mutex<Vec<Phase>>,
}

impl Backend for Panicking {
    fn resolve(&self, name: &str) -> Result<Site, NameError> {
        self.recorder.resolve(name)
    }

    fn record(&self, _: &Site, draw: Draw<'_>, _: &Fields<'_>) -> Outcome {
        if let Draw::Span(_, phase) = draw {
            self.recorded.lock().expect("a list").push(phase);
            assert_ne!(phase, self.at, "on purpose");
        }
        Outcome::Accepted
    }

    fn decide(&self, sites: &SpanSites, ties: &Ties<'_>) -> Option<SpanFate> {
        self.recorder.decide(sites, ties)
    }

    fn apply(&self, control: &Control) -> Result<(), ControlError> {
        self.recorder.apply(control)
    }

    fn flush(&self, _: Duration) -> bool {
        true
    }

    fn shutdown(&self, timeout: Duration) -> WorkerSnapshot {
        self.recorder.shutdown(timeout)
    }

    fn ledger(&self) -> WorkerSnapshot {
        self.recorder.ledger()
    }
}

#[test]
fn a_backend_that_panics_is_told_of_each_phase_once() {
    for (at, told) in [
        (Phase::Start, vec![Phase::Start]),
        (Phase::Stop, vec![Phase::Start, Phase::Stop]),
    ] {
        let clock = Arc::new(ManualClock::new(0));
        let recorder = Recorder::new(RecorderConfig::default(), clock).expect("a policy");
        let backend = Arc::new(Panicking {
            recorder,
            at,
            recorded: Mutex::default(),
        });
        let telemetry = Telemetry::builder().backend(backend.clone()).build();
        let operation = telemetry.operation("tool.execution");
        let result = catch_unwind(AssertUnwindSafe(|| operation.span().start().finish()));
        assert!(result.is_err());
        let recorded = backend
            .recorded
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        assert_eq!(*recorded, told);
    }
}
