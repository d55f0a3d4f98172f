//! A whole catalog as one JSON object, for the commands that compare two.

use serde_json::{Value, json};
use telemetry_core::catalog::{Catalog, EventSpec, KeyId, KeySpec};

/// What a catalog says of events and keys: `events`, `measurements` and `metadata`, each an array of objects.
///
/// It is what `/api/catalog` answers, without what a manager learned.
#[must_use]
pub fn described(catalog: &Catalog) -> Value {
    let (measured, labelled) = (catalog.measurement_keys(), catalog.metadata_keys());
    let names = |ids: &[KeyId], keys: &[KeySpec]| -> Value {
        let keys = ids.iter().filter_map(|id| keys.get(id.index()));
        keys.map(|key| Value::from(&*key.name)).collect()
    };
    let event = |event: &EventSpec| {
        json!({
            "name": &*event.name,
            "wire_name": event.wire_name.as_deref(),
            "origin": event.origin.as_str(),
            "measurements": names(&event.measurements, measured),
            "metadata": names(&event.metadata, labelled),
            "doc": &*event.doc,
        })
    };
    let measurement = |key: &KeySpec| {
        let (unit, kind) = (key.unit.as_str(), key.kind.as_str());
        json!({ "key": &*key.name, "unit": unit, "kind": kind, "buckets": key.buckets.as_deref() })
    };
    let metadata = |key: &KeySpec| json!({ "key": &*key.name, "label": key.label });
    json!({
        "events": catalog.events().iter().map(event).collect::<Value>(),
        "measurements": measured.iter().map(measurement).collect::<Value>(),
        "metadata": labelled.iter().map(metadata).collect::<Value>(),
    })
}
