//! Spans: an operation that begins once and ends once, however it ends.
//!
//! Sampling is decided at the start for the whole span, so a stop is never seen without its start.
//! Durations come from the monotonic clock, `system_time` from the wall clock.

use std::any::type_name;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use telemetry_core::{Fields, Value, ValueRef};

use crate::backend::{Draw, Phase, SpanFate, SpanSites};
use crate::telemetry::Telemetry;

/// `error_type` of a span that ended because its thread panics.
pub const ERROR_TYPE_PANIC: &str = "panic";
/// `error_type` of a span whose future was dropped before it was done.
pub const ERROR_TYPE_CANCELLED: &str = "cancelled";

/// A span before its start.
#[derive(Debug, Clone)]
#[must_use = "a span begins with `start`, `instrument` or `try_instrument`"]
pub struct SpanBuilder<'a> {
    /// Where it is emitted.
    telemetry: Telemetry,
    /// What is done.
    operation: &'a str,
    /// On every event of the span.
    metadata: Vec<(String, String)>,
    /// On the start event.
    measurements: Vec<(String, Value)>,
    /// On every event of the span; may be empty.
    correlation_id: String,
}

impl<'a> SpanBuilder<'a> {
    /// A span of `operation`.
    pub(crate) fn new(telemetry: Telemetry, operation: &'a str) -> Self {
        Self {
            telemetry,
            operation,
            metadata: Vec::new(),
            measurements: Vec::new(),
            correlation_id: String::new(),
        }
    }

    /// Adds metadata to every event of the span.
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.push((key.into(), value.into()));
        self
    }

    /// Adds a measurement to the start event.
    pub fn measurement(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.measurements.push((key.into(), value.into()));
        self
    }

    /// Ties the span to others. With an id, all workers agree on whether it is sampled.
    pub fn correlation_id(mut self, correlation_id: impl Into<String>) -> Self {
        self.correlation_id = correlation_id.into();
        self
    }

    /// Emits `{operation}.start`. Dropping the guard ends the span: as `panic` if the thread unwinds
    /// from a panic that began inside the span, else well.
    pub fn start(self) -> Span {
        let Self {
            telemetry,
            operation,
            metadata,
            measurements,
            correlation_id,
        } = self;
        let clock = telemetry.clock().clone();
        // A bad name has been counted; a span that is off emits nothing.
        let sites = telemetry.span_sites(operation).ok();
        let fate = sites
            .as_ref()
            .and_then(|sites| telemetry.backend().decide(sites, &correlation_id));
        let live = sites.zip(fate).map(|(sites, fate)| Live {
            telemetry,
            sites,
            fate,
            metadata,
            measurements: Vec::new(),
            correlation_id,
            started: clock.monotonic_nanos(),
            panicking: std::thread::panicking(),
        });
        if let Some(live) = &live {
            let now = ValueRef::Int(clock.unix_nanos());
            live.emit(Phase::Start, ("system_time", now), &measurements, &[]);
        }
        Span { live }
    }

    /// Runs a future inside the span. If it is dropped before it is done, the span ends as
    /// `cancelled`; if it panics, as `panic`. The span starts with the first poll.
    pub fn instrument<F: Future>(self, future: F) -> Instrumented<'a, F> {
        Instrumented::new(self, future, |span, _| span.finish())
    }

    /// [`instrument`](Self::instrument) for a future that may fail: an error ends the span with
    /// [`Span::fail`].
    pub fn try_instrument<F, T, E>(self, future: F) -> Instrumented<'a, F>
    where
        F: Future<Output = Result<T, E>>,
        E: Error,
    {
        Instrumented::new(self, future, |span, output| match output {
            Ok(_) => span.finish(),
            Err(error) => span.fail(error),
        })
    }
}

/// A span under way. It ends exactly once: by one of its methods, else when it is dropped.
#[derive(Debug)]
#[must_use = "a span that is dropped ends at once"]
pub struct Span {
    /// What is needed to end it; gone once it ended, or if it emits nothing.
    live: Option<Live>,
}

/// A span that has still to end.
#[derive(Debug)]
struct Live {
    /// Where it is emitted.
    telemetry: Telemetry,
    /// Its three names.
    sites: SpanSites,
    /// What sampling decided.
    fate: SpanFate,
    /// On every event.
    metadata: Vec<(String, String)>,
    /// On the last event.
    measurements: Vec<(String, Value)>,
    /// On every event.
    correlation_id: String,
    /// Monotonic clock at the start, nanoseconds.
    started: u64,
    /// Whether the thread was unwinding when it began.
    panicking: bool,
}

