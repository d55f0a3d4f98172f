//! One Python value to one of ours.
//!
//! Two ways: *exact* functions, in which no Python code can run and no exception is raised, for
//! values of exactly the built-in types; and *any* functions for everything else, which may run the
//! value's own methods. Those swallow `Exception`s and let other `BaseException`s through.

mod known;

use std::borrow::Cow;
use std::os::raw::{c_char, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::exceptions::{PyException, PyMemoryError, PyRuntimeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyFloat, PyInt, PyString};
use telemetry_core::ValueRef;

use crate::calls;
use crate::memory::has_room;
use known::Meant;

/// Where less than this is left, a panic comes from want of memory.
const PANIC_ROOM_BYTES: usize = 4 * 1024 * 1024;

/// A measurement as read from Python.
#[derive(Debug)]
pub(crate) enum Measured<'a> {
    /// A number.
    Int(i64),
    /// A number; `true` if it was an integer beyond 64 bits.
    Float(f64, bool),
    /// Anything else.
    Text(Cow<'a, str>),
}

impl Measured<'_> {
    /// The value to encode.
    pub(crate) fn as_value(&self) -> ValueRef<'_> {
        match self {
            Self::Int(int) => ValueRef::Int(*int),
            Self::Float(float, _) => ValueRef::Float(*float),
            Self::Text(text) => ValueRef::Str(text),
        }
    }
}

/// Swallows an `Exception` and hands on what must not be swallowed: `KeyboardInterrupt`,
/// `SystemExit`, `GeneratorExit`, cancellation.
pub(crate) fn swallow<T>(py: Python<'_>, result: PyResult<T>) -> PyResult<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_instance_of::<PyException>(py) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Runs an entry from Python: a panic is counted and an `Exception` swallowed.
pub(crate) fn guarded<T: Default>(
    py: Python<'_>,
    body: impl FnOnce() -> PyResult<T>,
) -> PyResult<T> {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(result) => Ok(swallow(py, result)?.unwrap_or_default()),
        // An event under way has counted itself as `internal_error` while it was dropped.
        Err(_panic) => Ok(T::default()),
    }
}

/// Runs an entry from Python that may raise: a panic becomes an `Exception`. Only want of memory is known to
/// cause one, in what makes objects of Python.
pub(crate) fn strict<T>(body: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|_panic| {
        Err(if has_room(PANIC_ROOM_BYTES) {
            PyRuntimeError::new_err("telemetry has failed; please report what stands on stderr")
        } else {
            PyMemoryError::new_err(())
        })
    })
}

/// The UTF-8 of an exact `str`; `None` for any other type and for lone surrogates.
///
/// # Safety
///
/// The caller is attached and `object` points to a live object. The text lives as long as it.
pub(crate) unsafe fn exact_text<'a>(object: *mut ffi::PyObject) -> Option<&'a str> {
    // SAFETY: `object` is live. A failed conversion sets an error, which is cleared at once.
    unsafe {
        if ffi::PyUnicode_CheckExact(object) == 0 {
            return None;
        }
        let mut bytes: ffi::Py_ssize_t = 0;
        let start: *const c_char = ffi::PyUnicode_AsUTF8AndSize(object, &raw mut bytes);
        if start.is_null() {
            ffi::PyErr_Clear();
            return None;
        }
        let bytes = std::slice::from_raw_parts(start.cast::<u8>(), bytes.cast_unsigned());
        Some(std::str::from_utf8_unchecked(bytes))
    }
}

/// The value of an exact `int`, `bool`, `float` or `str`.
///
/// # Safety
///
/// The caller is attached and `object` points to a live object. A text lives as long as it.
pub(crate) unsafe fn exact_measurement<'a>(object: *mut ffi::PyObject) -> Option<Measured<'a>> {
    // SAFETY: `object` is live and of the type that each call asks for.
    unsafe {
        if ffi::PyLong_CheckExact(object) != 0 || ffi::PyBool_Check(object) != 0 {
            let mut overflow: c_int = 0;
            let int = ffi::PyLong_AsLongLongAndOverflow(object, &raw mut overflow);
            return (overflow == 0).then_some(Measured::Int(int));
        }
        if ffi::PyFloat_CheckExact(object) != 0 {
            return Some(Measured::Float(ffi::PyFloat_AsDouble(object), false));
        }
        exact_text(object).map(|text| Measured::Text(Cow::Borrowed(text)))
    }
}

