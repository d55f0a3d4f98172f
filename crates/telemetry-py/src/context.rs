//! The correlation id that the current task or thread works under: a `ContextVar` of Python.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::convert::{any_text, exact_text, swallow};
use crate::fork;

/// The variable and its bound `get`, looked up once.
#[derive(Debug)]
struct Correlation {
    /// The `ContextVar`; its default is the empty string.
    variable: Py<PyAny>,
    /// `variable.get`
    get: Py<PyAny>,
    /// `variable.set`
    set: Py<PyAny>,
    /// `variable.reset`
    reset: Py<PyAny>,
}

/// Whether any context of this process ever had an id; before that nobody needs to look. What sets
/// the variable therefore does so through this file.
static IN_USE: AtomicBool = AtomicBool::new(false);

/// Made with the module.
static CORRELATION: PyOnceLock<Correlation> = PyOnceLock::new();

/// Makes the variable and adds it to the module as `correlation_var`.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let correlation = CORRELATION.get_or_try_init(py, || {
        let options = pyo3::types::PyDict::new(py);
        options.set_item("default", "")?;
        let variable = py
            .import("contextvars")?
            .getattr("ContextVar")?
            .call(("telemetry_correlation_id",), Some(&options))?;
        let method = |name| variable.getattr(name).map(Bound::unbind);
        PyResult::Ok(Correlation {
            get: method("get")?,
            set: method("set")?,
            reset: method("reset")?,
            variable: variable.unbind(),
        })
    })?;
    module.add("correlation_var", &correlation.variable)
}

/// Makes an id the context's; returns the token that puts the one before back.
#[pyfunction]
pub(crate) fn set_correlation<'py>(id: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    IN_USE.store(true, Ordering::Relaxed);
    let Some(correlation) = CORRELATION.get(id.py()) else {
        return Err(PyRuntimeError::new_err("the module is not loaded"));
    };
    call(&correlation.set, id)
}

/// A new random correlation id: 32 hexadecimal digits.
#[pyfunction]
pub(crate) fn new_correlation_id() -> String {
    fork::settle();
    telemetry_core::CorrelationId::random().to_string()
}

/// The object whose text is the correlation id of an event: the argument, or else the context's.
pub(crate) fn correlation<'py>(
    py: Python<'py>,
    argument: Option<&Bound<'py, PyAny>>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    if let Some(argument) = argument.filter(|argument| !argument.is_none()) {
        return Ok(Some(argument.clone()));
    }
    Ok(match current(py) {
        Current::Some(found) => Some(found),
        Current::None | Current::Unknown => None,
    })
}

/// The correlation id of the context.
pub(crate) enum Current<'py> {
    /// There is none.
    None,
    /// An object of any type.
    Some(Bound<'py, PyAny>),
    /// It cannot be told without an exception.
    Unknown,
}

/// The context's correlation id. Runs no Python code, except that the first look in a thread makes
/// its context, so that the collector may run.
pub(crate) fn current(py: Python<'_>) -> Current<'_> {
    if !IN_USE.load(Ordering::Relaxed) {
        return Current::None;
    }
    let Some(correlation) = CORRELATION.get(py) else {
        return Current::None;
    };
    // SAFETY: attached and `get` is live; the result is a new reference or null with an error set,
    // which is cleared at once.
    unsafe {
        let found = ffi::PyObject_CallNoArgs(correlation.get.as_ptr());
        match Bound::from_owned_ptr_or_opt(py, found) {
            Some(found) if found.is_none() => Current::None,
            Some(found) => Current::Some(found),
            None => {
                ffi::PyErr_Clear();
                Current::Unknown
            }
        }
    }
}

/// The text of a correlation id.
pub(crate) fn correlation_text<'a>(id: Option<&'a Bound<'_, PyAny>>) -> PyResult<Cow<'a, str>> {
    let Some(id) = id else {
        return Ok(Cow::Borrowed(""));
    };
    // SAFETY: `id` is live as long as the text is borrowed from it.
    match unsafe { exact_text(id.as_ptr()) } {
        Some(text) => Ok(Cow::Borrowed(text)),
        None => any_text(id),
    }
}

/// Sets the context's correlation id; the token puts the one before back.
pub(crate) fn enter(id: &Bound<'_, PyAny>) -> PyResult<Option<Py<PyAny>>> {
    let py = id.py();
    IN_USE.store(true, Ordering::Relaxed);
    let Some(correlation) = CORRELATION.get(py) else {
        return Ok(None);
    };
    Ok(swallow(py, call(&correlation.set, id))?.map(Bound::unbind))
}

/// Puts the correlation id from before back. In another context than it was set there is nothing to
/// put back, which is no error.
pub(crate) fn leave(py: Python<'_>, token: Py<PyAny>) -> PyResult<()> {
    let Some(correlation) = CORRELATION.get(py) else {
        return Ok(());
    };
    swallow(py, call(&correlation.reset, token.bind(py)))?;
    Ok(())
}

/// Calls a method of the variable.
fn call<'py>(method: &Py<PyAny>, argument: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: both are live and attached, null ends the arguments; the result is a new reference or
    // null with an error set.
    unsafe {
        Bound::from_owned_ptr_or_err(
            argument.py(),
            ffi::PyObject_CallFunctionObjArgs(
                method.as_ptr(),
                argument.as_ptr(),
                std::ptr::null_mut::<ffi::PyObject>(),
            ),
        )
    }
}
