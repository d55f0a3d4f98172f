//! Native functions that Python calls without anything in between: arguments arrive as a bare array,
//! and what a call does not use is not looked at.
//!
//! The wrappers that PyO3 generates cost about as much as an `emit` that is off does otherwise. They
//! also count how often a thread is attached; functions here do not, so a `Py` must not be dropped
//! in them outside of [`Python::attach`].

use std::ffi::CStr;
use std::ptr;

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;

/// What Python calls: the module, arguments and their number, names of the keyword arguments.
pub(crate) type Entry = ffi::PyCFunctionFastWithKeywords;

/// A function's face.
#[derive(Debug)]
pub(crate) struct Signature {
    /// Its name.
    pub(crate) name: &'static CStr,
    /// The signature as `inspect` reads it, and the description.
    pub(crate) doc: &'static CStr,
    /// Parameters in their order; the first is required, and the others have `None` as default.
    pub(crate) parameters: &'static [&'static str],
    /// How many of them can be given by position.
    pub(crate) positional: usize,
}

/// Adds a function to a module.
pub(crate) fn add(
    module: &Bound<'_, PyModule>,
    signature: &Signature,
    entry: Entry,
) -> PyResult<()> {
    // Python keeps a pointer to it as long as the function lives, which is as long as the process.
    let definition = Box::leak(Box::new(ffi::PyMethodDef {
        ml_name: signature.name.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer {
            PyCFunctionFastWithKeywords: entry,
        },
        ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
        ml_doc: signature.doc.as_ptr(),
    }));
    let module_name = module.name()?;
    // SAFETY: the definition lives for ever and its flags say what `entry` is; module and name are
    // live. The result is a new reference or null with an error set.
    let function = unsafe {
        Bound::<PyAny>::from_owned_ptr_or_err(
            module.py(),
            ffi::PyCFunction_NewEx(definition, module.as_ptr(), module_name.as_ptr()),
        )
    }?;
    let name = signature.name.to_string_lossy();
    if name.starts_with('_') {
        // Not for `__all__`.
        module.setattr(&*name, function)
    } else {
        module.add(&*name, function)
    }
}

/// The arguments of a call by parameter; null where one was not given. `None`: the call does not fit
/// the signature, and a `TypeError` is set.
///
/// # Safety
///
/// The thread is attached; the last three are what Python called an [`Entry`] with.
#[inline]
pub(crate) unsafe fn arguments<const N: usize>(
    signature: &Signature,
    given: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    keywords: *mut ffi::PyObject,
) -> Option<[*mut ffi::PyObject; N]> {
    let count = count.cast_unsigned();
    let mut found = [ptr::null_mut(); N];
    if count > signature.positional || (count == 0 && keywords.is_null()) {
        // SAFETY: the caller's promise.
        unsafe { refuse(signature, "takes other arguments than these by position") };
        return None;
    }
    for (at, found) in found.iter_mut().enumerate().take(count) {
        // SAFETY: there are `count` of them.
        *found = unsafe { *given.add(at) };
    }
    if !keywords.is_null() {
        // SAFETY: the values of keyword arguments follow the others.
        unsafe { by_keyword(signature, given.add(count), keywords, &mut found) }?;
    }
    Some(found)
}

/// Adds the arguments that are given by keyword.
///
/// # Safety
///
/// The thread is attached; `keywords` is a tuple of `str`, and `values` has as many objects.
unsafe fn by_keyword<const N: usize>(
    signature: &Signature,
    values: *const *mut ffi::PyObject,
    keywords: *mut ffi::PyObject,
    found: &mut [*mut ffi::PyObject; N],
) -> Option<()> {
    // SAFETY: it is a tuple.
    let count = unsafe { ffi::PyTuple_Size(keywords) };
    for at in 0..count {
        // SAFETY: the index is within the tuple, which holds `str` that live as long as it.
        let name = unsafe { crate::convert::exact_text(ffi::PyTuple_GetItem(keywords, at)) };
        let known = name.and_then(|name| signature.parameters.iter().position(|it| *it == name));
        let Some(slot) = known.and_then(|index| found.get_mut(index)) else {
            // SAFETY: the caller's promise.
            unsafe { refuse(signature, "got an unexpected keyword argument") };
            return None;
        };
        if !slot.is_null() {
            // SAFETY: the caller's promise.
            unsafe { refuse(signature, "got multiple values for one argument") };
            return None;
        }
        // SAFETY: there is a value for each name.
        *slot = unsafe { *values.add(at.cast_unsigned()) };
    }
    if found[0].is_null() {
        // SAFETY: the caller's promise.
        unsafe { refuse(signature, "misses its first argument") };
        return None;
    }
    Some(())
}

/// Sets a `TypeError`.
///
/// # Safety
///
/// The thread is attached.
#[cold]
unsafe fn refuse(signature: &Signature, what: &str) {
    let name = signature.name.to_string_lossy();
    let parameters = signature.parameters.join(", ");
    let message = format!("{name}() {what}; its parameters are {parameters}");
    Python::attach(|py| PyTypeError::new_err(message).restore(py));
}

/// A new reference to `None`.
///
/// # Safety
///
/// The thread is attached.
#[inline]
pub(crate) unsafe fn none() -> *mut ffi::PyObject {
    // SAFETY: `None` lives for ever.
    unsafe {
        let none = ffi::Py_None();
        ffi::Py_INCREF(none);
        none
    }
}
