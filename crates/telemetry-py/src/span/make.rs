//! `span` as Python calls it: makes a span.

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};

use super::PySpan;
use crate::calls;
use crate::convert::swallow;
use crate::fastcall::{self, Signature};
use crate::fields::is_absent;

/// The face of [`span`].
pub(crate) const SPAN: Signature = Signature {
    name: c"span",
    doc: c"span(operation, metadata=None, correlation_id=None, *, measurements=None, \
        record_stacktrace=None)\n--\n\n\
        Work that is measured, for `with`, `async with` and as a decorator; see `Span`. As a decorator it\n\
        needs no arguments: `@span` takes the name of the function.",
    parameters: &[
        "operation",
        "metadata",
        "correlation_id",
        "measurements",
        "record_stacktrace",
    ],
    positional: 3,
};

/// A switch that may be left to the environment. What has no truth leaves it there, too.
pub(super) fn switch(argument: Option<&Bound<'_, PyAny>>) -> PyResult<Option<bool>> {
    match argument.filter(|argument| !argument.is_none()) {
        Some(argument) => swallow(argument.py(), calls::truth(argument)),
        None => Ok(None),
    }
}

/// Whether an object is something to decorate and not the name of an operation: what can be called, as
/// functions and classes, and what becomes something else in a class, as static methods and properties.
pub(super) fn is_target(object: &Bound<'_, PyAny>) -> bool {
    if object.is_instance_of::<PyString>() {
        return false;
    }
    // SAFETY: attached and live; both calls look at types only.
    object.is_callable()
        || unsafe {
            let class = ffi::Py_TYPE(object.as_ptr());
            !ffi::PyType_GetSlot(class, ffi::Py_tp_descr_get).is_null()
        }
}

/// Calls a function of `_decorate`. A `TypeError` of its is one of the line that decorates: it comes without
/// the frames below that line.
#[cold]
pub(super) fn decorate<'py>(
    py: Python<'py>,
    function: &str,
    arguments: impl IntoPyObject<'py, Target = PyTuple, Output = Bound<'py, PyTuple>, Error = PyErr>,
) -> PyResult<Bound<'py, PyAny>> {
    let function = py.import("telemetry_py._decorate")?.getattr(function)?;
    calls::call(&function, &arguments.into_pyobject(py)?).inspect_err(|error| {
        if error.is_instance_of::<PyTypeError>(py) {
            error.set_traceback(py, None);
        }
    })
}

/// Makes a span without the detour that a call of a class takes.
///
/// # Safety
///
/// As for any [`fastcall::Entry`].
pub(crate) unsafe extern "C" fn span(
    _module: *mut ffi::PyObject,
    given: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: Python calls attached, with arguments that live until the call returns.
    let (py, arguments) = unsafe {
        (
            Python::assume_attached(),
            fastcall::arguments::<5>(&SPAN, given, count, keywords),
        )
    };
    let Some(
        [
            operation,
            metadata,
            correlation_id,
            measurements,
            record_stacktrace,
        ],
    ) = arguments
    else {
        return std::ptr::null_mut();
    };
    let present = |argument: *mut ffi::PyObject| {
        // SAFETY: as above.
        unsafe { (!is_absent(argument)).then(|| Bound::from_borrowed_ptr(py, argument).unbind()) }
    };
    // SAFETY: as above, and the first argument is never missing.
    let operation = unsafe { Bound::from_borrowed_ptr(py, operation) };
    let is_alone = metadata.is_null()
        && correlation_id.is_null()
        && measurements.is_null()
        && record_stacktrace.is_null();
    if is_alone && is_target(&operation) {
        return match decorate(py, "bare", (operation,)) {
            Ok(decorated) => decorated.into_ptr(),
            Err(error) => {
                error.restore(py);
                std::ptr::null_mut()
            }
        };
    }
    let operation = operation.unbind();
    // SAFETY: as above.
    let record_stacktrace = unsafe { Bound::from_borrowed_ptr_or_opt(py, record_stacktrace) };
    let record_stacktrace = match switch(record_stacktrace.as_ref()) {
        Ok(record_stacktrace) => record_stacktrace,
        Err(error) => {
            error.restore(py);
            return std::ptr::null_mut();
        }
    };
    let span = PySpan::new(
        operation,
        present(metadata),
        present(correlation_id),
        present(measurements),
        record_stacktrace,
    );
    match Py::new(py, span) {
        Ok(span) => span.into_ptr(),
        Err(error) => {
            error.restore(py);
            std::ptr::null_mut()
        }
    }
}
