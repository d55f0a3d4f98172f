//! `[catalog]`: the user's events, spans and keys on top of the built-in ones.

use std::sync::Arc;

use telemetry_core::catalog::{Catalog, Label, MetricKind, Unit};

use super::error::ConfigError;
use super::section::Section;

/// Kinds of metric by their words.
const KINDS: [MetricKind; 4] = [
    MetricKind::Counter,
    MetricKind::Histogram,
    MetricKind::Gauge,
    MetricKind::None,
];

/// The built-in catalog, with what the section adds.
pub(super) fn read(section: Option<&Section<'_>>) -> Result<Arc<Catalog>, ConfigError> {
    let Some(section) = section else {
        return Ok(Arc::clone(Catalog::builtin()));
    };
    let mut builder = Catalog::builder();
    if let Some(keys) = section.section("keys")? {
        for (name, key) in keys.entries()? {
            let unit = key.parsed("unit", str::parse::<Unit>)?;
            let kind = key.parsed("kind", kind)?;
            let label = key.flag("label")?;
            key.finish()?;
            builder = match (unit, kind, label) {
                (Some(unit), Some(kind), None) => builder.measurement_key_as(name, unit, kind),
                (Some(unit), None, None) => builder.measurement_key(name, unit),
                (None, None, Some(label)) => {
                    builder.metadata_key(name, if label { Label::Yes } else { Label::No })
                }
                _ => {
                    return Err(key.refuse(format!(
                        "key {name:?} needs `unit` (and perhaps `kind`) to be a measurement, \
                         or `label` alone to be metadata"
                    )));
                }
            };
        }
    }
    for (table, span) in [("events", false), ("spans", true)] {
        let Some(events) = section.section(table)? else {
            continue;
        };
        for (name, event) in events.entries()? {
            let measurements = event.list("measurements")?.unwrap_or_default();
            let metadata = event.list("metadata")?.unwrap_or_default();
            event.finish()?;
            let measurements: Vec<&str> = measurements.iter().map(String::as_str).collect();
            let metadata: Vec<&str> = metadata.iter().map(String::as_str).collect();
            builder = if span {
                builder.span(name, &measurements, &metadata)
            } else {
                builder.event(name, &measurements, &metadata)
            };
        }
    }
    section.finish()?;
    builder
        .build()
        .map_err(|problem| section.refuse(format!("[catalog]: {problem}")))
}

fn kind(word: &str) -> Result<MetricKind, String> {
    KINDS
        .into_iter()
        .find(|kind| kind.as_str() == word)
        .ok_or_else(|| {
            let allowed = KINDS.map(MetricKind::as_str).join(", ");
            format!("unknown kind {word:?}; allowed: {allowed}")
        })
}
