//! A catalog as `/api/catalog` describes it, wherever it is from.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use telemetry_core::catalog::Catalog;
use telemetry_server::{api::described, config::Config};

use super::text;
use crate::api::{Api, block_on};
use crate::failure::Failure;
use crate::running::Running;

/// Events and keys, and what was seen beyond them.
pub(super) struct Book {
    pub(super) value: Value,
}

/// The catalog of a configuration file.
pub(super) fn read_file(path: &Path) -> Result<Arc<Catalog>, Failure> {
    let content = fs::read_to_string(path).map_err(|error| {
        Failure::Usage(format!(
            "cannot read {path:?}: {error}; give a configuration file, or the address of a manager"
        ))
    })?;
    Ok(Config::parse(&content, &path.to_string_lossy())?.catalog)
}

impl Book {
    pub(super) fn of(catalog: &Catalog) -> Self {
        let value = described(catalog);
        Self { value }
    }

    /// That of a running manager.
    pub(super) fn ask(running: &Running) -> Result<Self, Failure> {
        let api = Api::of(running)?;
        let (way, answer) = block_on(api.get_all("/api/catalog"))?;
        let value = serde_json::from_slice(&answer).map_err(|error| {
            Failure::Failed(format!(
                "{way} did not answer in JSON ({error}); is it a manager?"
            ))
        })?;
        Ok(Self { value })
    }

    /// The rows of one of its tables.
    pub(super) fn rows(&self, table: &str) -> impl Iterator<Item = &Value> {
        self.value[table].as_array().into_iter().flatten()
    }

    /// Unit and kind of a measurement that it has.
    pub(super) fn measurement(&self, key: &str) -> Option<(&str, &str)> {
        let row = self.rows("measurements").find(|row| row["key"] == key)?;
        Some((text(row, "unit"), text(row, "kind")))
    }

    /// Buckets of a measurement, as a list of TOML.
    pub(super) fn buckets(&self, key: &str) -> Option<String> {
        let row = self.rows("measurements").find(|row| row["key"] == key)?;
        row["buckets"]
            .is_array()
            .then(|| row["buckets"].to_string())
    }

    pub(super) fn is_label(&self, key: &str) -> bool {
        let mut rows = self.rows("metadata");
        rows.any(|row| row["key"] == key && row["label"] == true)
    }

    /// The measurements of one of its events, each with unit and kind.
    pub(super) fn measurements_of<'b>(
        &'b self,
        event: &'b Value,
    ) -> impl Iterator<Item = (&'b str, (&'b str, &'b str))> {
        let keys = event["measurements"].as_array().into_iter().flatten();
        keys.map(|key| match key.as_str() {
            Some(name) => (name, self.measurement(name).unwrap_or_default()),
            None => (text(key, "key"), (text(key, "unit"), text(key, "kind"))),
        })
    }

    /// The metadata of one of its events.
    pub(super) fn metadata_of<'b>(&self, event: &'b Value) -> impl Iterator<Item = &'b str> {
        let keys = event["metadata"].as_array().into_iter().flatten();
        keys.filter_map(Value::as_str)
    }
}
