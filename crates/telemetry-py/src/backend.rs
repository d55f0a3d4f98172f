//! Which backend is in force: set, asked for, and the queue as a backend among others.

use std::sync::Arc;

use pyo3::prelude::*;

use crate::context::correlation;
use crate::emit::{Contents, Draw, emit_named, guarded};
use crate::settings::{Settings, invalid};
use crate::state::{self, Sink, State};

/// Sends events to an object with `emit(event, measurements, metadata, correlation_id)`.
#[pyfunction]
pub(crate) fn use_object(backend: &Bound<'_, PyAny>) -> PyResult<()> {
    set(backend.py(), Sink::object(backend)?)
}

/// Queues events for `serve`.
#[pyfunction]
pub(crate) fn use_queue(py: Python<'_>) -> PyResult<()> {
    set(py, Sink::Queue)
}

/// Turns telemetry off.
#[pyfunction]
pub(crate) fn use_nothing(py: Python<'_>) {
    state::turn_off(py);
}

/// The backend in force: an object, `True` for the queue, or `None`.
#[pyfunction]
pub(crate) fn backend(py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
    let state = state::current(py);
    Ok(
        match state
            .as_ref()
            .and_then(|state| state.as_deref())
            .map(|state| &state.sink)
        {
            Some(Sink::Object { backend, .. }) => Some(backend.clone_ref(py)),
            Some(Sink::Queue) => Some(true.into_pyobject(py)?.to_owned().into_any().unbind()),
            Some(Sink::Nothing | Sink::Waiting) | None => None,
        },
    )
}

/// Whether there is a backend.
#[pyfunction]
pub(crate) fn is_enabled(py: Python<'_>) -> bool {
    state::current(py)
        .as_ref()
        .and_then(|state| state.as_deref())
        .is_some_and(|state| !matches!(state.sink, Sink::Waiting))
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
        let Some(state) = state::latest(py) else {
            return Ok(());
        };
        let queue = State {
            incarnation: Arc::clone(&state.incarnation),
            sink: Sink::Queue,
        };
        let id = correlation(py, correlation_id)?;
        let contents = Contents {
            measurements,
            metadata,
            correlation_id: id.as_ref(),
            ..Contents::default()
        };
        emit_named(&queue, event, Draw::Own, &contents)
    })
}

/// Puts a backend in force; strict about the environment if this is the first.
fn set(py: Python<'_>, sink: Sink) -> PyResult<()> {
    state::set_sink(py, sink, &Settings::from_env()?).map_err(invalid)
}
