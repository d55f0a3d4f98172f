//! One event on its way from a Python call to the backend in force.
//!
//! Nothing here raises an `Exception`, and no lock or queue slot is held while Python code runs: an
//! event is encoded into scratch first and queued as a whole.

mod collected;
mod quick;
mod taken;
mod wrong;

use std::cell::Cell;

use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyString};
use telemetry_core::{
    Outcome, SpanContext, ValueRef,
    emit::{Callsite, Draft, Drawn, Recorder, Ties},
    ledger::Reason,
};

use crate::calls;
use crate::context::correlation_text;
use crate::convert::{exact_text, guarded, swallow};
use crate::fields::{Entries, read_measurements, read_metadata};
use crate::ids::PySpanIdentity;
use crate::raised;
use crate::scope;
use crate::sink::{Object, Sink};
use crate::state::{self, State};

use collected::{Both, Collected};
use taken::Taken;

pub(crate) use quick::{EMIT, NOOP, emit, noop};
pub(crate) use wrong::Wrong;

/// Why an event is dropped whose values raise something that no code may swallow, such as
/// `KeyboardInterrupt`.
const UNREADABLE: Reason = Reason::InvalidValue;

thread_local! {
    /// Whether this thread is inside a Python backend's `emit`.
    static IN_BACKEND: Cell<bool> = const { Cell::new(false) };
}

/// The contents of an event as they stand in Python.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Contents<'a, 'py> {
    /// A measurement that is ours: key and value.
    pub(crate) own: Option<(&'static str, i64)>,
    /// Wall clock, Unix nanoseconds, if it was read already.
    pub(crate) timestamp_ns: Option<i64>,
    /// A mapping or `None`.
    pub(crate) measurements: Option<&'a Bound<'py, PyAny>>,
    /// A mapping or `None`.
    pub(crate) metadata: Option<&'a Bound<'py, PyAny>>,
    /// What is wrong: metadata `error_type`, `error_message` and `traceback`.
    pub(crate) error: Option<&'a Wrong>,
    /// The correlation id; `None` is the empty one.
    pub(crate) correlation_id: Option<&'a Bound<'py, PyAny>>,
    /// The span it begins, ends or happened in.
    pub(crate) span: Option<SpanContext>,
}

/// How it is decided whether an event is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Draw {
    /// By its own draw.
    Own,
    /// It was drawn when its span started.
    Span(Drawn),
}

/// Records one event of any shape, under the context's correlation id if it is given none.
pub(crate) fn emit_any(
    event: &Bound<'_, PyAny>,
    contents: &Contents<'_, '_>,
    correlation_id: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    let py = event.py();
    guarded(py, || {
        let Some(state) = state::current(py) else {
            return Ok(());
        };
        let Some(state) = state.as_deref() else {
            return Ok(());
        };
        let here = scope::here(py).with_id(correlation_id);
        let contents = Contents {
            correlation_id: here.id.as_ref(),
            span: here.span,
            ..*contents
        };
        emit_named(state, event, Draw::Own, &contents)
    })
}

/// Sends an event under a name from Python. What is no valid name is counted as such.
pub(crate) fn emit_named(
    state: &State,
    event: &Bound<'_, PyAny>,
    draw: Draw,
    contents: &Contents<'_, '_>,
) -> PyResult<()> {
    match state.incarnation.recorder.callsite(name_of(event)) {
        Ok(site) => send(event.py(), state, &site, draw, contents),
        Err(_counted) => Ok(()),
    }
}