impl Span {
    /// Adds metadata to the event that ends the span.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<String>) {
        if let Some(live) = &mut self.live {
            live.metadata.push((key.into(), value.into()));
        }
    }

    /// Adds a measurement to the event that ends the span.
    pub fn measure(&mut self, key: impl Into<String>, value: impl Into<Value>) {
        if let Some(live) = &mut self.live {
            live.measurements.push((key.into(), value.into()));
        }
    }

    /// Ends the span well: `{operation}.stop` with its `duration` in nanoseconds.
    pub fn finish(mut self) {
        if let Some(live) = self.live.take() {
            live.end(Phase::Stop, &[]);
        }
    }

    /// Ends the span with an error: `{operation}.exception` with `error_type`, the name of the
    /// error's type without its path, and `error_message`.
    pub fn fail<E: Error + ?Sized>(self, error: &E) {
        if self.live.is_some() {
            let message = error.to_string();
            self.fail_as(short_type_name::<E>(), &message);
        }
    }

    /// Ends the span with an error that is no Rust type.
    pub fn fail_as(mut self, error_type: &str, error_message: &str) {
        if let Some(live) = self.live.take() {
            live.end_with(error_type, error_message);
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let Some(live) = self.live.take() else { return };
        if std::thread::panicking() && !live.panicking {
            live.end_with(ERROR_TYPE_PANIC, "the thread panicked");
        } else {
            live.end(Phase::Stop, &[]);
        }
    }
}

impl Live {
    /// Ends with `.exception`.
    fn end_with(self, error_type: &str, error_message: &str) {
        let error = [("error_type", error_type), ("error_message", error_message)];
        self.end(Phase::Exception, &error);
    }

    /// Emits the last event.
    fn end(self, phase: Phase, error: &[(&str, &str)]) {
        let nanos = self
            .telemetry
            .clock()
            .monotonic_nanos()
            .saturating_sub(self.started);
        let duration = ValueRef::Int(i64::try_from(nanos).unwrap_or(i64::MAX));
        self.emit(phase, ("duration", duration), &self.measurements, error);
    }

    /// Emits one event of the span.
    fn emit(
        &self,
        phase: Phase,
        time: (&str, ValueRef<'_>),
        more: &[(String, Value)],
        error: &[(&str, &str)],
    ) {
        let measurements: Vec<_> = std::iter::once(time)
            .chain(
                more.iter()
                    .map(|(key, value)| (key.as_str(), value.as_ref())),
            )
            .collect();
        let metadata: Vec<_> = self
            .metadata
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .chain(error.iter().copied())
            .collect();
        let fields = Fields {
            measurements: &measurements,
            metadata: &metadata,
            correlation_id: &self.correlation_id,
            timestamp_ns: None,
        };
        self.telemetry
            .record(self.sites.of(phase), Draw::Span(&self.fate, phase), &fields);
    }
}

/// A future inside a span.
#[must_use = "futures do nothing unless polled"]
pub struct Instrumented<'a, F: Future> {
    /// The future.
    future: Pin<Box<F>>,
    /// Where the span stands.
    state: InstrumentedState<'a>,
    /// Ends the span when the future is done.
    end: fn(Span, &F::Output),
}

/// Where the span of a future stands.
#[derive(Debug)]
enum InstrumentedState<'a> {
    /// Not polled yet.
    Fresh(SpanBuilder<'a>),
    /// Under way.
    Running(Span),
    /// Ended.
    Done,
}

impl<'a, F: Future> Instrumented<'a, F> {
    /// A future that was not polled yet.
    fn new(builder: SpanBuilder<'a>, future: F, end: fn(Span, &F::Output)) -> Self {
        Self {
            future: Box::pin(future),
            state: InstrumentedState::Fresh(builder),
            end,
        }
    }
}

impl<F: Future> fmt::Debug for Instrumented<'_, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instrumented")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl<F: Future> Future for Instrumented<'_, F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.get_mut();
        // In hand while the future runs: a panic in there drops it and so ends it as one, even if
        // the executor catches the panic and drops the rest of us later.
        let span = match std::mem::replace(&mut this.state, InstrumentedState::Done) {
            InstrumentedState::Fresh(builder) => Some(builder.start()),
            InstrumentedState::Running(span) => Some(span),
            InstrumentedState::Done => None,
        };
        let polled = this.future.as_mut().poll(cx);
        if let Some(span) = span {
            match &polled {
                Poll::Ready(output) => (this.end)(span, output),
                Poll::Pending => this.state = InstrumentedState::Running(span),
            }
        }
        polled
    }
}

impl<F: Future> Drop for Instrumented<'_, F> {
    fn drop(&mut self) {
        if let InstrumentedState::Running(span) =
            std::mem::replace(&mut self.state, InstrumentedState::Done)
            && !std::thread::panicking()
        {
            span.fail_as(
                ERROR_TYPE_CANCELLED,
                "the future was dropped before it was done",
            );
        }
    }
}

/// The name of a type without its path and parameters; a trait object is `Error`.
fn short_type_name<T: ?Sized>() -> &'static str {
    let name = type_name::<T>();
    let name = name.split_once('<').map_or(name, |(name, _)| name);
    let name = name.split(" + ").next().unwrap_or(name);
    name.rsplit("::").next().unwrap_or(name)
}
