//! A span ends exactly once, whatever happens to it; and it knows its place, `context.rs`.

mod context;

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use telemetry_client::Telemetry;
use telemetry_client::backend::{
    Backend, CompositeBackend, Draw, MemoryBackend, Phase, Site, SpanFate, SpanSites,
};
use telemetry_core::{
    Clock, Control, ControlError, Event, Fields, ManualClock, NameError, Outcome, PolicySpec,
    Reason, Recorder, RecorderConfig, SamplingRule, Ties, ValueRef, WorkerSnapshot,
};

struct Fixture {
    telemetry: Telemetry,
    memory: Arc<MemoryBackend>,
    clock: Arc<ManualClock>,
}

fn fixture(policy: PolicySpec) -> Fixture {
    let clock = Arc::new(ManualClock::new(1_000));
    let config = RecorderConfig {
        policy,
        ..RecorderConfig::default()
    };
    let shared = Arc::clone(&clock) as Arc<dyn Clock>;
    let memory = Arc::new(MemoryBackend::new(config, Arc::clone(&shared)).expect("a policy"));
    let backend = Arc::clone(&memory) as Arc<dyn Backend>;
    let telemetry = Telemetry::builder().backend(backend).clock(shared).build();
    Fixture {
        telemetry,
        memory,
        clock,
    }
}

impl Fixture {
    fn new() -> Self {
        fixture(PolicySpec::default())
    }

    /// Takes the events of one span: its start and its end.
    fn end(&self) -> Event {
        let mut events = self.memory.take();
        assert_eq!(events.len(), 2, "a start and an end: {events:?}");
        assert_eq!(events[0].name(), "tool.execution.start");
        self.telemetry.ledger().check().expect("balance");
        events.remove(1)
    }
}

#[test]
fn a_span_that_finishes_emits_start_and_stop() {
    let fixture = Fixture::new();
    let mut span = fixture
        .telemetry
        .span("tool.execution")
        .metadata("tool", "grep")
        .correlation_id("id")
        .start();
    fixture.clock.advance(Duration::from_nanos(1_500));
    // A wall clock that jumps does not show in the duration.
    fixture.clock.set_unix(-5);
    span.set("model", "m");
    span.measure("count", 3_i64);
    span.finish();
    let events = fixture.memory.take();
    assert_eq!(
        events[0].measurement("system_time"),
        Some(ValueRef::Int(1_000))
    );
    assert_eq!(events[0].metadata("tool"), Some("grep"));
    assert_eq!(events[1].name(), "tool.execution.stop");
    assert_eq!(
        events[1].measurement("duration"),
        Some(ValueRef::Int(1_500))
    );
    assert_eq!(events[1].measurement("count"), Some(ValueRef::Int(3)));
    assert_eq!(events[1].metadata("model"), Some("m"));
    assert!(events.iter().all(|event| event.correlation_id == "id"));
    assert_eq!(events.len(), 2);
}

#[test]
fn a_dropped_span_stops() {
    let fixture = Fixture::new();
    drop(fixture.telemetry.span("tool.execution").start());
    assert_eq!(fixture.end().name(), "tool.execution.stop");
}

#[test]
fn a_failed_span_names_the_error() {
    let fixture = Fixture::new();
    let error = "x".parse::<i32>().expect_err("no number");
    fixture
        .telemetry
        .span("tool.execution")
        .start()
        .fail(&error);
    let end = fixture.end();
    assert_eq!(end.name(), "tool.execution.exception");
    assert_eq!(end.metadata("error_type"), Some("ParseIntError"));
    assert_eq!(
        end.metadata("error_message"),
        Some("invalid digit found in string")
    );
    assert!(end.measurement("duration").is_some());
    let boxed: Box<dyn std::error::Error + Send + Sync> = "boxed".into();
    fixture
        .telemetry
        .span("tool.execution")
        .start()
        .fail(&*boxed);
    assert_eq!(fixture.end().metadata("error_type"), Some("Error"));
}

#[test]
fn a_panic_ends_the_span_as_exception() {
    let fixture = Fixture::new();
    let result = catch_unwind(AssertUnwindSafe(|| {
        let _span = fixture.telemetry.span("tool.execution").start();
        panic!("on purpose");
    }));
    assert!(result.is_err());
    assert_eq!(fixture.end().metadata("error_type"), Some("panic"));
}

#[test]
fn a_span_inside_a_destructor_that_runs_while_unwinding_stops() {
    struct Cleanup<'a>(&'a Telemetry);
    impl Drop for Cleanup<'_> {
        fn drop(&mut self) {
            drop(self.0.span("tool.execution").start());
        }
    }
    let fixture = Fixture::new();
    let result = catch_unwind(AssertUnwindSafe(|| {
        let _cleanup = Cleanup(&fixture.telemetry);
        panic!("on purpose");
    }));
    assert!(result.is_err());
    assert_eq!(fixture.end().name(), "tool.execution.stop");
}

#[tokio::test]
async fn an_instrumented_future_stops_when_it_is_done() {
    let fixture = Fixture::new();
    let answer = fixture
        .telemetry
        .span("tool.execution")
        .instrument(async { 42 })
        .await;
    assert_eq!(answer, 42);
    assert_eq!(fixture.end().name(), "tool.execution.stop");
}

