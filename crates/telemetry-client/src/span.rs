//! Spans: an operation that begins once and ends once, however it ends.
//!
//! Sampling is decided at the start for the whole span, so a stop is never seen without its start.
//! Durations come from the monotonic clock, `system_time` from the wall clock.

mod entries;
mod instrumented;
mod operation;

use std::any::type_name;
use std::borrow::Cow;
use std::error::Error;
use std::future::Future;
use std::sync::Arc;

use telemetry_core::{
    SpanContext, SpanPhase, TraceContext, Value, ValueRef,
    emit::{Fields, OpenSlot, Ties},
};

use self::entries::{Entries, with_slice};
use self::operation::{Origin, Resolved};
use crate::backend::{Draw, Phase, SpanFate};
use crate::context::{Around, Entered, beginning};
use crate::telemetry::Telemetry;

pub use self::instrumented::Instrumented;
pub use self::operation::Operation;

/// `error_type` of a span that ended because its thread panics.
pub const ERROR_TYPE_PANIC: &str = "panic";
/// `error_type` of a span whose future was dropped before it was done.
pub const ERROR_TYPE_CANCELLED: &str = "cancelled";

/// A span before its start.
#[derive(Debug, Clone)]
#[must_use = "a span begins with `start`, `instrument` or `try_instrument`"]
pub struct SpanBuilder<'a> {
    /// What is done, and where it is emitted.
    origin: Origin<'a>,
    /// On every event of the span.
    metadata: Entries,
    /// On the start event.
    measurements: Vec<(Cow<'static, str>, Value)>,
    /// On every event of the span; may be empty.
    correlation_id: String,
    /// The caller's span, if it was told.
    parent: Option<TraceContext>,
}

impl Telemetry {
    /// Begins a span: `{operation}.start` now, `{operation}.stop` or `.exception` at its end.
    pub fn span<'a>(&self, operation: &'a str) -> SpanBuilder<'a> {
        SpanBuilder::of_name(self.clone(), operation)
    }

    /// Resolves the names of an operation once, for spans that are begun often.
    #[must_use]
    pub fn operation(&self, operation: &str) -> Operation {
        Operation::new(self, operation)
    }
}

impl<'a> SpanBuilder<'a> {
    /// A span of the operation called `name`.
    pub(crate) fn of_name(telemetry: Telemetry, name: &'a str) -> Self {
        Self::new(Origin::Name(telemetry, Cow::Borrowed(name)))
    }

    /// A span with nothing set.
    #[inline]
    fn new(origin: Origin<'a>) -> Self {
        Self {
            origin,
            metadata: Entries::new(),
            measurements: Vec::new(),
            correlation_id: String::new(),
            parent: None,
        }
    }

    /// Adds metadata to every event of the span. Texts that are literals are not copied.
    #[inline]
    pub fn metadata(
        mut self,
        key: impl Into<Cow<'static, str>>,
        value: impl Into<Cow<'static, str>>,
    ) -> Self {
        self.metadata.push((key.into(), value.into()));
        self
    }

    /// Adds a measurement to the start event.
    pub fn measurement(
        mut self,
        key: impl Into<Cow<'static, str>>,
        value: impl Into<Value>,
    ) -> Self {
        self.measurements.push((key.into(), value.into()));
        self
    }

    /// Ties the span to others. With an id, all workers agree on whether it is sampled. Without one it has
    /// that of the [current span](crate::current_span), if that is its parent.
    pub fn correlation_id(mut self, correlation_id: impl Into<String>) -> Self {
        self.correlation_id = correlation_id.into();
        self
    }

    /// Makes it a child of a span elsewhere, such as a caller's whose headers were [read](crate::extract).
    /// By default it is a child of the [current span](crate::current_span), under its correlation id if it is
    /// given none itself. A caller's correlation id comes in a [header of its own](crate::CORRELATION_HEADER)
    /// and is passed with [`correlation_id`](Self::correlation_id).
    pub fn parent(mut self, caller: TraceContext) -> Self {
        self.parent = Some(caller);
        self
    }

    /// What the span that starts now is to those within it.
    fn identity(&self) -> Around {
        let given = (!self.correlation_id.is_empty()).then(|| Arc::from(&*self.correlation_id));
        if let Some(caller) = self.parent {
            return Around {
                span: SpanContext::new(caller.trace_id, Some(caller.span_id)),
                flags: caller.flags,
                correlation_id: given,
            };
        }
        beginning(given)
    }

