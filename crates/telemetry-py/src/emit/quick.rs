//! The way of nearly all events: exact built-in types throughout, into the queue.
//!
//! Nothing is copied, allocated or locked on it, and no Python code runs. Where something else comes
//! up the event goes on by the general way (`emit.rs`), from where it stands.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use pyo3::ffi;
use pyo3::prelude::*;
use telemetry_core::emit::{Callsite, Draft, Ties};

use super::{Contents, UNREADABLE};
use crate::convert::exact_text;
use crate::fastcall::{self, Signature};
use crate::fields::{
    is_absent, read_exact_measurements, read_exact_metadata, read_metadata, rest_of_measurements,
    rest_of_metadata,
};
use crate::incarnation::Incarnation;
use crate::scope;
use crate::sink::Sink;
use crate::state::{self, Look};
use crate::suppress::is_suppressed;

/// The face of [`emit`].
pub(crate) const EMIT: Signature = Signature {
    name: c"emit",
    doc: c"emit(event, measurements=None, metadata=None, correlation_id=None)\n--\n\n\
        Record one event.\n\n\
        `measurements` maps keys to numbers or text, `metadata` maps keys to text. Without a\n\
        `correlation_id` the one of the context is used. Never raises, never blocks.",
    parameters: &["event", "measurements", "metadata", "correlation_id"],
    positional: 4,
};

/// How far an event got.
enum Progress {
    /// It was recorded, or counted, or is off.
    Over,
    /// Nothing has happened: it takes the general way.
    General,
    /// It is over, and an exception that is no `Exception` is set.
    Raised,
}

/// `emit` as Python calls it.
///
/// # Safety
///
/// As for any [`fastcall::Entry`].
pub(crate) unsafe extern "C" fn emit(
    _module: *mut ffi::PyObject,
    given: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: Python calls attached, with arguments that live until the call returns.
    unsafe {
        // Surely well formed: off costs no more than this.
        if keywords.is_null() && (1..=4).contains(&count) && state::is_off() {
            return fastcall::none();
        }
        let Some(arguments) = fastcall::arguments::<4>(&EMIT, given, count, keywords) else {
            return std::ptr::null_mut();
        };
        if state::is_off() {
            return fastcall::none();
        }
        let progress = catch_unwind(AssertUnwindSafe(|| record(&arguments)));
        // A panic: the event under way has counted itself as `internal_error` while it was dropped.
        match progress.unwrap_or(Progress::Over) {
            Progress::Over => fastcall::none(),
            Progress::General => in_general(arguments),
            Progress::Raised => std::ptr::null_mut(),
        }
    }
}

/// Records an event as long as it is an ordinary one.
///
/// # Safety
///
/// Attached; the arguments live until it returns, null where not given.
unsafe fn record(&[event, measurements, metadata, id]: &[*mut ffi::PyObject; 4]) -> Progress {
    // SAFETY: the caller is attached and keeps the arguments; what they lend is used as long as this
    // runs. The look keeps the state and, with it, the callsites that its recorder knows.
    unsafe {
        let py = Python::assume_attached();
        if is_suppressed(py) {
            return Progress::Over;
        }
        let here = scope::here(py);
        let id = if is_absent(id) {
            match &here.id {
                None => "",
                Some(id) => match exact_text(id.as_ptr()) {
                    Some(id) => id,
                    None => return Progress::General,
                },
            }
        } else {
            match exact_text(id) {
                Some(id) => id,
                None => return Progress::General,
            }
        };
        let Some(state) = Look::new(py) else {
            return Progress::General;
        };
        if !matches!(state.sink, Sink::Queue | Sink::Waiting) {
            return Progress::General;
        }
        let incarnation = &*state.incarnation;
        if here.span.is_some() && incarnation.ids_in_metadata() {
            return Progress::General;
        }
        let unkept;
        let site: &Callsite = match incarnation.callsites.get(event) {
            Some(site) => site,
            None => match resolve(py, incarnation, event) {
                Ok(site) => {
                    unkept = site;
                    &unkept
                }
                Err(progress) => return progress,
            },
        };
        let ties = Ties {
            correlation_id: id,
            span: here.span,
        };
        let Ok(mut draft) = incarnation.recorder.draft(site, ties, None) else {
            return Progress::Over;
        };
        if let Err(taken) = read_exact_measurements(measurements, &mut draft) {
            return finish(draft, incarnation, |draft, py| {
                rest_of_measurements(&Bound::from_borrowed_ptr(py, measurements), taken, draft)?;
                let metadata = Bound::from_borrowed_ptr_or_opt(py, metadata);
                read_metadata(metadata.as_ref(), draft)
            });
        }
        if let Err(taken) = read_exact_metadata(metadata, &mut draft) {
            return finish(draft, incarnation, |draft, py| {
                rest_of_metadata(&Bound::from_borrowed_ptr(py, metadata), taken, draft)
            });
        }
        draft.commit();
        Progress::Over
    }
}

