//! Which interpreter of the process this is.

use pyo3::ffi;
use pyo3::prelude::*;

/// Whether this is the main interpreter. The module keeps Python objects in statics, which another
/// interpreter must not see.
pub(crate) fn is_main(_attached: Python<'_>) -> bool {
    // SAFETY: attached, so there is a current interpreter.
    unsafe { ffi::PyInterpreterState_GetID(ffi::PyInterpreterState_Get()) == 0 }
}
