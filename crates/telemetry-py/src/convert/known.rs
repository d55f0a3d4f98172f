//! Values of types that are no numbers and no text but stand for one: times, members of an `Enum`, bytes,
//! scalars of numpy.
//!
//! A type is known by its identity. It is looked for in the modules that the program has loaded, so nothing
//! is imported for it; where its module is not there, no value of it is.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyInt, PyTuple, PyType};
use telemetry_core::catalog::MAX_VALUE_BYTES;

use super::swallow;
use crate::calls;

/// How much of bytes is looked at; more than what an event can carry of them.
const MAX_BYTES: usize = 4 * MAX_VALUE_BYTES;

/// A class of the standard library or of numpy.
struct Class {
    /// Module and name.
    path: (&'static str, &'static str),
    /// It, once its module was loaded.
    found: PyOnceLock<Option<Py<PyType>>>,
}

impl Class {
    const fn new(module: &'static str, name: &'static str) -> Self {
        Self {
            path: (module, name),
            found: PyOnceLock::new(),
        }
    }

    /// Whether an object is an instance, of it or of a subclass; runs no code of the object.
    fn has(&self, object: &Bound<'_, PyAny>) -> bool {
        let py = object.py();
        let class = match self.found.get(py) {
            Some(class) => class.as_ref(),
            None => {
                let Some(module) = loaded(py, self.path.0) else {
                    return false;
                };
                let class = calls::attribute(&module, self.path.1)
                    .ok()
                    .and_then(|class| class.cast_into::<PyType>().ok())
                    .map(Bound::unbind);
                let _another_thread_was_here = self.found.set(py, class);
                self.found.get(py).and_then(Option::as_ref)
            }
        };
        // SAFETY: attached and live; the call compares types.
        class.is_some_and(|class| unsafe {
            ffi::PyType_IsSubtype(ffi::Py_TYPE(object.as_ptr()), class.as_ptr().cast()) != 0
        })
    }
}

static DATE: Class = Class::new("datetime", "date");
static TIME: Class = Class::new("datetime", "time");
static TIMEDELTA: Class = Class::new("datetime", "timedelta");
static ENUM: Class = Class::new("enum", "Enum");
static NUMPY_BOOL: Class = Class::new("numpy", "bool_");
static NUMPY_TIMEDELTA: Class = Class::new("numpy", "timedelta64");

/// What a value stands for.
pub(super) enum Meant<'py> {
    /// A number.
    Int(i128),
    /// Text that is ready.
    Text(String),
    /// Another object.
    Object(Bound<'py, PyAny>),
}

/// What a measurement stands for, if it is of a type that is known.
pub(super) fn measurement<'py>(object: &Bound<'py, PyAny>) -> PyResult<Option<Meant<'py>>> {
    let py = object.py();
    if TIMEDELTA.has(object) {
        return Ok(swallow(py, nanoseconds(object))?.map(Meant::Int));
    }
    if NUMPY_BOOL.has(object) {
        let truth = swallow(py, calls::truth(object))?;
        return Ok(truth.map(|truth| Meant::Int(truth.into())));
    }
    if NUMPY_TIMEDELTA.has(object) {
        return Ok(swallow(py, numpy_nanoseconds(object))?.map(Meant::Int));
    }
    if ENUM.has(object) {
        return Ok(swallow(py, calls::attribute(object, "value"))?.map(Meant::Object));
    }
    text(object)
}

/// What a text stands for, if it is of a type that is known.
pub(super) fn text<'py>(object: &Bound<'py, PyAny>) -> PyResult<Option<Meant<'py>>> {
    if let Ok(bytes) = object.cast::<PyBytes>() {
        return Ok(Some(decoded(bytes.as_bytes())));
    }
    if let Ok(bytes) = object.cast::<PyByteArray>() {
        // A copy: it may change while it is read.
        return Ok(Some(decoded(&bytes.to_vec())));
    }
    if DATE.has(object) || TIME.has(object) {
        let py = object.py();
        let iso = swallow(py, call_method(object, "isoformat", PyTuple::empty(py)))?;
        return Ok(iso.map(Meant::Object));
    }
    Ok(None)
}

/// Bytes as text.
fn decoded<'py>(bytes: &[u8]) -> Meant<'py> {
    let bytes = &bytes[..bytes.len().min(MAX_BYTES)];
    Meant::Text(String::from_utf8_lossy(bytes).into_owned())
}

/// The length of a `timedelta`.
fn nanoseconds(delta: &Bound<'_, PyAny>) -> PyResult<i128> {
    let part = |name| calls::attribute(delta, name)?.extract::<i64>();
    let seconds = i128::from(part("days")?) * 86_400 + i128::from(part("seconds")?);
    let micros = seconds * 1_000_000 + i128::from(part("microseconds")?);
    Ok(micros * 1_000)
}

/// The length of a `timedelta64`, whatever its unit is.
fn numpy_nanoseconds(delta: &Bound<'_, PyAny>) -> PyResult<i128> {
    let py = delta.py();
    let to = |unit: &str| PyTuple::new(py, [unit]);
    let nanos = call_method(delta, "astype", to("timedelta64[ns]")?)?;
    let number = calls::index(&call_method(&nanos, "astype", to("int64")?)?)?;
    Ok(number.cast_into::<PyInt>()?.extract::<i64>()?.into())
}

/// `object.name(*arguments)`
fn call_method<'py>(
    object: &Bound<'py, PyAny>,
    name: &str,
    arguments: Bound<'py, PyTuple>,
) -> PyResult<Bound<'py, PyAny>> {
    calls::call(&calls::attribute(object, name)?, &arguments)
}

/// A module, if the program has loaded it.
fn loaded<'py>(py: Python<'py>, name: &str) -> Option<Bound<'py, PyAny>> {
    let modules = py.import("sys").ok()?.getattr("modules").ok()?;
    modules.cast::<PyDict>().ok()?.get_item(name).ok()?
}
