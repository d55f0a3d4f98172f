//! `span` as Python calls it: makes a span.

use pyo3::ffi;
use pyo3::prelude::*;

use super::PySpan;
use crate::fastcall::{self, Signature};
use crate::fields::is_absent;

/// The face of [`span`].
pub(crate) const SPAN: Signature = Signature {
    name: c"span",
    doc: c"span(operation, metadata=None, correlation_id=None, *, measurements=None)\n--\n\n\
        Work that is measured, for `with`, `async with` and as a decorator; see `Span`.",
    parameters: &["operation", "metadata", "correlation_id", "measurements"],
    positional: 3,
};

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
            fastcall::arguments::<4>(&SPAN, given, count, keywords),
        )
    };
    let Some([operation, metadata, correlation_id, measurements]) = arguments else {
        return std::ptr::null_mut();
    };
    let present = |argument: *mut ffi::PyObject| {
        // SAFETY: as above.
        unsafe { (!is_absent(argument)).then(|| Bound::from_borrowed_ptr(py, argument).unbind()) }
    };
    // SAFETY: as above, and the first argument is never missing.
    let operation = unsafe { Bound::from_borrowed_ptr(py, operation) }.unbind();
    let span = PySpan::new(
        operation,
        present(metadata),
        present(correlation_id),
        present(measurements),
    );
    match Py::new(py, span) {
        Ok(span) => span.into_ptr(),
        Err(error) => {
            error.restore(py);
            std::ptr::null_mut()
        }
    }
}