#[tokio::test]
async fn an_instrumented_future_that_fails_is_an_exception() {
    let fixture = Fixture::new();
    let work = async { "x".parse::<i32>() };
    let result = fixture
        .telemetry
        .span("tool.execution")
        .try_instrument(work)
        .await;
    assert!(result.is_err());
    assert_eq!(fixture.end().metadata("error_type"), Some("ParseIntError"));
}

#[tokio::test]
async fn a_cancelled_future_ends_as_cancelled() {
    let fixture = Fixture::new();
    let never = std::future::pending::<()>();
    let mut work = Box::pin(fixture.telemetry.span("tool.execution").instrument(never));
    assert!(futures_poll(&mut work).await.is_pending());
    drop(work);
    assert_eq!(fixture.end().metadata("error_type"), Some("cancelled"));
}

#[tokio::test]
async fn a_future_that_is_never_polled_emits_nothing() {
    let fixture = Fixture::new();
    drop(
        fixture
            .telemetry
            .span("tool.execution")
            .instrument(async {}),
    );
    assert!(fixture.memory.take().is_empty());
}

#[tokio::test]
async fn a_task_that_panics_ends_its_span_as_panic() {
    let fixture = Fixture::new();
    let work = fixture
        .telemetry
        .span("tool.execution")
        .instrument(async { panic!("on purpose") });
    let result: Result<(), _> = catch_unwind(AssertUnwindSafe(|| {
        let mut work = Box::pin(work);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let _never = work.as_mut().poll(&mut context);
    }));
    assert!(result.is_err());
    assert_eq!(fixture.end().metadata("error_type"), Some("panic"));
}

#[test]
fn a_sampled_out_span_is_dropped_whole_and_a_kept_one_kept_whole() {
    let half = SamplingRule {
        rate: 0.5,
        patterns: Vec::new(),
    };
    let fixture = fixture(PolicySpec {
        sampling: vec![half],
        ..PolicySpec::default()
    });
    let mut kept = 0;
    for _ in 0..400 {
        let span = fixture.telemetry.span("tool.execution").start();
        span.finish();
        let events = fixture.memory.take();
        assert!(
            events.is_empty() || events.len() == 2,
            "half a span: {events:?}"
        );
        assert!(
            events
                .iter()
                .all(|event| event.sampling_rate.to_bits() == 0.5_f64.to_bits())
        );
        kept += events.len() / 2;
    }
    assert!((100..300).contains(&kept), "{kept} of 400 at rate 0.5");
    let ledger = fixture.telemetry.ledger();
    assert_eq!(
        ledger.dropped.get(Reason::SampledOut),
        800 - 2 * kept as u64
    );
    ledger.check().expect("balance");
}

#[test]
fn a_rate_that_changes_under_way_does_not_split_the_span() {
    let fixture = Fixture::new();
    let span = fixture.telemetry.span("tool.execution").start();
    let none = SamplingRule {
        rate: 0.0,
        patterns: Vec::new(),
    };
    fixture
        .memory
        .apply(&Control::Sampling(none))
        .expect("a rule");
    span.finish();
    assert_eq!(fixture.end().name(), "tool.execution.stop");
}

#[test]
fn a_span_begun_while_off_stays_silent() {
    let fixture = fixture(PolicySpec {
        enabled: false,
        ..PolicySpec::default()
    });
    let span = fixture.telemetry.span("tool.execution").start();
    fixture
        .memory
        .apply(&Control::Toggle { enabled: true })
        .expect("a toggle");
    span.finish();
    assert!(fixture.memory.take().is_empty());
}

#[test]
fn an_operation_that_is_no_name_is_counted_and_harmless() {
    let fixture = Fixture::new();
    fixture.telemetry.span("not a name").start().finish();
    assert!(fixture.memory.take().is_empty());
    assert_eq!(
        fixture.telemetry.ledger().dropped.get(Reason::InvalidName),
        1
    );
}

/// Polls once.
async fn futures_poll<F: Future + Unpin>(future: &mut F) -> std::task::Poll<F::Output> {
    std::future::poll_fn(|cx| std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(cx)))
        .await
}

#[test]
fn a_panic_that_the_executor_catches_is_a_panic() {
    let fixture = Fixture::new();
    let span = fixture.telemetry.span("tool.execution");
    let mut future = Box::pin(span.instrument(async { panic!("in the future") }));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut context)));
    assert!(polled.is_err());
    drop(future);
    let end = fixture.end();
    assert_eq!(end.name(), "tool.execution.exception");
    assert_eq!(end.metadata("error_type"), Some("panic"));
}

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
fn a_span_carries_as_many_entries_as_an_event_may() {
    let fixture = Fixture::new();
    let mut builder = fixture.telemetry.span("tool.execution");
    for number in 0..20 {
        builder = builder.metadata(format!("key{number}"), number.to_string());
    }
    let mut span = builder.start();
    for number in 0_i64..20 {
        span.measure(format!("count{number}"), number);
    }
    span.finish();
    let end = fixture.end();
    for number in 0..20 {
        let metadata = end.metadata(&format!("key{number}")).map(str::to_owned);
        assert_eq!(metadata, Some(number.to_string()));
        let measurement = end.measurement(&format!("count{number}"));
        assert_eq!(measurement, Some(ValueRef::Int(number)));
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
    let fixture = fixture(PolicySpec {
        enabled: false,
        ..PolicySpec::default()
    });
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
