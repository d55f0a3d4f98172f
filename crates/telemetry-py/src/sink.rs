//! Where events go: nowhere, into the queue, to an object of Python, or to both of them.

use std::fmt;

use pyo3::exceptions::{PyException, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyList, PyTuple};

use crate::kinds::{Kind, Kinds};
use crate::warning::warn_once;

/// Where the classes of backends are.
const BACKENDS: &str = "telemetry_py.backends";

/// Where events go.
pub(crate) enum Sink {
    /// Nowhere.
    Nothing,
    /// Into the recorder's queue.
    Queue,
    /// Into the queue as well, for the case that something is started later: nothing was asked for.
    Waiting,
    /// To an object with a method `emit`.
    Object(Object),
}

/// An object of Python that events go to.
#[derive(Debug)]
pub(crate) struct Object {
    /// It.
    backend: Py<PyAny>,
    /// The bound method that takes an event.
    pub(crate) emit: Py<PyAny>,
    /// Whether that wants to know of spans.
    pub(crate) takes_span: bool,
    /// Whether events go into the queue, too. Then what becomes of them there is what became of them: they
    /// are counted once, and the object, which is a composite, counts what its parts did with them.
    pub(crate) with_queue: bool,
    /// Whether it is a composite, which knows the counts of its parts.
    is_composite: bool,
}

impl Sink {
    /// An object with a method `emit(event, measurements, metadata, correlation_id)`.
    pub(crate) fn object(backend: &Bound<'_, PyAny>) -> PyResult<Self> {
        Object::new(backend, "emit", false).map(Self::Object)
    }

    /// A composite, one part of which may be the queue.
    pub(crate) fn composite(backend: &Bound<'_, PyAny>, with_queue: bool) -> PyResult<Self> {
        let method = if with_queue { "_emit_objects" } else { "emit" };
        let object = Object::new(backend, method, with_queue)?;
        Ok(Self::Object(Object {
            is_composite: true,
            ..object
        }))
    }

    /// That of kinds. Those that are Python objects are imported and made; one that cannot be is left out,
    /// which is said, or raised if `is_strict`.
    pub(crate) fn of_kinds(py: Python<'_>, kinds: &Kinds, is_strict: bool) -> PyResult<Self> {
        let mut parts = Vec::new();
        for kind in kinds.objects() {
            match made(py, kind) {
                Ok(part) => parts.push(part),
                Err(error) if is_strict || !error.is_instance_of::<PyException>(py) => {
                    return Err(error);
                }
                Err(error) => warn_once(
                    py,
                    &format!("TELEMETRY_BACKEND={} cannot be used: {error}", kind.name()),
                ),
            }
        }
        match parts.as_slice() {
            _ if kinds.is_none() => Ok(Self::Nothing),
            [] if kinds.has_queue() => Ok(Self::Queue),
            [] => Ok(Self::Waiting),
            [part] if !kinds.has_queue() => Self::object(part),
            _ => {
                if kinds.has_queue() {
                    parts.push(py.import(BACKENDS)?.getattr("ServerBackend")?.call0()?);
                }
                let class = py.import(BACKENDS)?.getattr("CompositeBackend")?;
                Self::composite(&class.call1(PyTuple::new(py, parts)?)?, kinds.has_queue())
            }
        }
    }

    /// Whether it is of these kinds.
    pub(crate) fn is_of_kinds(&self, py: Python<'_>, kinds: &Kinds) -> PyResult<bool> {
        let object = match self {
            Self::Nothing => return Ok(kinds.is_none()),
            Self::Queue => return Ok(kinds.has_queue() && kinds.objects().next().is_none()),
            Self::Waiting => return Ok(false),
            Self::Object(object) => object,
        };
        if object.with_queue != kinds.has_queue() {
            return Ok(false);
        }
        let backend = object.backend.bind(py);
        let parts = if object.is_composite {
            backend.call_method0("_objects")?.cast_into::<PyList>()?
        } else {
            PyList::new(py, [backend])?
        };
        let mut wanted = kinds.objects();
        for part in parts {
            let Some(name) = wanted.next().and_then(Kind::class) else {
                return Ok(false);
            };
            let class = py.import(BACKENDS)?.getattr(name);
            if !class.is_ok_and(|class| part.get_type().is(class)) {
                return Ok(false);
            }
        }
        Ok(wanted.next().is_none())
    }

    /// Whether events go into the queue, whatever else they do.
    pub(crate) fn has_queue(&self) -> bool {
        match self {
            Self::Nothing => false,
            Self::Queue | Self::Waiting => true,
            Self::Object(object) => object.with_queue,
        }
    }

    /// The same once more.
    pub(crate) fn again(&self, py: Python<'_>) -> Self {
        match self {
            Self::Nothing => Self::Nothing,
            Self::Queue => Self::Queue,
            Self::Waiting => Self::Waiting,
            Self::Object(object) => Self::Object(Object {
                backend: object.backend.clone_ref(py),
                emit: object.emit.clone_ref(py),
                ..*object
            }),
        }
    }
}

impl Object {
    /// One whose method of that name takes events.
    fn new(backend: &Bound<'_, PyAny>, method: &str, with_queue: bool) -> PyResult<Self> {
        let emit = backend.getattr(method)?;
        if !emit.is_callable() {
            return Err(PyTypeError::new_err(
                "the backend's `emit` cannot be called",
            ));
        }
        // Of the class and nothing but true: an object that has every attribute has no opinion on this one.
        let wish = backend.get_type().getattr("takes_span");
        let takes_span = wish.is_ok_and(|wish| wish.is(PyBool::new(backend.py(), true)));
        Ok(Self {
            backend: backend.clone().unbind(),
            emit: emit.unbind(),
            takes_span,
            with_queue,
            is_composite: false,
        })
    }

    /// The object itself.
    pub(crate) fn backend(&self, py: Python<'_>) -> Py<PyAny> {
        self.backend.clone_ref(py)
    }

    /// What became of events in the parts of a composite; an empty list for anything else.
    pub(crate) fn parts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        if self.is_composite {
            self.backend.bind(py).call_method0("parts")
        } else {
            Ok(PyList::empty(py).into_any())
        }
    }
}

/// Makes one that is a Python object.
fn made(py: Python<'_>, kind: Kind) -> PyResult<Bound<'_, PyAny>> {
    let class = py.import(BACKENDS)?;
    class.getattr(kind.class().unwrap_or_default())?.call0()
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "Nothing",
            Self::Queue => "Queue",
            Self::Waiting => "Waiting",
            Self::Object(_) => "Object",
        })
    }
}
