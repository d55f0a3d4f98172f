//! Calls into code of the program that may not come back.
//!
//! Before Python 3.14 a daemon thread that asks for the GIL once the interpreter is on its way out is
//! ended on the spot: its stack is unwound by force, and frames of Rust in between would abort the
//! process. Python code asks for the GIL all the time, so whatever may run Python code is called from
//! here, with a guard that stops such a thread for good, as PyO3 does where it takes the GIL itself.
//! The process goes on to its end without it.

use std::mem;

use pyo3::exceptions::PyMemoryError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

/// The same functions as in `pyo3::ffi`, declared as ones that may unwind: through the others the
/// guard would be passed over.
mod raw {
    use pyo3::ffi::PyObject;

    unsafe extern "C-unwind" {
        pub(super) fn PyIter_Next(iterator: *mut PyObject) -> *mut PyObject;
        pub(super) fn PyObject_GetIter(object: *mut PyObject) -> *mut PyObject;
        pub(super) fn PyFloat_AsDouble(object: *mut PyObject) -> f64;
        pub(super) fn PyMapping_Items(mapping: *mut PyObject) -> *mut PyObject;
        pub(super) fn PyNumber_Index(object: *mut PyObject) -> *mut PyObject;
        pub(super) fn PyObject_CallObject(
            callable: *mut PyObject,
            arguments: *mut PyObject,
        ) -> *mut PyObject;
        pub(super) fn PyObject_GetAttr(object: *mut PyObject, name: *mut PyObject)
        -> *mut PyObject;
        pub(super) fn PyObject_IsTrue(object: *mut PyObject) -> std::os::raw::c_int;
        pub(super) fn PyObject_Str(object: *mut PyObject) -> *mut PyObject;
    }
}

/// Dropped only while the thread is unwound: there is nothing to go back to.
struct Stop;

impl Drop for Stop {
    fn drop(&mut self) {
        loop {
            std::thread::park();
        }
    }
}

/// Makes a call that comes back, or stops the thread. The call must not panic.
fn guard<T>(call: impl FnOnce() -> T) -> T {
    let stop = Stop;
    let result = call();
    mem::forget(stop);
    result
}

/// What a call of the C API returns: a new reference, or null with an error set.
///
/// # Safety
///
/// `call` returns just that.
unsafe fn object<'py>(
    py: Python<'py>,
    call: impl FnOnce() -> *mut ffi::PyObject,
) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: the caller's promise.
    unsafe { Bound::from_owned_ptr_or_err(py, guard(call)) }
}

/// `callable(*arguments)`
pub(crate) fn call<'py>(
    callable: &Bound<'py, PyAny>,
    arguments: &Bound<'py, PyTuple>,
) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: both are live and attached.
    let call = || unsafe { raw::PyObject_CallObject(callable.as_ptr(), arguments.as_ptr()) };
    // SAFETY: as it is documented.
    unsafe { object(callable.py(), call) }
}

/// `object.name`, of an object that may be anything.
pub(crate) fn attribute<'py>(value: &Bound<'py, PyAny>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    let name = PyString::new(value.py(), name);
    // SAFETY: both are live and attached.
    let call = || unsafe { raw::PyObject_GetAttr(value.as_ptr(), name.as_ptr()) };
    // SAFETY: as it is documented.
    unsafe { object(value.py(), call) }
}

/// `bool(object)`
pub(crate) fn truth(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    // SAFETY: it is live and attached; -1 comes with an error set.
    match guard(|| unsafe { raw::PyObject_IsTrue(value.as_ptr()) }) {
        -1 => Err(PyErr::fetch(value.py())),
        truth => Ok(truth != 0),
    }
}

/// `str(object)`
pub(crate) fn text<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyString>> {
    // SAFETY: it is live and attached.
    let call = || unsafe { raw::PyObject_Str(value.as_ptr()) };
    // SAFETY: as it is documented.
    Ok(unsafe { object(value.py(), call) }?.cast_into()?)
}

/// `operator.index(object)`
pub(crate) fn index<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: it is live and attached.
    let call = || unsafe { raw::PyNumber_Index(value.as_ptr()) };
    // SAFETY: as it is documented.
    unsafe { object(value.py(), call) }
}

/// `float(object)` without text: what has `__float__` or `__index__`.
pub(crate) fn float(value: &Bound<'_, PyAny>) -> PyResult<f64> {
    // SAFETY: it is live and attached; -1 may come with an error set.
    let float = guard(|| unsafe { raw::PyFloat_AsDouble(value.as_ptr()) });
    match PyErr::take(value.py()) {
        None => Ok(float),
        Some(error) => Err(error),
    }
}

/// The first `most` of `mapping.items()`, all of them before any is looked at: they may change while that is
/// done. There may be no end of those of an object that is no dict.
pub(crate) fn items<'py>(
    mapping: &Bound<'py, PyAny>,
    most: usize,
) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let py = mapping.py();
    let found = if mapping.is_exact_instance_of::<PyDict>() {
        // SAFETY: it is live and attached.
        let call = || unsafe { raw::PyMapping_Items(mapping.as_ptr()) };
        // SAFETY: as it is documented.
        unsafe { object(py, call) }?
    } else {
        call(&attribute(mapping, "items")?, &PyTuple::empty(py))?
    };
    // SAFETY: it is live and attached.
    let call = || unsafe { raw::PyObject_GetIter(found.as_ptr()) };
    // SAFETY: as it is documented.
    let iterator = unsafe { object(py, call) }?;
    let mut items = Vec::new();
    while items.len() < most {
        // SAFETY: an iterator, live and attached; null comes with an error set, or says that there is no more.
        let item = unsafe {
            Bound::from_owned_ptr_or_opt(py, guard(|| raw::PyIter_Next(iterator.as_ptr())))
        };
        match (item, PyErr::take(py)) {
            (_, Some(error)) => return Err(error),
            (None, None) => break,
            (Some(item), None) => {
                items
                    .try_reserve(1)
                    .map_err(|_no_room| PyMemoryError::new_err(()))?;
                items.push(item);
            }
        }
    }
    Ok(items)
}