/// Sends an event to the backend.
pub(crate) fn send(
    py: Python<'_>,
    state: &State,
    site: &Callsite,
    draw: Draw,
    contents: &Contents<'_, '_>,
) -> PyResult<()> {
    let recorder = &*state.incarnation.recorder;
    let id = correlation_text(contents.correlation_id)?;
    match &state.sink {
        Sink::Nothing => Ok(()),
        Sink::Queue | Sink::Waiting => {
            let ids = state.incarnation.ids_in_metadata();
            let inherited = || state.incarnation.is_inherited();
            queue(recorder, site, draw, contents, &id, ids, inherited).1
        }
        Sink::Object(object) if object.with_queue => {
            let Ok(mut draft) = drafted(recorder, site, draw, &id, contents) else {
                return Ok(());
            };
            let mut collected = Collected::new(py, state, contents.span);
            collected.is_copy = true;
            let mut both = Both(&mut draft, &mut collected);
            let filled = contents.read(&mut both, state.incarnation.ids_in_metadata());
            let end = match filled {
                Ok(()) if IN_BACKEND.get() => Err(Reason::Reentrant),
                Ok(()) => Ok(()),
                Err(_) => Err(UNREADABLE),
            };
            finish(state.incarnation.is_inherited(), draft, end);
            if end.is_err() || state.incarnation.is_inherited() {
                return filled;
            }
            // What became of it in the queue is counted there, and what the parts did by the composite.
            let (_counted, raised) =
                hand_over(py, object, state, site.name().as_str(), &collected, &id);
            raised.map_or(Ok(()), Err)
        }
        Sink::Object(object) => {
            let admitted = match draw {
                Draw::Own => recorder.gate().admit(site, &id, contents.span.as_ref()),
                Draw::Span(drawn) => recorder.gate().admit_decided(site, drawn),
            };
            if admitted.is_err() {
                return Ok(());
            }
            let mut collected = Collected::new(py, state, contents.span);
            let read = contents.read(&mut collected, state.incarnation.ids_in_metadata());
            let (end, raised) = match read {
                Ok(()) => hand_over(py, object, state, site.name().as_str(), &collected, &id),
                Err(error) => (Err(UNREADABLE), Some(error)),
            };
            // Python code may have forked; then this is the child and not its recorder.
            if !state.incarnation.is_inherited() {
                match end {
                    Ok(()) => recorder.gate().count_delivered(),
                    Err(reason) => recorder.gate().count_dropped(site, reason),
                };
            }
            raised.map_or(Ok(()), Err)
        }
    }
}

/// Encodes an event into the queue of a recorder; says what became of it and what has to go on.
/// `ids_in_metadata` has the ids of its span be metadata, `is_inherited` says whether the recorder is another process's by now.
pub(crate) fn queue(
    recorder: &Recorder,
    site: &Callsite,
    draw: Draw,
    contents: &Contents<'_, '_>,
    id: &str,
    ids_in_metadata: bool,
    is_inherited: impl Fn() -> bool,
) -> (Outcome, PyResult<()>) {
    let mut draft = match drafted(recorder, site, draw, id, contents) {
        Ok(draft) => draft,
        Err(outcome) => return (outcome, Ok(())),
    };
    let filled = contents.read(&mut draft, ids_in_metadata);
    let end = filled.is_ok().then_some(()).ok_or(UNREADABLE);
    (finish(is_inherited(), draft, end), filled)
}

/// Begins an event for the queue.
fn drafted<'a>(
    recorder: &'a Recorder,
    site: &'a Callsite,
    draw: Draw,
    id: &'a str,
    contents: &Contents<'_, '_>,
) -> Result<Draft<'a>, Outcome> {
    let ties = Ties {
        correlation_id: id,
        span: contents.span,
    };
    let at = contents.timestamp_ns;
    match draw {
        Draw::Own => recorder.draft(site, ties, at),
        Draw::Span(drawn) => recorder.draft_decided(site, drawn, ties, at),
    }
}

/// Ends an event for the queue, unless that is another process's by now.
fn finish(is_inherited: bool, draft: Draft<'_>, end: Result<(), Reason>) -> Outcome {
    if is_inherited {
        // Python code forked while it was read; this is the child and not its recorder.
        std::mem::forget(draft);
        return Outcome::Off;
    }
    match end {
        Ok(()) => draft.commit(),
        Err(reason) => draft.abandon(reason),
    }
}

