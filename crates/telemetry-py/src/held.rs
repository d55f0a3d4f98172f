//! State of an object that only attached threads touch.
//!
//! The GIL, which the module asks for, is the lock; there is nothing to acquire and nothing to
//! poison. That holds as long as no Python code runs in an access: what an access replaces it
//! returns, to be dropped outside.

use std::cell::UnsafeCell;

use pyo3::Python;

/// A value behind the GIL.
#[derive(Debug, Default)]
pub(crate) struct Held<T> {
    /// The value.
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached by attached threads only, one at a time.
unsafe impl<T: Send> Sync for Held<T> {}

impl<T> Held<T> {
    /// A value to be held.
    pub(crate) fn new(value: T) -> Self {
        Self {
            value: UnsafeCell::new(value),
        }
    }

    /// Gives access to the value. `access` must neither run Python code, which dropping an object
    /// may do, nor use this value by another way.
    #[inline]
    pub(crate) fn with<R>(&self, _attached: Python<'_>, access: impl FnOnce(&mut T) -> R) -> R {
        // SAFETY: attached, so that no other thread is in here, and this one is not in here twice,
        // because an access runs none of the code that could come back.
        access(unsafe { &mut *self.value.get() })
    }
}
