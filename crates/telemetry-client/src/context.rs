//! The span that a thread works in, and its way to other processes.
//!
//! One word per thread: the innermost span that was entered here. Futures carry theirs with them, since
//! they enter it with every poll. This room knows no backend and emits nothing.

use std::cell::Cell;
use std::marker::PhantomData;

use telemetry_core::{FLAG_SAMPLED, SpanContext, TraceContext};

/// Header that carries a W3C trace context.
pub const TRACEPARENT: &str = "traceparent";

thread_local! {
    /// The innermost span entered on this thread.
    static CURRENT: Cell<Option<SpanContext>> = const { Cell::new(None) };
}

/// The innermost span that was entered on this thread, or whose future is being polled on it.
///
/// Events that are emitted now carry its identity, and spans that start now are its children.
#[must_use]
#[inline]
pub fn current_span() -> Option<SpanContext> {
    // None at the end of a thread, when the word is gone.
    CURRENT.try_with(Cell::get).ok().flatten()
}

/// As long as it lives, a span is the current one of this thread. Guards are dropped in the reverse order
/// in which they were made.
#[must_use = "the span is left when the guard is dropped"]
#[derive(Debug)]
pub struct Entered<'a> {
    /// What was current before.
    before: Option<SpanContext>,
    /// Borrows the span, and stays on its thread.
    span: PhantomData<(&'a (), *const ())>,
}

impl Entered<'_> {
    /// Makes a span current; without one nothing changes.
    #[inline]
    pub(crate) fn new(span: Option<SpanContext>) -> Self {
        let before = current_span();
        if span.is_some() {
            set(span);
        }
        Self {
            before,
            span: PhantomData,
        }
    }
}

impl Drop for Entered<'_> {
    #[inline]
    fn drop(&mut self) {
        set(self.before);
    }
}

fn set(span: Option<SpanContext>) {
    let _thread_ends = CURRENT.try_with(|current| current.set(span));
}

/// Writes the current span where a request carries its headers: calls `put` with the name `traceparent` and
/// its value. Without a current span it does nothing.
///
/// ```
/// # let telemetry = telemetry_client::Telemetry::off();
/// let span = telemetry.span("tool.execution").start();
/// let _entered = span.enter();
/// let mut headers = Vec::new();
/// telemetry_client::inject(|name, value| headers.push((name, value)));
/// # assert!(headers.is_empty(), "this telemetry is off");
/// ```
pub fn inject(put: impl FnOnce(&'static str, String)) {
    if let Some(span) = current_span() {
        put(TRACEPARENT, trace_context(&span).to_string());
    }
}

/// Reads the caller's trace context: calls `get` with the name `traceparent`. What is none is ignored, as
/// the standard wants it.
///
/// ```
/// let headers = [("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")];
/// let find = |name: &str| headers.iter().find(|header| header.0 == name).map(|header| header.1);
/// let caller = telemetry_client::extract(find).expect("it is well formed");
/// # let telemetry = telemetry_client::Telemetry::off();
/// let span = telemetry.span("tool.execution").parent(caller).start();
/// ```
#[must_use]
pub fn extract<'h>(get: impl FnOnce(&'static str) -> Option<&'h str>) -> Option<TraceContext> {
    TraceContext::parse(get(TRACEPARENT)?).ok()
}

/// A span as W3C says it.
pub(crate) fn trace_context(span: &SpanContext) -> TraceContext {
    TraceContext {
        trace_id: span.trace_id,
        span_id: span.span_id,
        flags: FLAG_SAMPLED,
    }
}
