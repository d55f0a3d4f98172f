//! What belongs to a text, found by which object the text is.
//!
//! Names of events are literals as a rule, so the same object comes with each call. It is compared
//! by address, and held, so that no other object can take its place: a hit reads neither text nor
//! hash. The table is small and bounded; a miss costs a lookup by text and replaces another entry.

use std::cell::UnsafeCell;

use pyo3::ffi;
use pyo3::prelude::*;

/// Entries of one table. A power of two.
const SLOTS: usize = 512;

/// An entry: a text and what belongs to it.
type Slot<T> = UnsafeCell<Option<(Py<PyAny>, T)>>;

/// What belongs to texts.
#[derive(Debug)]
pub(crate) struct ByIdentity<T> {
    /// Each text has one place where it can be.
    slots: Box<[Slot<T>]>,
}

// SAFETY: the slots are touched by attached threads only, one at a time (the module asks for the
// GIL), and what is done between a look at a slot and its end runs no Python code.
unsafe impl<T: Send + Sync> Sync for ByIdentity<T> {}

impl<T> Default for ByIdentity<T> {
    fn default() -> Self {
        Self {
            slots: (0..SLOTS).map(|_| UnsafeCell::new(None)).collect(),
        }
    }
}

impl<T> ByIdentity<T> {
    /// What belongs to a text.
    ///
    /// # Safety
    ///
    /// The thread is attached, and the result is not used after any call that may run Python code
    /// or change the table.
    #[inline]
    pub(crate) unsafe fn get(&self, text: *mut ffi::PyObject) -> Option<&T> {
        // SAFETY: attached, and nobody changes the slot while the result is in use.
        match unsafe { &*self.slot(text).get() } {
            Some((held, value)) if held.as_ptr() == text => Some(value),
            _ => None,
        }
    }

    /// Remembers what belongs to a text, which must be an exact `str`: letting go of another one
    /// must not run Python code.
    pub(crate) fn put(&self, text: &Bound<'_, PyAny>, value: T) {
        let entry = Some((text.clone().unbind(), value));
        // SAFETY: attached, as `text` shows, and no Python code runs here.
        let before = unsafe { std::mem::replace(&mut *self.slot(text.as_ptr()).get(), entry) };
        // A bound reference is given back at once, whether or not PyO3 knows that we are attached.
        drop(before.map(|(held, value)| (held.into_bound(text.py()), value)));
    }

    /// Where a text can be.
    fn slot(&self, text: *mut ffi::PyObject) -> &Slot<T> {
        // Objects are aligned to 16 bytes, and those made together lie together.
        let address = text.addr() >> 4;
        &self.slots[(address ^ (address >> 9)) & (SLOTS - 1)]
    }
}
