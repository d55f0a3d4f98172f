//! What a thread works in: the innermost span that was entered on it, else what its process was started under;
//! and the way of that to other processes.
//!
//! A few words per thread. Futures carry theirs with them, since they enter it with every poll. This room
//! knows no backend and emits nothing.

use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::sync::{Arc, OnceLock};

use telemetry_core::{FLAG_SAMPLED, SpanContext, SpanPhase, TraceContext};

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

/// What the process was started under, which is around everything.
static PROCESS: OnceLock<Process> = OnceLock::new();

/// What a process was started under.
#[derive(Debug)]
struct Process {
    /// The span of whoever started it.
    current: Option<Current>,
    /// The correlation id that came along.
    correlation_id: Option<Arc<str>>,
}

/// A span that was entered, in words.
#[derive(Debug, Clone, Copy)]
struct Current {
    /// Its ids.
    span: SpanContext,
    /// The flags of its trace.
    flags: u8,
    /// Where its correlation id is kept.
    id: IdAt,
}

/// Where a correlation id is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum IdAt {
    /// There is none.
    Nowhere,
    /// With the thread.
    Thread,
    /// With the process.
    Process,
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
        trace_context(&self.span, self.flags)
    }
}

/// A span as W3C says it.
fn trace_context(span: &SpanContext, flags: u8) -> TraceContext {
    TraceContext {
        trace_id: span.trace_id,
        span_id: span.span_id,
        flags,
    }
}

/// The innermost span that was entered on this thread, or whose future is being polled on it; else that of the
/// process which started this one, if its environment has a `TRACEPARENT`.
///
/// Events that are emitted now carry its identity, and spans that start now are its children.
#[must_use]
#[inline]
pub fn current_span() -> Option<SpanContext> {
    current().map(|current| current.span)
}

/// Takes what the environment says as that around everything; what was taken first stays.
pub(crate) fn under(caller: Option<TraceContext>, correlation_id: &str) {
    if caller.is_none() && correlation_id.is_empty() {
        return;
    }
    let current = caller.map(|caller| Current {
        span: SpanContext {
            trace_id: caller.trace_id,
            span_id: caller.span_id,
            parent_span_id: None,
            phase: SpanPhase::Inside,
        },
        flags: caller.flags,
        id: IdAt::Process,
    });
    let correlation_id = (!correlation_id.is_empty()).then(|| Arc::from(correlation_id));
    let _first_stays = PROCESS.set(Process {
        current,
        correlation_id,
    });
}

/// A span that begins now within what is current, under a correlation id of its own if it is `given` one. The
/// trace of one that has nothing around it is that of its correlation id, else a new one.
pub(crate) fn beginning(given: Option<Arc<str>>) -> Around {
    let current = current();
    let correlation_id = given.or_else(|| inherited_id(current));
    let (span, flags) = match current {
        Some(around) => (around.span.child(), around.flags),
        None => {
            let root = SpanContext::root(correlation_id.as_deref().unwrap_or(""));
            (root, FLAG_SAMPLED)
        }
    };
    Around {
        span,
        flags,
        correlation_id,
    }
}

/// Calls `record` with what an event belongs to that is emitted now: its correlation id, that of the current
/// span if it is given none, and that span.
#[inline]
pub(crate) fn tied<R>(
    correlation_id: &str,
    record: impl FnOnce(&str, Option<SpanContext>) -> R,
) -> R {
    let current = current();
    let span = current.map(|current| current.span);
    if correlation_id.is_empty()
        && let Some(inherited) = inherited_id(current)
    {
        return record(&inherited, span);
    }
    record(correlation_id, span)
}

/// The span that is current, if any.
#[inline]
fn current() -> Option<Current> {
    entered().or_else(|| PROCESS.get()?.current)
}

/// The innermost span entered on this thread.
#[inline]
fn entered() -> Option<Current> {
    // None at the end of a thread, when the words are gone.
    CURRENT.try_with(Cell::get).ok().flatten()
}

/// The correlation id of what happens in a span, or in none.
#[inline]
fn inherited_id(current: Option<Current>) -> Option<Arc<str>> {
    match current.map_or(IdAt::Process, |current| current.id) {
        IdAt::Nowhere => None,
        IdAt::Thread => {
            let held = CORRELATION_ID.try_with(|id| id.borrow().clone());
            held.ok().flatten()
        }
        IdAt::Process => PROCESS.get()?.correlation_id.clone(),
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
        let before = entered();
        let mut id_before = None;
        if let Some(around) = span {
            let has_id = around.correlation_id.is_some();
            if has_id || before.is_some_and(|before| before.id == IdAt::Thread) {
                id_before = Some(replace_id(around.correlation_id.clone()));
            }
            set(Some(Current {
                span: around.span,
                flags: around.flags,
                id: if has_id { IdAt::Thread } else { IdAt::Nowhere },
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
/// value, for `traceparent` of the current span and for [`CORRELATION_HEADER`] if there is a correlation id
/// which can stand in a header: visible ASCII and spaces within. Where there is neither, it does nothing.
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
    let current = current();
    if let Some(current) = current {
        let context = trace_context(&current.span, current.flags);
        put(TRACEPARENT, context.to_string());
    }
    if let Some(id) = inherited_id(current).filter(|id| fits_in_a_header(id)) {
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