/// Finds the callsite of a name that was not seen in this object before.
///
/// # Safety
///
/// Attached, and `event` lives.
#[cold]
unsafe fn resolve(
    py: Python<'_>,
    incarnation: &Incarnation,
    event: *mut ffi::PyObject,
) -> Result<Arc<Callsite>, Progress> {
    // SAFETY: the caller's promise.
    let (name, event) = unsafe { (exact_text(event), Bound::from_borrowed_ptr(py, event)) };
    let name = name.ok_or(Progress::General)?;
    let site = incarnation
        .recorder
        .callsite(name)
        .map_err(|_counted| Progress::Over)?;
    // Only what the recorder keeps as well outlives its place in the table.
    if Arc::strong_count(&site) > 1 {
        incarnation.callsites.put(&event, Arc::clone(&site));
    }
    Ok(site)
}

/// Reads the rest of an event that turned out to need Python code, and commits it.
#[cold]
fn finish(
    mut draft: Draft<'_>,
    incarnation: &Incarnation,
    read: impl FnOnce(&mut Draft<'_>, Python<'_>) -> PyResult<()>,
) -> Progress {
    Python::attach(|py| {
        let filled = read(&mut draft, py);
        if incarnation.is_inherited() {
            // Python code forked while it was read; this is the child and not its recorder.
            std::mem::forget(draft);
        } else if filled.is_ok() {
            draft.commit();
        } else {
            draft.abandon(UNREADABLE);
        }
        match filled {
            Ok(()) => Progress::Over,
            Err(error) => {
                error.restore(py);
                Progress::Raised
            }
        }
    })
}

/// The general way of an event.
///
/// # Safety
///
/// Attached; the arguments live until it returns, null where not given.
#[cold]
unsafe fn in_general(arguments: [*mut ffi::PyObject; 4]) -> *mut ffi::PyObject {
    Python::attach(|py| {
        // SAFETY: the caller's promise.
        let [event, measurements, metadata, id] =
            arguments.map(|argument| unsafe { Bound::from_borrowed_ptr_or_opt(py, argument) });
        let Some(event) = event else {
            // SAFETY: attached.
            return unsafe { fastcall::none() };
        };
        let contents = Contents {
            measurements: measurements.as_ref(),
            metadata: metadata.as_ref(),
            ..Contents::default()
        };
        match super::emit_any(&event, &contents, id.as_ref()) {
            // SAFETY: attached.
            Ok(()) => unsafe { fastcall::none() },
            Err(error) => {
                error.restore(py);
                std::ptr::null_mut()
            }
        }
    })
}

/// The face of [`noop`].
pub(crate) const NOOP: Signature = Signature {
    name: c"_noop",
    doc: c"_noop(event, measurements=None, metadata=None, correlation_id=None)\n--\n\n\
        Does nothing: what any native function with the parameters of `emit` costs.",
    parameters: EMIT.parameters,
    positional: EMIT.positional,
};

/// Does nothing. Benchmarks compare with it.
///
/// # Safety
///
/// As for any [`fastcall::Entry`]: Python calls it.
pub(crate) unsafe extern "C" fn noop(
    _module: *mut ffi::PyObject,
    _given: *const *mut ffi::PyObject,
    _count: ffi::Py_ssize_t,
    _keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: Python calls attached.
    unsafe { fastcall::none() }
}
