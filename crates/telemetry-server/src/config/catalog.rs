//! `[catalog]`: the user's events, spans and keys on top of the built-in ones, and what becomes of those
//! that are in neither.

use std::sync::Arc;

use telemetry_core::catalog::{Catalog, Label, MetricKind, Unit};

use super::error::ConfigError;
use super::section::Section;
use crate::pipeline::CatalogMode;

/// Kinds of metric by their words.
const KINDS: [MetricKind; 4] = [
    MetricKind::Counter,
    MetricKind::Histogram,
    MetricKind::Gauge,
    MetricKind::None,
];

/// What becomes of events that the catalog does not have.
pub(super) fn mode(
    section: &Section<'_>,
    key: &'static str,
) -> Result<Option<CatalogMode>, ConfigError> {
    section.parsed(key, |word| match word {
        "observe" => Ok(CatalogMode::Observe),
        "enforce" => Ok(CatalogMode::Enforce),
        _ => Err(format!(
            "{word:?} is not allowed; it must be \"observe\" or \"enforce\""
        )),
    })
}

/// The built-in catalog with what the section adds, and what holds for pools that say nothing else.
pub(super) fn read(
    section: Option<&Section<'_>>,
) -> Result<(Arc<Catalog>, CatalogMode), ConfigError> {
    let Some(section) = section else {
        return Ok((Arc::clone(Catalog::builtin()), CatalogMode::default()));
    };
    let mode = mode(section, "mode")?.unwrap_or_default();
    let mut builder = Catalog::builder();
    if let Some(keys) = section.section("keys")? {
        for (name, key) in keys.entries()? {
            let unit = key.parsed("unit", str::parse::<Unit>)?;
            let kind = key.parsed("kind", kind)?;
            let label = key.flag("label")?;
            let buckets = key.numbers("buckets")?;
            key.finish()?;
            if unit.is_none() && (kind.is_some() || label.is_none() && buckets.is_none()) {
                return Err(key.refuse(format!(
                    "key {name:?} needs `unit` (and perhaps `kind`) to be a measurement, `label` to be \
                     metadata, or both; one that is built in may have `buckets` alone"
                )));
            }
            if let Some(unit) = unit {
                let kind = kind.unwrap_or_else(|| unit.default_kind());
                builder = builder.measurement_key_as(name, unit, kind);
            }
            if let Some(bounds) = buckets {
                builder = builder.buckets(name, &bounds);
            }
            if let Some(label) = label {
                builder = builder.metadata_key(name, if label { Label::Yes } else { Label::No });
            }
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
    let catalog = builder
        .build()
        .map_err(|problem| section.refuse(format!("[catalog]: {problem}")))?;
    Ok((catalog, mode))
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
