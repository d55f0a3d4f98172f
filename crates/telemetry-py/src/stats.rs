//! The ledger of this process as Python sees it.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use telemetry_client::region::RegionKind;
use telemetry_core::ledger::WorkerSnapshot;

use crate::sink::Sink;
use crate::state;

/// The ledger of this process: what was emitted and what became of it; and who takes it.
#[pyfunction]
pub(crate) fn stats<'py>(py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
    let state = state::latest(py);
    let snapshot = state
        .as_ref()
        .map(|state| state.incarnation.ledger())
        .unwrap_or_default();
    let stats = PyDict::new(py);
    fill(&stats, &snapshot)?;
    let last_error = state
        .as_ref()
        .and_then(|state| state.incarnation.last_error().clone());
    stats.set_item("last_error", last_error)?;
    let parts = match state.as_deref().map(|state| &state.sink) {
        Some(Sink::Object(object)) => object.parts(py)?,
        _ => PyList::empty(py).into_any(),
    };
    stats.set_item("parts", parts)?;
    let region = state.as_ref().map(|state| state.incarnation.region());
    let region = region.unwrap_or(RegionKind::Heap);
    stats.set_item("region", region.as_str())?;
    let service = state.and_then(|state| state.service());
    let service = service.as_deref();
    let rejected = PyDict::new(py);
    for name in service.iter().flat_map(|service| service.rejected()) {
        rejected.set_item(name.name, name.suggestion)?;
    }
    stats.set_item("rejected", rejected)?;
    let manager = service.and_then(|service| service.manager());
    let connect_error = service.and_then(|service| service.connect_error());
    stats.set_item("manager", manager)?;
    stats.set_item("connect_error", connect_error)?;
    stats.set_item("clients", service.map_or(0, |service| service.clients()))?;
    let closed = service.map_or(0, |service| service.closed_descriptors());
    stats.set_item("descriptors_closed", closed)?;
    Ok(stats)
}

/// Enters what a ledger says.
pub(crate) fn fill(stats: &Bound<'_, PyDict>, snapshot: &WorkerSnapshot) -> PyResult<()> {
    let py = stats.py();
    stats.set_item("emitted", snapshot.emitted)?;
    stats.set_item("accepted", snapshot.accepted)?;
    stats.set_item("sent", snapshot.sent)?;
    stats.set_item("delivered", snapshot.delivered)?;
    stats.set_item("queued", snapshot.queued)?;
    let dropped = PyDict::new(py);
    for (reason, count) in snapshot.dropped.iter() {
        dropped.set_item(reason.as_str(), count)?;
    }
    stats.set_item("dropped", dropped)?;
    let notes = PyDict::new(py);
    for (note, count) in snapshot.notes.iter() {
        notes.set_item(note.as_str(), count)?;
    }
    stats.set_item("notes", notes)?;
    Ok(())
}
