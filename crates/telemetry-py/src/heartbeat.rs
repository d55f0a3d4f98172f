//! What a Python thread calls to show that Python runs.

use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyTuple};

use crate::convert::guarded;
use crate::state;

/// The beat of what runs, for the one thread that is to call it ten times a second as long as it returns
/// true. `None`: nothing is watched, or somebody has it already.
#[pyfunction]
pub(crate) fn heartbeat(py: Python<'_>) -> PyResult<Option<Bound<'_, PyCFunction>>> {
    guarded(py, || {
        let service = state::own().and_then(|state| state.service());
        let Some(heart) = service.and_then(|service| service.claim_heartbeat()) else {
            return Ok(None);
        };
        let beat = move |_: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| heart.beat();
        PyCFunction::new_closure(py, Some(c"beat"), None, beat).map(Some)
    })
}

/// Python is about to end: what does not beat from now on has not stalled.
pub(crate) fn rest() {
    let service = state::own().and_then(|state| state.service());
    if let Some(service) = service {
        service.rest();
    }
}
