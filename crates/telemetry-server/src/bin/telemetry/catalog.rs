//! `telemetry catalog`: the events and keys that a manager knows.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use telemetry_core::catalog::Catalog;
use telemetry_server::config::Config;

use crate::failure::Failure;

/// Prints the built-in catalog, or that of a configuration file.
pub(crate) fn run(markdown: bool, config: Option<&Path>) -> Result<(), Failure> {
    let catalog = match config {
        Some(path) => Config::load(path)?.catalog,
        None => Arc::clone(Catalog::builtin()),
    };
    let mut out = io::stdout().lock();
    if markdown {
        out.write_all(catalog.to_markdown().as_bytes())?;
        return Ok(());
    }
    for event in catalog.events() {
        let wire = event
            .wire_name
            .as_deref()
            .map_or(String::new(), |wire| format!("  (wire {wire})"));
        writeln!(out, "{:<52} {}{wire}", event.name, event.origin.as_str())?;
    }
    for key in catalog.measurement_keys() {
        let (unit, kind) = (key.unit.as_str(), key.kind.as_str());
        writeln!(out, "{:<52} measurement  ({unit}, {kind})", key.name)?;
    }
    for key in catalog.metadata_keys() {
        let label = if key.label { "  (label)" } else { "" };
        writeln!(out, "{:<52} metadata{label}", key.name)?;
    }
    Ok(())
}
