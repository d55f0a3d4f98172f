//! The manager's tables as JSON for the HTTP side.

use serde::Serialize;
use serde_json::Value;

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

/// Rows as JSON. They are plain data; what could not be written would be left out.
fn table(rows: &[impl Serialize]) -> Value {
    rows.iter()
        .filter_map(|row| serde_json::to_value(row).ok())
        .collect()
}
