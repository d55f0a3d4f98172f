//! The `ContextVar` of Python that says what the current task or thread works under.
//!
//! This room holds the variable and knows nothing of its values, which are those of `scope`.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::convert::{any_text, exact_text, swallow};
use crate::fork;

/// The variable and its bound `get`, looked up once.
#[derive(Debug)]
struct Variable {
    /// The `ContextVar`; its default is `None`.
    variable: Py<PyAny>,
    /// `variable.get`
    get: Py<PyAny>,
    /// `variable.set`
    set: Py<PyAny>,
    /// `variable.reset`
    reset: Py<PyAny>,
}

/// Whether any context of this process ever had something; before that nobody needs to look. What sets
/// the variable therefore does so through this file.
static IN_USE: AtomicBool = AtomicBool::new(false);

/// Made with the module.
static CONTEXT: PyOnceLock<Variable> = PyOnceLock::new();

/// Makes the variable and adds it to the module as `context_var`.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let context = CONTEXT.get_or_try_init(py, || {
        let options = pyo3::types::PyDict::new(py);
        options.set_item("default", py.None())?;
        let variable = py
            .import("contextvars")?
            .getattr("ContextVar")?
            .call(("telemetry_context",), Some(&options))?;
        let method = |name| variable.getattr(name).map(Bound::unbind);
        PyResult::Ok(Variable {
            get: method("get")?,
            set: method("set")?,
            reset: method("reset")?,
            variable: variable.unbind(),
        })
    })?;
    module.add("context_var", &context.variable)
}

/// A new random correlation id: 32 hexadecimal digits.
#[pyfunction]
pub(crate) fn new_correlation_id() -> String {
    fork::settle();
    telemetry_core::CorrelationId::random().to_string()
}

/// Says that there is something to look for.
pub(crate) fn use_it() {
    IN_USE.store(true, Ordering::Relaxed);
}

/// Whether any context of this process ever had a value.
#[inline]
pub(crate) fn is_in_use() -> bool {
    IN_USE.load(Ordering::Relaxed)
}

/// The value of the variable; `None` for none, and if it cannot be told without an exception. Runs no
/// Python code, except that the first look in a thread makes its context, so that the collector may run.
pub(crate) fn value(py: Python<'_>) -> Option<Bound<'_, PyAny>> {
    let context = CONTEXT.get(py)?;
    // SAFETY: attached and `get` is live; the result is a new reference or null with an error set,
    // which is cleared at once.
    let found = unsafe {
        let found = ffi::PyObject_CallNoArgs(context.get.as_ptr());
        let found = Bound::from_owned_ptr_or_opt(py, found);
        if found.is_none() {
            ffi::PyErr_Clear();
        }
        found
    };
    found.filter(|found| !found.is_none())
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

/// Makes a value the context's; the token puts what was before back.
pub(crate) fn enter(innermost: &Bound<'_, PyAny>) -> PyResult<Option<Py<PyAny>>> {
    let py = innermost.py();
    use_it();
    let Some(context) = CONTEXT.get(py) else {
        return Ok(None);
    };
    Ok(swallow(py, call(&context.set, innermost))?.map(Bound::unbind))
}

/// Puts back what was before `innermost`; says whether it could. It cannot where that is not the
/// context's: in another context than it was entered in, and while another is open within it.
pub(crate) fn leave(innermost: &Bound<'_, PyAny>, token: Py<PyAny>) -> PyResult<bool> {
    let py = innermost.py();
    let Some(context) = CONTEXT.get(py) else {
        return Ok(false);
    };
    if !value(py).is_some_and(|found| found.is(innermost)) {
        return Ok(false);
    }
    Ok(swallow(py, call(&context.reset, token.bind(py)))?.is_some())
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
