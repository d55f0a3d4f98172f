//! Events by name: those that are known, those that were seen, and names that nobody knows.

use std::collections::BTreeMap;

use serde::Serialize;
use telemetry_core::catalog::{Catalog, EventSpec, KeySpec};

use super::Row;
use crate::pipeline::{LearnedEvent, QuarantinedName};

/// An event that was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct Event {
    /// What handlers see.
    pub name: String,
    /// What a worker sends; left out of an event that no worker may send.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wire_name: Option<String>,
    /// How many were counted since the manager started.
    pub count: u64,
    /// Whether the catalog does not have it, and it was learned from what workers sent; left out where it has.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub learned: bool,
}

impl Event {
    /// An event of the catalog, and how many were counted.
    #[must_use]
    pub fn new(spec: &EventSpec, count: u64) -> Self {
        Self {
            name: spec.name.to_string(),
            wire_name: spec.wire_name.as_deref().map(str::to_owned),
            count,
            learned: false,
        }
    }

    /// Adds what was learned, over all pools.
    pub(crate) fn add_learned(events: &mut Vec<Self>, learned: Vec<LearnedEvent>) {
        let mut sums = BTreeMap::new();
        for event in learned.into_iter().filter(|it| !it.known) {
            let (count, _) = sums.entry(event.name).or_insert((0_u64, event.wire_name));
            *count = count.saturating_add(event.count);
        }
        events.extend(sums.into_iter().map(|(name, (count, wire_name))| Self {
            name,
            wire_name: Some(wire_name),
            count,
            learned: true,
        }));
    }
}

impl Row for Event {
    const SORTS: &'static [&'static str] = &["name", "count"];

    fn name(&self) -> &str {
        &self.name
    }

    fn other_name(&self) -> Option<&str> {
        self.wire_name.as_deref()
    }

    fn number(&self, _sort: &str) -> u64 {
        self.count
    }
}

/// A key that an event is documented to carry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct CatalogKey {
    /// The key.
    pub name: String,
    /// What a measurement counts; left out of metadata.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// How a measurement is shown as a metric; left out of metadata.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Whether metadata becomes a label of a metric; left out where it does not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub label: bool,
}

/// An event of the catalog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct CatalogEntry {
    /// What handlers see.
    pub name: String,
    /// What a worker sends; left out of an event that no worker may send.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wire_name: Option<String>,
    /// Who may emit it: `worker`, `manager`, `host` or `dispatcher`.
    pub origin: String,
    /// When it is emitted, in one sentence.
    pub about: String,
    /// The measurements that it is documented to carry.
    pub measurements: Vec<CatalogKey>,
    /// The metadata that it is documented to carry, besides what the manager adds.
    pub metadata: Vec<CatalogKey>,
}

impl CatalogEntry {
    /// An event of a catalog.
    #[must_use]
    pub fn of(spec: &EventSpec, catalog: &Catalog) -> Self {
        let measurement = |key: &KeySpec| CatalogKey {
            name: key.name.to_string(),
            unit: Some(key.unit.as_str().to_owned()),
            kind: Some(spec.metric_kind(key).as_str().to_owned()),
            label: false,
        };
        let metadata = |key: &KeySpec| CatalogKey {
            name: key.name.to_string(),
            unit: None,
            kind: None,
            label: key.label,
        };
        let measurements = spec.measurements.iter();
        let measurements = measurements.filter_map(|id| catalog.measurement_keys().get(id.index()));
        let metadatas = spec.metadata.iter();
        let metadatas = metadatas.filter_map(|id| catalog.metadata_keys().get(id.index()));
        Self {
            name: spec.name.to_string(),
            wire_name: spec.wire_name.as_deref().map(str::to_owned),
            origin: spec.origin.as_str().to_owned(),
            about: spec.doc.clone().into_owned(),
            measurements: measurements.map(measurement).collect(),
            metadata: metadatas.map(metadata).collect(),
        }
    }
}

impl Row for CatalogEntry {
    const SORTS: &'static [&'static str] = &["name"];

    fn name(&self) -> &str {
        &self.name
    }

    fn other_name(&self) -> Option<&str> {
        self.wire_name.as_deref()
    }

    fn number(&self, _sort: &str) -> u64 {
        0
    }
}

/// A name that workers sent and the catalog does not know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct Quarantined {
    /// The wire name, cut and escaped; `…` stands for all beyond the bound.
    pub name: String,
    /// Events rejected under it.
    pub count: u64,
    /// When the first one came.
    pub first_seen_ns: i64,
    /// When the last one came.
    pub last_seen_ns: i64,
    /// The wire name that was probably meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
}

impl From<QuarantinedName> for Quarantined {
    fn from(name: QuarantinedName) -> Self {
        Self {
            name: name.name,
            count: name.count,
            first_seen_ns: name.first_seen_ns,
            last_seen_ns: name.last_seen_ns,
            suggestion: name.suggestion,
        }
    }
}

impl Row for Quarantined {
    const SORTS: &'static [&'static str] = &["name", "count", "last_seen"];

    fn name(&self) -> &str {
        &self.name
    }

    fn number(&self, sort: &str) -> u64 {
        match sort {
            "count" => self.count,
            _ => u64::try_from(self.last_seen_ns).unwrap_or(0),
        }
    }
}
