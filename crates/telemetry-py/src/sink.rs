//! Where events go: nowhere, into the queue, or to an object of Python.

use std::fmt;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use telemetry_client::BackendKind;

/// Where events go.
pub(crate) enum Sink {
    /// Nowhere.
    Nothing,
    /// Into the recorder's queue.
    Queue,
    /// Into the queue as well, for the case that something is started later: nothing was asked for.
    Waiting,
    /// To an object with a method `emit`.
    Object {
        /// The object.
        backend: Py<PyAny>,
        /// Its bound method.
        emit: Py<PyAny>,
    },
}

impl Sink {
    /// An object with a method `emit(event, measurements, metadata, correlation_id)`.
    pub(crate) fn object(backend: &Bound<'_, PyAny>) -> PyResult<Self> {
        let emit = backend.getattr("emit")?;
        if !emit.is_callable() {
            return Err(PyTypeError::new_err(
                "the backend's `emit` cannot be called",
            ));
        }
        Ok(Self::Object {
            backend: backend.clone().unbind(),
            emit: emit.unbind(),
        })
    }

    /// That of a kind. Those that are Python objects are imported and made.
    pub(crate) fn of_kind(py: Python<'_>, kind: BackendKind) -> PyResult<Self> {
        match kind {
            BackendKind::None => Ok(Self::Nothing),
            BackendKind::Connect | BackendKind::Server => Ok(Self::Queue),
            BackendKind::Stderr | BackendKind::Memory => Self::object(&class(py, kind)?.call0()?),
        }
    }

    /// Whether it is of a kind.
    pub(crate) fn is_of_kind(&self, py: Python<'_>, kind: BackendKind) -> PyResult<bool> {
        Ok(match (self, kind) {
            (Self::Nothing, BackendKind::None)
            | (Self::Queue, BackendKind::Connect | BackendKind::Server) => true,
            (Self::Object { backend, .. }, BackendKind::Stderr | BackendKind::Memory) => {
                backend.bind(py).get_type().is(class(py, kind)?)
            }
            _ => false,
        })
    }

    /// The same for the child of a fork; `None` for nothing.
    pub(crate) fn for_child(&self, py: Python<'_>) -> Option<Self> {
        match self {
            Self::Nothing => None,
            Self::Queue => Some(Self::Queue),
            Self::Waiting => Some(Self::Waiting),
            Self::Object { backend, emit } => Some(Self::Object {
                backend: backend.clone_ref(py),
                emit: emit.clone_ref(py),
            }),
        }
    }
}

/// The class of those that are Python objects.
fn class(py: Python<'_>, kind: BackendKind) -> PyResult<Bound<'_, PyAny>> {
    let (module, class) = match kind {
        BackendKind::Stderr => ("telemetry_py.backends.stderr", "StderrBackend"),
        _ => ("telemetry_py.backends.memory", "MemoryBackend"),
    };
    py.import(module)?.getattr(class)
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "Nothing",
            Self::Queue => "Queue",
            Self::Waiting => "Waiting",
            Self::Object { .. } => "Object",
        })
    }
}
