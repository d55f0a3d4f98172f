//! The manager's tables as JSON for the HTTP side.

use serde::Serialize;
use serde_json::Value;

use super::Manager;
use crate::http::{ApiResource, ApiSource};

impl ApiSource for Manager {
    fn fetch(&self, resource: ApiResource) -> Value {
        match resource {
            ApiResource::Workers => table(&self.list_streams()),
            ApiResource::Pools => table(&self.pools()),
            ApiResource::Quarantine => table(&self.quarantine().list()),
        }
    }
}

/// Rows as JSON. They are plain data; what could not be written would be left out.
fn table(rows: &[impl Serialize]) -> Value {
    rows.iter()
        .filter_map(|row| serde_json::to_value(row).ok())
        .collect()
}