    /// Emits `{operation}.start`. Dropping the guard ends the span: as `panic` if the thread unwinds
    /// from a panic that began inside the span, else well.
    #[inline]
    pub fn start(self) -> Span {
        // Here and not earlier, so that a control which came since the builder was made is obeyed.
        if self.origin.is_off() {
            return Span { live: None };
        }
        self.start_enabled()
    }

    /// The rest of [`start`](Self::start), apart so that the test before it is inlined alone.
    fn start_enabled(self) -> Span {
        // A bad name has been counted; a span that is off emits nothing.
        let Some(operation) = self.origin.resolve() else {
            return Span { live: None };
        };
        let telemetry = operation.telemetry();
        let identity = self.identity();
        let ties = Ties {
            correlation_id: identity.correlation_id.as_deref().unwrap_or(""),
            span: Some(identity.span),
        };
        let fate = telemetry.backend().decide(operation.sites(), &ties);
        let Some(fate) = fate else {
            return Span { live: None };
        };
        let clock = telemetry.clock();
        let (started, now) = (clock.monotonic_nanos(), clock.unix_nanos());
        let mut span = Span {
            live: Some(Live {
                operation,
                fate,
                identity,
                metadata: self.metadata,
                measurements: Vec::new(),
                started,
                listed: OpenSlot::NONE,
                panicking: std::thread::panicking(),
                // Until it began: a backend that panics at the start is not told of an end.
                ended: true,
            }),
        };
        if let Some(live) = &mut span.live {
            let time = ("system_time", ValueRef::Int(now));
            live.emit(SpanPhase::Start, time, &self.measurements, &[], Some(now));
            live.ended = false;
            live.listed = live.operation.list(live.identity.span.span_id, started);
        }
        span
    }

    /// The same, borrowing nothing.
    fn into_owned(self) -> SpanBuilder<'static> {
        SpanBuilder {
            origin: self.origin.into_owned(),
            metadata: self.metadata,
            measurements: self.measurements,
            correlation_id: self.correlation_id,
            parent: self.parent,
        }
    }

    /// Runs a future inside the span. If it is dropped before it is done, the span ends as
    /// `cancelled`; if it panics, as `panic`. The span starts with the first poll.
    pub fn instrument<F: Future>(self, future: F) -> Instrumented<F> {
        Instrumented::new(self, future, |span, _| span.finish())
    }

    /// [`instrument`](Self::instrument) for a future that may fail: an error ends the span with
    /// [`Span::fail`].
    pub fn try_instrument<F, T, E>(self, future: F) -> Instrumented<F>
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
    /// What is needed to end it; absent if it emits nothing.
    live: Option<Live>,
}

/// A span that emits.
#[derive(Debug)]
struct Live {
    /// Its three names, and where it is emitted.
    operation: Resolved,
    /// What sampling decided.
    fate: SpanFate,
    /// Its ids, and what those within it inherit.
    identity: Around,
    /// On every event.
    metadata: Entries,
    /// On the last event.
    measurements: Vec<(Cow<'static, str>, Value)>,
    /// Monotonic clock at the start, nanoseconds.
    started: u64,
    /// Where it is listed as open.
    listed: OpenSlot,
    /// Whether the thread was unwinding when it began.
    panicking: bool,
    /// Whether no event is to come: the last one was emitted, or a backend panicked.
    ended: bool,
}

impl Span {
    /// Its identity; `None` if it emits nothing.
    #[must_use]
    pub fn context(&self) -> Option<SpanContext> {
        self.around().map(|around| around.span)
    }

    /// What to send along with a request that is made in it; `None` if it emits nothing.
    #[must_use]
    pub fn trace_context(&self) -> Option<TraceContext> {
        self.around().map(Around::trace_context)
    }

    /// What those within it inherit; `None` if it emits nothing.
    fn around(&self) -> Option<&Around> {
        self.live.as_ref().map(|live| &live.identity)
    }

    /// Makes it the [current span](crate::current_span) of this thread until the guard is dropped: events emitted
    /// meanwhile carry its identity, spans started meanwhile are its children, and both have its correlation id
    /// if they are given none.
    ///
    /// Do not hold the guard across an `.await`, where other tasks run on the thread; a future is taken
    /// into a span with [`SpanBuilder::instrument`].
    #[inline]
    pub fn enter(&self) -> Entered<'_> {
        Entered::new(self.around())
    }

