//! What a thread works in: the innermost span that was entered on it, and its way to other processes.
//!
//! A few words per thread. Futures carry theirs with them, since they enter it with every poll. This room
//! knows no backend and emits nothing.

use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::sync::Arc;

use telemetry_core::{SpanContext, TraceContext};

/// Header that carries a W3C trace context.
pub const TRACEPARENT: &str = "traceparent";
/// Header, and name of gRPC metadata, that carries a correlation id.
pub const CORRELATION_HEADER: &str = "x-snakepit-correlation-id";

thread_local! {
    /// The innermost span entered on this thread.
    static CURRENT: Cell<Option<Current>> = const { Cell::new(None) };
    /// Its correlation id. Apart, since it is not just words: it is not looked at where there is none.
    static CORRELATION_ID: RefCell<Option<Arc<str>>> = const { RefCell::new(None) };
}

/// A span that was entered, in words.
#[derive(Debug, Clone, Copy)]
struct Current {
    /// Its ids.
    span: SpanContext,
    /// The flags of its trace.
    flags: u8,
    /// Whether it has a correlation id.
    has_id: bool,
}

/// A span as what happens within it knows it.
#[derive(Debug, Clone)]
pub(crate) struct Around {
    /// Its ids.
    pub(crate) span: SpanContext,
    /// The flags of its trace, as of W3C.
    pub(crate) flags: u8,
    /// The id of its events; `None` is the empty one.
    pub(crate) correlation_id: Option<Arc<str>>,
}

impl Around {
    /// What a request takes along that is made in it.
    pub(crate) fn trace_context(&self) -> TraceContext {
        TraceContext {
            trace_id: self.span.trace_id,
            span_id: self.span.span_id,
            flags: self.flags,
        }
    }
}

/// The innermost span that was entered on this thread, or whose future is being polled on it.
///
/// Events that are emitted now carry its identity, and spans that start now are its children.
#[must_use]
#[inline]
pub fn current_span() -> Option<SpanContext> {
    current().map(|current| current.span)
}

/// The current span with all that belongs to it.
#[inline]
pub(crate) fn around() -> Option<Around> {
    current().map(|current| Around {
        span: current.span,
        flags: current.flags,
        correlation_id: current.correlation_id(),
    })
}

/// Calls `record` with what an event belongs to that is emitted now: its correlation id, that of the current
/// span if it is given none, and that span.
#[inline]
pub(crate) fn tied<R>(
    correlation_id: &str,
    record: impl FnOnce(&str, Option<SpanContext>) -> R,
) -> R {
    let Some(current) = current() else {
        return record(correlation_id, None);
    };
    if current.has_id && correlation_id.is_empty() {
        let inherited = current.correlation_id();
        return record(inherited.as_deref().unwrap_or(""), Some(current.span));
    }
    record(correlation_id, Some(current.span))
}

#[inline]
fn current() -> Option<Current> {
    // None at the end of a thread, when the words are gone.
    CURRENT.try_with(Cell::get).ok().flatten()
}

impl Current {
    /// The correlation id, for whoever wants to keep it.
    fn correlation_id(self) -> Option<Arc<str>> {
        if !self.has_id {
            return None;
        }
        let held = CORRELATION_ID.try_with(|id| id.borrow().clone());
        held.ok().flatten()
    }
}

/// As long as it lives, a span is the current one of this thread. Guards are dropped in the reverse order
/// in which they were made.
#[must_use = "the span is left when the guard is dropped"]
#[derive(Debug)]
pub struct Entered<'a> {
    /// What was current before.
    before: Option<Current>,
    /// The correlation id from before, if it was replaced.
    id_before: Option<Option<Arc<str>>>,
    /// Borrows the span, and stays on its thread.
    span: PhantomData<(&'a (), *const ())>,
}

impl Entered<'_> {
    /// Makes a span current; without one nothing changes.
    #[inline]
    pub(crate) fn new(span: Option<&Around>) -> Self {
        let before = current();
        let mut id_before = None;
        if let Some(entered) = span {
            let has_id = entered.correlation_id.is_some();
            if has_id || before.is_some_and(|before| before.has_id) {
                id_before = Some(replace_id(entered.correlation_id.clone()));
            }
            set(Some(Current {
                span: entered.span,
                flags: entered.flags,
                has_id,
            }));
        }
        Self {
            before,
            id_before,
            span: PhantomData,
        }
    }
}

impl Drop for Entered<'_> {
    #[inline]
    fn drop(&mut self) {
        set(self.before);
        if let Some(id) = self.id_before.take() {
            drop(replace_id(id));
        }
    }
}

fn set(current: Option<Current>) {
    let _thread_ends = CURRENT.try_with(|cell| cell.set(current));
}

/// Puts another correlation id in place; the one from before.
fn replace_id(id: Option<Arc<str>>) -> Option<Arc<str>> {
    let replaced = CORRELATION_ID.try_with(|cell| cell.replace(id));
    replaced.ok().flatten()
}

/// Writes what a request takes along where it carries its headers: calls `put` with a lower-case name and a
/// value, for `traceparent` of the current span and for [`CORRELATION_HEADER`] if that span has a
/// correlation id which can stand in a header: visible ASCII and spaces within. Without a current span it does nothing.
///
/// The flags of a trace are those that its [first caller](extract) sent: what is not sampled there is said to
/// be so to all that follow. A trace that begins here is sampled.
///
/// ```
/// # let telemetry = telemetry_client::Telemetry::off();
/// let span = telemetry.span("tool.execution").start();
/// let _entered = span.enter();
/// let mut headers = Vec::new();
/// telemetry_client::inject(|name, value| headers.push((name, value)));
/// # assert!(headers.is_empty(), "this telemetry is off");
/// ```
pub fn inject(mut put: impl FnMut(&'static str, String)) {
    let Some(around) = around() else { return };
    put(TRACEPARENT, around.trace_context().to_string());
    if let Some(id) = around.correlation_id.filter(|id| fits_in_a_header(id)) {
        put(CORRELATION_HEADER, String::from(&*id));
    }
}

/// Whether a text is the value of a header as it is, for every reader.
fn fits_in_a_header(text: &str) -> bool {
    text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) && text.trim() == text
}

/// Reads the caller's trace context: calls `get` with the name `traceparent`. What is none is ignored, as
/// the standard wants it. A correlation id is read by its own name, [`CORRELATION_HEADER`].
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
