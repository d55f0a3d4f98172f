//! The catalog as `telemetry catalog` asks for it: everything at once.

use serde_json::{Value, json};
use telemetry_core::catalog::{EventSpec, KeyId, KeySpec};

use super::source::rows;
use crate::manager::Manager;

/// What is known of events and keys, and what workers sent beyond that: `learned` passed, `refused` did
/// not.
pub(super) fn catalog(manager: &Manager) -> Value {
    let catalog = manager.catalog();
    let (measured, described) = (catalog.measurement_keys(), catalog.metadata_keys());
    let event = |event: &EventSpec| {
        let names = |ids: &[KeyId], keys: &[KeySpec]| -> Value {
            let keys = ids.iter().filter_map(|id| keys.get(id.index()));
            keys.map(|key| Value::from(&*key.name)).collect()
        };
        json!({
            "name": &*event.name,
            "wire_name": event.wire_name.as_deref(),
            "origin": event.origin.as_str(),
            "measurements": names(&event.measurements, measured),
            "metadata": names(&event.metadata, described),
            "doc": &*event.doc,
        })
    };
    let measurement = |key: &KeySpec| json!({ "key": &*key.name, "unit": key.unit.as_str(), "kind": key.kind.as_str() });
    let metadata = |key: &KeySpec| json!({ "key": &*key.name, "label": key.label });
    json!({
        "events": catalog.events().iter().map(event).collect::<Value>(),
        "measurements": measured.iter().map(measurement).collect::<Value>(),
        "metadata": described.iter().map(metadata).collect::<Value>(),
        "learned": rows(&manager.learned().list()),
        "refused": rows(&manager.quarantine().list()),
    })
}
