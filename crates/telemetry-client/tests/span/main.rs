//! A span ends exactly once, whatever happens to it; it knows its place, `context.rs`, and may have an
//! operation, `operation.rs`.

mod context;
mod operation;

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use telemetry_client::Telemetry;
use telemetry_client::backend::{Backend, MemoryBackend};
use telemetry_core::{
    Clock, Event, ManualClock, ValueRef,
    emit::{PolicySpec, RecorderConfig, SamplingRule},
    ledger::Reason,
    wire::Control,
};

struct Fixture {
    telemetry: Telemetry,
    memory: Arc<MemoryBackend>,
    clock: Arc<ManualClock>,
}

fn fixture(policy: PolicySpec) -> Fixture {
    let clock = Arc::new(ManualClock::new(1_000));
    let mut config = RecorderConfig::default();
    config.policy = policy;
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
    let half = SamplingRule::of_all(0.5);
    let mut policy = PolicySpec::default();
    policy.sampling = vec![half];
    let fixture = fixture(policy);
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
    let none = SamplingRule::of_all(0.0);
    fixture
        .memory
        .apply(&Control::Sampling(none))
        .expect("a rule");
    span.finish();
    assert_eq!(fixture.end().name(), "tool.execution.stop");
}

#[test]
fn a_span_begun_while_off_stays_silent() {
    let mut policy = PolicySpec::default();
    policy.enabled = false;
    let fixture = fixture(policy);
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