/// The name of an event as Python gave it; what is no text is no name.
pub(crate) fn name_of<'a>(event: &'a Bound<'_, PyAny>) -> &'a str {
    // SAFETY: `event` is live as long as the text is borrowed from it.
    match unsafe { exact_text(event.as_ptr()) } {
        Some(name) => name,
        // A subclass of `str` is as good; anything else is no name.
        None => event
            .cast::<PyString>()
            .ok()
            .and_then(|name| name.to_str().ok())
            .unwrap_or(""),
    }
}

impl Contents<'_, '_> {
    /// Reads everything into an event.
    fn read(&self, entries: &mut impl Entries, ids_in_metadata: bool) -> PyResult<()> {
        let told = self.span.filter(|_| ids_in_metadata);
        let taken = Taken {
            measurement: self.own.map(|(key, _)| key),
            is_wrong: self.error.is_some(),
            has_ids: told.is_some(),
        };
        if let Some(span) = told {
            put_ids(&span, entries);
        }
        if let Some((key, value)) = self.own {
            entries.measurement(key, ValueRef::Int(value));
        }
        read_measurements(self.measurements, &mut taken.beside(entries))?;
        read_metadata(self.metadata, &mut taken.beside(entries))?;
        if let Some(wrong) = self.error {
            wrong.put(entries);
        }
        Ok(())
    }
}

/// Adds the ids of a span as metadata.
#[cold]
fn put_ids(span: &SpanContext, entries: &mut impl Entries) {
    let [trace, own, parent] = taken::IDS;
    entries.metadata(trace, span.trace_id.write_hex(&mut [0; 32]));
    entries.metadata(own, span.span_id.write_hex(&mut [0; 16]));
    if let Some(id) = span.parent_span_id {
        entries.metadata(parent, id.write_hex(&mut [0; 16]));
    }
}

/// Calls a Python backend; says whether it took the event, or why not, and what has to go on: an
/// exception that is no `Exception`.
fn hand_over(
    py: Python<'_>,
    object: &Object,
    state: &State,
    event: &str,
    collected: &Collected<'_, '_>,
    correlation_id: &str,
) -> (Result<(), Reason>, Option<PyErr>) {
    /// Takes the mark away however the call ends.
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            IN_BACKEND.set(false);
        }
    }
    if let Some(reason) = collected.failed {
        return (Err(reason), None);
    }
    let correlation_id = collected.cut(correlation_id, collected.limits.correlation_id_bytes);
    if IN_BACKEND.replace(true) {
        return (Err(Reason::Reentrant), None);
    }
    let _leave = Leave;
    let (measurements, metadata) = (&collected.measurements, &collected.metadata);
    let arguments = if object.takes_span {
        let span = collected.span.map(PySpanIdentity::new);
        (event, measurements, metadata, correlation_id, span).into_pyobject(py)
    } else {
        (event, measurements, metadata, correlation_id).into_pyobject(py)
    };
    // Only for want of memory.
    let Ok(arguments) = arguments else {
        return (Err(Reason::InternalError), None);
    };
    match calls::call(object.emit.bind(py), &arguments) {
        // The very object: what merely looks false, such as an empty result, is no refusal.
        Ok(answer) if answer.is(PyBool::new(py, false)) => (Err(Reason::QueueFull), None),
        Ok(answer) => match answer.cast::<PyBaseException>() {
            Ok(error) => (Err(Reason::BackendError), note(state, error).err()),
            Err(_) => (Ok(()), None),
        },
        Err(error) => {
            let noted = note(state, error.value(py));
            let raised = noted.and_then(|()| swallow(py, Err::<(), _>(error)));
            (Err(Reason::BackendError), raised.err())
        }
    }
}

/// Keeps an exception of the backend to be shown.
fn note(state: &State, error: &Bound<'_, PyBaseException>) -> PyResult<()> {
    let text = raised::one_line(error, &state.incarnation.redactor)?;
    state.incarnation.note_error(text);
    Ok(())
}
