//! Reads the `measurements` and `metadata` of an event from Python into an [`Entries`].
//!
//! An exact `dict` is walked in place as long as its entries are of exactly the built-in types:
//! no Python code can run in that loop, so the dict cannot change under it. From the first other
//! entry on a snapshot is read. Whatever is not a mapping counts as empty.

use std::fmt::Write;
use std::ptr;

use arrayvec::ArrayString;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use telemetry_core::{ValueRef, emit::Draft, ledger::Note};

use crate::calls;
use crate::convert::{Measured, any_measurement, any_text, exact_measurement, exact_text, swallow};

/// Entries of a mapping that are looked at where Python code makes them; far more than an event may have.
const MOST_ITEMS: usize = 4_096;

/// Where entries go: into an event being encoded or into dicts for a Python backend.
pub(crate) trait Entries {
    /// Takes one measurement.
    fn measurement(&mut self, key: &str, value: ValueRef<'_>);
    /// Takes one metadata entry.
    fn metadata(&mut self, key: &str, value: &str);
    /// Counts something that happened while the entries were read.
    fn note(&mut self, note: Note);
}

impl Entries for Draft<'_> {
    fn measurement(&mut self, key: &str, value: ValueRef<'_>) {
        Draft::measurement(self, key, value);
    }

    fn metadata(&mut self, key: &str, value: &str) {
        Draft::metadata(self, key, value);
    }

    fn note(&mut self, note: Note) {
        Draft::note(self, note);
    }
}

/// One of the two mappings of an event: how its values are read and where they go.
trait Kind {
    /// Takes an entry of exact types; false if it is not one.
    ///
    /// # Safety
    ///
    /// The caller is attached and both point to live objects.
    unsafe fn take_exact(
        entries: &mut impl Entries,
        key: *mut ffi::PyObject,
        value: *mut ffi::PyObject,
    ) -> bool;

    /// Takes any entry; runs Python code.
    fn take_any(
        entries: &mut impl Entries,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
    ) -> PyResult<()>;
}

/// Values are numbers or text.
struct Measurements;

/// Values are text.
struct Metadata;

impl Kind for Measurements {
    unsafe fn take_exact(
        entries: &mut impl Entries,
        key: *mut ffi::PyObject,
        value: *mut ffi::PyObject,
    ) -> bool {
        // SAFETY: the caller's promise.
        let pair = unsafe { exact_text(key).zip(exact_measurement(value)) };
        let Some((key, value)) = pair else {
            return false;
        };
        entries.measurement(key, value.as_value());
        true
    }

    fn take_any(
        entries: &mut impl Entries,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let key = any_text(key)?;
        let value = any_measurement(value)?;
        if matches!(value, Measured::Float(_, true)) {
            entries.note(Note::Coerced);
        }
        entries.measurement(&key, value.as_value());
        Ok(())
    }
}

impl Kind for Metadata {
    unsafe fn take_exact(
        entries: &mut impl Entries,
        key: *mut ffi::PyObject,
        value: *mut ffi::PyObject,
    ) -> bool {
        // SAFETY: the caller's promise.
        let (Some(key), is_bool) = (unsafe { (exact_text(key), ffi::PyBool_Check(value) != 0) })
        else {
            return false;
        };
        // SAFETY: the caller's promise.
        match unsafe { exact_measurement(value) } {
            // `bool` prints as a word, not as a number.
            Some(Measured::Int(int)) if is_bool => {
                entries.metadata(key, if int == 0 { "False" } else { "True" });
            }
            Some(Measured::Int(int)) => {
                let mut digits = ArrayString::<20>::new();
                let _fits = write!(digits, "{int}");
                entries.metadata(key, &digits);
            }
            Some(Measured::Text(text)) => entries.metadata(key, &text),
            // Only Python knows how it writes a float.
            Some(Measured::Float(..)) | None => return false,
        }
        true
    }

    fn take_any(
        entries: &mut impl Entries,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let key = any_text(key)?;
        let value = any_text(value)?;
        entries.metadata(&key, &value);
        Ok(())
    }
}

/// Reads measurements; `None` is empty.
pub(crate) fn read_measurements(
    mapping: Option<&Bound<'_, PyAny>>,
    entries: &mut impl Entries,
) -> PyResult<()> {
    read::<Measurements>(mapping, entries)
}

/// Reads metadata; `None` is empty.
pub(crate) fn read_metadata(
    mapping: Option<&Bound<'_, PyAny>>,
    entries: &mut impl Entries,
) -> PyResult<()> {
    read::<Metadata>(mapping, entries)
}

/// Reads measurements as long as no Python code is needed; an error says how many were taken.
///
/// # Safety
///
/// The caller is attached; `mapping` lives or is null.
pub(crate) unsafe fn read_exact_measurements(
    mapping: *mut ffi::PyObject,
    entries: &mut impl Entries,
) -> Result<(), usize> {
    // SAFETY: the caller's promise.
    unsafe { read_exact::<Measurements>(mapping, entries) }
}

