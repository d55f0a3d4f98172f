//! Which backend is in force: set, asked for, and the queue as a backend among others.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyBool;

use crate::convert::{guarded, strict};
use crate::emit::{Contents, Draw, emit_named};
use crate::scope;
use crate::settings::Settings;
use crate::sink::Sink;
use crate::state::{self, State};
use crate::suppress::is_suppressed;

/// Sends events to an object with `emit(event, measurements, metadata, correlation_id)`.
#[pyfunction]
pub(crate) fn use_object(backend: &Bound<'_, PyAny>) -> PyResult<()> {
    strict(|| set(backend.py(), Sink::object(backend)?))
}

/// Sends events to a composite, one part of which may be the queue.
#[pyfunction]
pub(crate) fn use_composite(backend: &Bound<'_, PyAny>, with_queue: bool) -> PyResult<()> {
    strict(|| set(backend.py(), Sink::composite(backend, with_queue)?))
}

/// Queues events for `serve`.
#[pyfunction]
pub(crate) fn use_queue(py: Python<'_>) -> PyResult<()> {
    strict(|| set(py, Sink::Queue))
}

/// Turns telemetry off.
#[pyfunction]
pub(crate) fn use_nothing(py: Python<'_>) {
    state::turn_off(py);
}

/// The backend in force: an object, `True` for the queue, or `None`.
#[pyfunction]
pub(crate) fn backend(py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
    Ok(state::latest(py).and_then(|state| match &state.sink {
        Sink::Object(object) => Some(object.backend(py)),
        Sink::Queue => Some(PyBool::new(py, true).to_owned().into_any().unbind()),
        Sink::Nothing | Sink::Waiting => None,
    }))
}

/// Whether there is a backend.
#[pyfunction]
pub(crate) fn is_enabled(py: Python<'_>) -> bool {
    state::latest(py).is_some_and(|state| matches!(state.sink, Sink::Object(_) | Sink::Queue))
}

/// Queues one event for `serve`, whatever the backend in force is.
#[pyfunction]
#[pyo3(signature = (event, measurements=None, metadata=None, correlation_id=None))]
pub(crate) fn emit_queued(
    event: &Bound<'_, PyAny>,
    measurements: Option<&Bound<'_, PyAny>>,
    metadata: Option<&Bound<'_, PyAny>>,
    correlation_id: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    let py = event.py();
    guarded(py, || {
        if is_suppressed(py) {
            return Ok(());
        }
        let Some(state) = state::latest(py) else {
            return Ok(());
        };
        state::begin_due(py);
        let queue = State {
            incarnation: Arc::clone(&state.incarnation),
            sink: Sink::Queue,
        };
        let here = scope::here(py).with_id(correlation_id);
        let contents = Contents {
            measurements,
            metadata,
            correlation_id: here.id.as_ref(),
            span: here.span,
            ..Contents::default()
        };
        emit_named(&queue, event, Draw::Own, &contents)
    })
}

/// Puts a backend in force.
fn set(py: Python<'_>, sink: Sink) -> PyResult<()> {
    Ok(state::set_sink(py, sink, &Settings::read(py)?)?)
}
