//! The manager's tables as JSON for the HTTP side.

use serde::Serialize;
use serde_json::{Value, json};
use telemetry_core::catalog::{EventSpec, KeyId, KeySpec};

use super::Manager;
use crate::http::{ApiResource, ApiSource};
use crate::session::StreamInfo;

impl ApiSource for Manager {
    fn fetch(&self, resource: ApiResource) -> Value {
        match resource {
            ApiResource::Workers => workers(&self.list_streams()),
            ApiResource::Pools => table(&self.pools()),
            // Whoever follows lists knows them.
            ApiResource::Discovery => Value::Array(Vec::new()),
            ApiResource::Quarantine => table(&self.quarantine().list()),
            ApiResource::Catalog => catalog(self),
        }
    }
}

/// The workers, each with the verdict on its ledger beside the numbers it is made of; null for a stock
/// worker, of which it cannot be known.
fn workers(streams: &[StreamInfo]) -> Value {
    let mut rows = table(streams);
    for (row, stream) in rows.as_array_mut().into_iter().flatten().zip(streams) {
        row["ledger_difference"] = match stream.legacy {
            true => Value::Null,
            false => stream.ledger_difference().into(),
        };
    }
    rows
}

/// What is known of events and keys, and what workers sent beyond that: `learned` passed, `refused` did
/// not.
fn catalog(manager: &Manager) -> Value {
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
        "learned": table(&manager.learned().list()),
        "refused": table(&manager.quarantine().list()),
    })
}

/// Rows as JSON. They are plain data; what could not be written would be left out.
fn table(rows: &[impl Serialize]) -> Value {
    rows.iter()
        .filter_map(|row| serde_json::to_value(row).ok())
        .collect()
}
