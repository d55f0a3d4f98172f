//! An awaitable that is ready at once: what `async with` needs from a context manager that never
//! waits.

use pyo3::exceptions::PyStopIteration;
use pyo3::prelude::*;

/// Awaiting it gives its value without a turn of the event loop.
#[pyclass(frozen, module = "telemetry_py._native")]
#[derive(Debug)]
pub(crate) struct Awaited {
    /// The result.
    value: Py<PyAny>,
}

impl Awaited {
    /// Ready with `value`, which must not be a tuple or an exception: `StopIteration` would take
    /// those apart.
    pub(crate) fn new(value: Py<PyAny>) -> Self {
        Self { value }
    }
}

#[pymethods]
impl Awaited {
    fn __await__(this: Bound<'_, Self>) -> Bound<'_, Self> {
        this
    }

    fn __iter__(this: Bound<'_, Self>) -> Bound<'_, Self> {
        this
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Err(PyStopIteration::new_err((self.value.clone_ref(py),)))
    }
}