/// Reads metadata as long as no Python code is needed; an error says how many were taken.
///
/// # Safety
///
/// The caller is attached; `mapping` lives or is null.
pub(crate) unsafe fn read_exact_metadata(
    mapping: *mut ffi::PyObject,
    entries: &mut impl Entries,
) -> Result<(), usize> {
    // SAFETY: the caller's promise.
    unsafe { read_exact::<Metadata>(mapping, entries) }
}

/// Reads the measurements behind those that were taken.
pub(crate) fn rest_of_measurements(
    mapping: &Bound<'_, PyAny>,
    taken: usize,
    entries: &mut impl Entries,
) -> PyResult<()> {
    read_snapshot::<Measurements>(mapping, taken, entries)
}

/// Reads the metadata behind those that were taken.
pub(crate) fn rest_of_metadata(
    mapping: &Bound<'_, PyAny>,
    taken: usize,
    entries: &mut impl Entries,
) -> PyResult<()> {
    read_snapshot::<Metadata>(mapping, taken, entries)
}

/// A dict with the entries of any mapping, as far as they can be read.
pub(crate) fn copy_of<'py>(mapping: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
    let py = mapping.py();
    if let Ok(dict) = mapping.cast_exact::<PyDict>() {
        return dict.copy();
    }
    let copy = PyDict::new(py);
    let items = swallow(py, calls::items(mapping, MOST_ITEMS))?;
    for item in items.unwrap_or_default() {
        let Ok(pair) = item.cast::<PyTuple>() else {
            continue;
        };
        if let (Ok(key), Ok(value)) = (pair.get_borrowed_item(0), pair.get_borrowed_item(1)) {
            // What is no key is left out.
            swallow(py, copy.set_item(key, value))?;
        }
    }
    Ok(copy)
}

/// Whether an argument was not given or is `None`.
///
/// # Safety
///
/// The caller is attached.
#[inline]
pub(crate) unsafe fn is_absent(argument: *mut ffi::PyObject) -> bool {
    // SAFETY: a look at an address that lives for ever.
    argument.is_null() || argument == unsafe { ffi::Py_None() }
}

/// Reads a mapping of either kind.
fn read<K: Kind>(mapping: Option<&Bound<'_, PyAny>>, entries: &mut impl Entries) -> PyResult<()> {
    let Some(mapping) = mapping else {
        return Ok(());
    };
    // SAFETY: `mapping` is live.
    match unsafe { read_exact::<K>(mapping.as_ptr(), entries) } {
        Ok(()) => Ok(()),
        Err(taken) => read_snapshot::<K>(mapping, taken, entries),
    }
}

/// Takes entries of exact types from the start of an exact dict. An error: not all of it is exact,
/// and so many were taken before.
///
/// # Safety
///
/// The caller is attached; `mapping` lives or is null.
#[inline]
unsafe fn read_exact<K: Kind>(
    mapping: *mut ffi::PyObject,
    entries: &mut impl Entries,
) -> Result<(), usize> {
    // SAFETY: the mapping is live and a dict where it has to be. The references are borrowed from
    // it, and it cannot change before they are used for the last time: nothing in this loop runs
    // Python code or lets another thread run. (A key or value that is not exact ends the loop.)
    unsafe {
        if is_absent(mapping) {
            return Ok(());
        }
        if ffi::PyDict_CheckExact(mapping) == 0 {
            return Err(0);
        }
        let mut position: ffi::Py_ssize_t = 0;
        let mut key: *mut ffi::PyObject = ptr::null_mut();
        let mut value: *mut ffi::PyObject = ptr::null_mut();
        // The size spares the last call, which only says that there is no more.
        for taken in 0..ffi::PyDict_Size(mapping).cast_unsigned() {
            if ffi::PyDict_Next(mapping, &raw mut position, &raw mut key, &raw mut value) == 0 {
                break;
            }
            if !K::take_exact(entries, key, value) {
                return Err(taken);
            }
        }
        Ok(())
    }
}

/// Takes the entries of any mapping from position `skip` on.
fn read_snapshot<K: Kind>(
    mapping: &Bound<'_, PyAny>,
    skip: usize,
    entries: &mut impl Entries,
) -> PyResult<()> {
    let py = mapping.py();
    let Some(items) = swallow(py, calls::items(mapping, skip + MOST_ITEMS))? else {
        entries.note(Note::Coerced);
        return Ok(());
    };
    for item in items.into_iter().skip(skip) {
        let Ok(pair) = item.cast::<PyTuple>() else {
            continue;
        };
        if let (Ok(key), Ok(value)) = (pair.get_borrowed_item(0), pair.get_borrowed_item(1)) {
            K::take_any(entries, &key, &value)?;
        }
    }
    Ok(())
}