/// Any object as text: `str(object)`, or `<unprintable TYPE>`.
pub(crate) fn any_text<'a>(object: &'a Bound<'_, PyAny>) -> PyResult<Cow<'a, str>> {
    if let Ok(text) = object.cast::<PyString>() {
        return any_string(text);
    }
    match known::text(object)? {
        Some(Meant::Text(text)) => return Ok(Cow::Owned(text)),
        Some(Meant::Object(object)) => {
            if let Ok(text) = object.cast::<PyString>() {
                return Ok(Cow::Owned(any_string(text)?.into_owned()));
            }
        }
        Some(Meant::Int(_)) | None => {}
    }
    let Some(text) = swallow(object.py(), calls::text(object))? else {
        return Ok(Cow::Owned(unprintable(object)));
    };
    Ok(Cow::Owned(any_string(&text)?.into_owned()))
}

/// Any object as a measurement.
pub(crate) fn any_measurement<'a>(object: &'a Bound<'_, PyAny>) -> PyResult<Measured<'a>> {
    let py = object.py();
    if let Some(value) = builtin_measurement(object)? {
        return Ok(value);
    }
    match known::measurement(object)? {
        Some(Meant::Int(int)) => {
            return Ok(i64::try_from(int).map_or(Measured::Float(int as f64, true), Measured::Int));
        }
        Some(Meant::Text(text)) => return Ok(Measured::Text(Cow::Owned(text))),
        Some(Meant::Object(object)) => {
            if let Some(value) = builtin_measurement(&object)? {
                return Ok(value.into_owned());
            }
        }
        None => {}
    }
    if let Some(int) = swallow(py, calls::index(object))? {
        return any_int(&int).map(Measured::into_owned);
    }
    if let Some(float) = swallow(py, calls::float(object))? {
        return Ok(Measured::Float(float, false));
    }
    any_text(object).map(Measured::Text)
}

/// The measurement that a number or a text is, also of a subclass.
fn builtin_measurement<'a>(object: &'a Bound<'_, PyAny>) -> PyResult<Option<Measured<'a>>> {
    if let Ok(float) = object.cast::<PyFloat>() {
        return Ok(Some(Measured::Float(float.value(), false)));
    }
    if let Ok(text) = object.cast::<PyString>() {
        return any_string(text).map(Measured::Text).map(Some);
    }
    if let Ok(int) = object.cast::<PyInt>() {
        return any_int(int.as_any()).map(Some);
    }
    Ok(None)
}

impl Measured<'_> {
    /// The same value without a borrow.
    fn into_owned(self) -> Measured<'static> {
        match self {
            Self::Int(int) => Measured::Int(int),
            Self::Float(float, coerced) => Measured::Float(float, coerced),
            Self::Text(text) => Measured::Text(Cow::Owned(text.into_owned())),
        }
    }
}

/// An `int` of any size or a subclass of it.
fn any_int<'a>(int: &Bound<'_, PyAny>) -> PyResult<Measured<'a>> {
    let py = int.py();
    let mut overflow: c_int = 0;
    // SAFETY: `int` is an instance of `int`, whose value is read without its methods.
    let small = unsafe { ffi::PyLong_AsLongLongAndOverflow(int.as_ptr(), &raw mut overflow) };
    if overflow == 0 {
        return Ok(Measured::Int(small));
    }
    // SAFETY: as above; an int beyond the range of floats sets an error.
    let float = unsafe { ffi::PyLong_AsDouble(int.as_ptr()) };
    match PyErr::take(py) {
        None => Ok(Measured::Float(float, true)),
        Some(_too_large) => Ok(Measured::Float(
            if overflow > 0 { f64::MAX } else { f64::MIN },
            true,
        )),
    }
}

/// A `str` or a subclass of it, lone surrogates replaced.
fn any_string<'a>(text: &'a Bound<'_, PyString>) -> PyResult<Cow<'a, str>> {
    if let Ok(text) = text.to_str() {
        return Ok(Cow::Borrowed(text));
    }
    // SAFETY: `text` is live; the result is a new `bytes` or null with an error set.
    let units = unsafe {
        Bound::<PyAny>::from_owned_ptr_or_err(
            text.py(),
            ffi::PyUnicode_AsEncodedString(
                text.as_ptr(),
                c"utf-16-le".as_ptr(),
                c"surrogatepass".as_ptr(),
            ),
        )
    };
    let Some(units) = swallow(text.py(), units)? else {
        return Ok(Cow::Owned(unprintable(text.as_any())));
    };
    let units: Vec<u16> = units
        .extract::<&[u8]>()?
        .chunks_exact(2)
        .map(|unit| u16::from_le_bytes([unit[0], unit[1]]))
        .collect();
    Ok(Cow::Owned(String::from_utf16_lossy(&units)))
}

/// What stands for an object that has no text.
fn unprintable(object: &Bound<'_, PyAny>) -> String {
    format!("<unprintable {}>", type_name(object))
}

/// The name of an object's type.
pub(crate) fn type_name(object: &Bound<'_, PyAny>) -> String {
    object
        .get_type()
        .name()
        .and_then(|name| name.extract::<String>())
        .unwrap_or_else(|_| "object".to_owned())
}
