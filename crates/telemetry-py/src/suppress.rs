//! Blocks in which nothing is emitted: a mark in a `ContextVar`, so that a block follows its task.
//!
//! A mark ends with its block, also in contexts that were copied from it and live on. While there is no
//! block at all, which is nearly always, an emit looks at one word.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

use crate::convert::swallow;

/// Blocks that have not ended.
static OPEN: AtomicUsize = AtomicUsize::new(0);

/// The variable's bound methods `get`, `set` and `reset`.
static VARIABLE: PyOnceLock<[Py<PyAny>; 3]> = PyOnceLock::new();

/// One block.
#[pyclass(frozen, module = "telemetry_py._native", name = "Suppression")]
#[derive(Debug)]
pub(crate) struct PySuppression {
    /// Whether it has not ended.
    is_open: AtomicBool,
}

impl PySuppression {
    /// Ends it; says whether it had not ended.
    fn close(&self) -> bool {
        let was_open = self.is_open.swap(false, Ordering::Relaxed);
        if was_open {
            OPEN.fetch_sub(1, Ordering::Relaxed);
        }
        was_open
    }
}

impl Drop for PySuppression {
    /// A block that is never left, as in a generator that was given up, ends with its context.
    fn drop(&mut self) {
        self.close();
    }
}

/// Makes the variable.
pub(crate) fn register(py: Python<'_>) -> PyResult<()> {
    VARIABLE.get_or_try_init(py, || {
        let options = PyDict::new(py);
        options.set_item("default", py.None())?;
        let variable = py
            .import("contextvars")?
            .getattr("ContextVar")?
            .call(("telemetry_suppressed",), Some(&options))?;
        let method = |name| variable.getattr(name).map(Bound::unbind);
        PyResult::Ok([method("get")?, method("set")?, method("reset")?])
    })?;
    Ok(())
}

/// Begins a block in this context; returns it and what its end needs.
#[pyfunction]
pub(crate) fn suppress_begin(py: Python<'_>) -> PyResult<(Py<PySuppression>, Py<PyAny>)> {
    let Some([_, set, _]) = VARIABLE.get(py) else {
        return Err(PyRuntimeError::new_err("the module is not loaded"));
    };
    OPEN.fetch_add(1, Ordering::Relaxed);
    let block = PySuppression {
        is_open: AtomicBool::new(true),
    };
    let block = Py::new(py, block)?;
    let token = set.call1(py, (&block,))?;
    Ok((block, token))
}

/// Ends a block. In another context than it began in there is nothing to put back, which is no error.
#[pyfunction]
pub(crate) fn suppress_end(
    block: &Bound<'_, PySuppression>,
    token: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let py = block.py();
    if block.get().close()
        && let Some([_, _, reset]) = VARIABLE.get(py)
    {
        swallow(py, reset.call1(py, (token,)))?;
    }
    Ok(())
}

/// Whether the context is inside of a block. Runs no Python code, except that the first look in a thread
/// makes its context, so that the collector may run.
#[inline]
pub(crate) fn is_suppressed(py: Python<'_>) -> bool {
    OPEN.load(Ordering::Relaxed) != 0 && is_inside(py)
}

/// Looks at the context.
#[cold]
fn is_inside(py: Python<'_>) -> bool {
    let Some([get, ..]) = VARIABLE.get(py) else {
        return false;
    };
    // SAFETY: attached and `get` is live; the result is a new reference or null with an error set, which
    // is cleared at once.
    let found = unsafe {
        let found = ffi::PyObject_CallNoArgs(get.as_ptr());
        if found.is_null() {
            ffi::PyErr_Clear();
        }
        Bound::from_owned_ptr_or_opt(py, found)
    };
    found.is_some_and(|found| {
        found
            .cast::<PySuppression>()
            .is_ok_and(|block| block.get().is_open.load(Ordering::Relaxed))
    })
}