    /// Adds metadata to the event that ends the span.
    pub fn set(&mut self, key: impl Into<Cow<'static, str>>, value: impl Into<Cow<'static, str>>) {
        if let Some(live) = &mut self.live {
            live.metadata.push((key.into(), value.into()));
        }
    }

    /// Adds a measurement to the event that ends the span.
    pub fn measure(&mut self, key: impl Into<Cow<'static, str>>, value: impl Into<Value>) {
        if let Some(live) = &mut self.live {
            live.measurements.push((key.into(), value.into()));
        }
    }

    /// Ends the span well: `{operation}.stop` with its `duration` in nanoseconds.
    pub fn finish(mut self) {
        if let Some(live) = &mut self.live {
            live.end(SpanPhase::Stop, &[]);
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
        if let Some(live) = &mut self.live {
            live.end_with(SpanPhase::Exception, error_type, error_message);
        }
    }

    /// Ends the span as given up.
    fn cancel(mut self) {
        if let Some(live) = &mut self.live {
            let message = "the future was dropped before it was done";
            live.end_with(SpanPhase::Cancelled, ERROR_TYPE_CANCELLED, message);
        }
    }
}

impl Drop for Span {
    #[inline]
    fn drop(&mut self) {
        let Some(live) = &mut self.live else { return };
        if live.ended {
            return;
        }
        if std::thread::panicking() && !live.panicking {
            live.end_with(
                SpanPhase::Exception,
                ERROR_TYPE_PANIC,
                "the thread panicked",
            );
        } else {
            live.end(SpanPhase::Stop, &[]);
        }
    }
}

impl Live {
    /// Ends with `.exception`.
    fn end_with(&mut self, phase: SpanPhase, error_type: &str, error_message: &str) {
        let error = [("error_type", error_type), ("error_message", error_message)];
        self.end(phase, &error);
    }

    /// Emits the last event.
    fn end(&mut self, phase: SpanPhase, error: &[(&str, &str)]) {
        // First, so that a backend which panics is not asked again while the stack unwinds.
        self.ended = true;
        let listed = std::mem::replace(&mut self.listed, OpenSlot::NONE);
        self.operation.unlist(listed);
        let clock = self.operation.telemetry().clock();
        let nanos = clock.monotonic_nanos().saturating_sub(self.started);
        let duration = ValueRef::Int(i64::try_from(nanos).unwrap_or(i64::MAX));
        let time = ("duration", duration);
        self.emit(phase, time, &self.measurements, error, None);
    }

    /// Emits one event of the span, at `timestamp_ns` or now.
    fn emit(
        &self,
        phase: SpanPhase,
        time: (&str, ValueRef<'_>),
        more: &[(Cow<'static, str>, Value)],
        error: &[(&str, &str)],
        timestamp_ns: Option<i64>,
    ) {
        let measurements = std::iter::once(time).chain(
            more.iter()
                .map(|(key, value)| (key.as_ref(), value.as_ref())),
        );
        let metadata = self.metadata.iter().chain(error.iter().copied());
        with_slice(measurements, 1 + more.len(), |measurements| {
            with_slice(metadata, self.metadata.len() + error.len(), |metadata| {
                let fields = Fields {
                    measurements,
                    metadata,
                    correlation_id: self.identity.correlation_id.as_deref().unwrap_or(""),
                    span: Some(self.identity.span.at(phase)),
                    timestamp_ns,
                };
                let event = match phase {
                    SpanPhase::Start => Phase::Start,
                    SpanPhase::Inside | SpanPhase::Stop => Phase::Stop,
                    SpanPhase::Exception | SpanPhase::Cancelled => Phase::Exception,
                };
                let site = self.operation.sites().of(event);
                let draw = Draw::Span(&self.fate, event);
                self.operation.telemetry().record(site, draw, &fields);
            });
        });
    }
}

/// The name of a type without its path and parameters; a trait object is `Error`.
fn short_type_name<T: ?Sized>() -> &'static str {
    let name = type_name::<T>();
    let name = name.split_once('<').map_or(name, |(name, _)| name);
    let name = name.split(" + ").next().unwrap_or(name);
    name.rsplit("::").next().unwrap_or(name)
}
