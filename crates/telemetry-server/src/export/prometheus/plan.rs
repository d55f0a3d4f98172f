//! Which metrics an event becomes: families, units, buckets and labels, worked out once from the
//! catalog.
//!
//! Names are made here and nowhere else, so that no two events share a family. Nothing here counts.

use std::sync::Arc;

use prometheus_client::registry::Unit as MetricUnit;
use rustc_hash::FxHashSet;
use telemetry_core::catalog::{Catalog, EventSpec, KeySpec, MetricKind, Unit, escape};

/// Most labels of one metric besides `pool` and `worker_id`; later keys of the event are left out.
pub const MAX_LABELS: usize = 12;

/// Upper bounds of the buckets of durations, in seconds: from 10 µs, each four times the last.
pub const DURATION_BUCKETS: [f64; 12] = [
    0.000_01, 0.000_04, 0.000_16, 0.000_64, 0.002_56, 0.010_24, 0.040_96, 0.163_84, 0.655_36,
    2.621_44, 10.485_76, 41.943_04,
];

/// Upper bounds of the buckets of sizes and counts: from 1, each eight times the last.
pub const SIZE_BUCKETS: [f64; 10] = [
    1.0,
    8.0,
    64.0,
    512.0,
    4_096.0,
    32_768.0,
    262_144.0,
    2_097_152.0,
    16_777_216.0,
    134_217_728.0,
];

/// Keys that are labels of their own, or that a label must not be made of.
const NOT_LABELS: [&str; 6] = [
    "node",
    "pool_name",
    "worker_id",
    "python_pid",
    "timestamp_ns",
    "correlation_id",
];

/// Label names with a meaning of their own.
const RESERVED_LABELS: [&str; 5] = ["pool", "worker_id", "le", "quantile", "overflow"];

/// One family of metrics.
#[derive(Clone, Debug)]
pub(super) struct Family {
    /// Its name without the unit and without `_total`.
    pub(super) name: String,
    /// Appended to the name by the encoder.
    pub(super) unit: Option<MetricUnit>,
    /// One line, escaped.
    pub(super) help: String,
}

/// How one measurement of one event is exported.
#[derive(Debug)]
pub(super) struct Measure {
    /// The measurement key.
    pub(super) key: Arc<str>,
    pub(super) kind: MetricKind,
    /// What a value is multiplied with to get the metric's unit.
    pub(super) scale: f64,
    /// Bounds of a histogram's buckets, the infinite one not included.
    pub(super) buckets: &'static [f64],
    pub(super) family: Family,
}

/// How one event is exported.
#[derive(Debug)]
pub(super) struct Plan {
    /// The counter of the events themselves.
    pub(super) events: Family,
    pub(super) measures: Vec<Measure>,
    /// Metadata key and label name.
    pub(super) labels: Vec<(Arc<str>, String)>,
}

/// The plan of every event of the catalog, by the event's id.
pub(super) fn plans(catalog: &Catalog) -> Vec<Plan> {
    let mut taken = FxHashSet::default();
    catalog
        .events()
        .iter()
        .map(|event| plan(event, catalog, &mut taken))
        .collect()
}

fn plan(event: &EventSpec, catalog: &Catalog, taken: &mut FxHashSet<String>) -> Plan {
    let mut base = metric_name(&event.name);
    let measures: Vec<(&KeySpec, MetricKind)> = event
        .measurements
        .iter()
        .filter_map(|id| catalog.measurement_keys().get(id.index()))
        .map(|key| (key, event.metric_kind(key)))
        .filter(|(_, kind)| *kind != MetricKind::None)
        .collect();
    // `a.b_c` and `a.b-c` both become `a_b_c`. The later one is told apart by its id.
    let names = |base: &str| -> Vec<String> {
        let measured = measures.iter().map(|(key, kind)| {
            let (suffix, unit, _) = form(key);
            full_name(&format!("{base}{suffix}"), unit.as_ref(), *kind)
        });
        measured.chain([format!("{base}_events_total")]).collect()
    };
    if names(&base).iter().any(|name| taken.contains(name)) {
        base = format!("{base}_e{}", event.id.index());
    }
    taken.extend(names(&base));

    let doc = help_text(&event.doc);
    let measure = |(key, kind): &(&KeySpec, MetricKind)| {
        let (suffix, unit, scale) = form(key);
        let family = Family {
            name: format!("{base}{suffix}"),
            unit,
            help: format!("{} of {}: {doc}", help_text(&key.name), event.name),
        };
        let buckets: &'static [f64] = match key.unit {
            Unit::Nanoseconds | Unit::Milliseconds | Unit::Seconds => &DURATION_BUCKETS,
            _ => &SIZE_BUCKETS,
        };
        Measure {
            key: Arc::clone(&key.name),
            kind: *kind,
            scale,
            buckets,
            family,
        }
    };
    Plan {
        events: Family {
            name: format!("{base}_events"),
            unit: None,
            help: format!("Events {}: {doc}", event.name),
        },
        measures: measures.iter().map(measure).collect(),
        labels: labels(event, catalog),
    }
}

/// What follows the event in the metric's name, its unit, and the factor to get there.
fn form(key: &KeySpec) -> (String, Option<MetricUnit>, f64) {
    let name = metric_name(&key.name);
    let (stem, unit, scale) = match key.unit {
        Unit::Nanoseconds => (name.as_str(), Some(MetricUnit::Seconds), 1e-9),
        Unit::Milliseconds => (
            name.strip_suffix("_ms").unwrap_or(&name),
            Some(MetricUnit::Seconds),
            1e-3,
        ),
        Unit::Seconds => {
            let stem = trim_unit(&name, "seconds");
            let stem = stem.strip_suffix("_s").unwrap_or(stem);
            (stem, Some(MetricUnit::Seconds), 1.0)
        }
        Unit::Ratio => (trim_unit(&name, "ratio"), Some(MetricUnit::Ratios), 1.0),
        Unit::Bytes => (trim_unit(&name, "bytes"), Some(MetricUnit::Bytes), 1.0),
        Unit::Percent => (trim_unit(&name, "percent"), Some(MetricUnit::Ratios), 0.01),
        Unit::Celsius => (trim_unit(&name, "celsius"), Some(MetricUnit::Celsius), 1.0),
        Unit::Watts => (
            trim_unit(&name, "watts"),
            Some(MetricUnit::Other("watts".to_owned())),
            1.0,
        ),
        // `_count` belongs to histograms.
        Unit::Count if name == "count" => ("counted", None, 1.0),
        _ => (
            name.strip_suffix("_count")
                .map_or(name.as_str(), |stem| stem),
            None,
            1.0,
        ),
    };
    let counted = matches!(key.unit, Unit::Count) && name.ends_with("_count");
    let suffix = match (stem.is_empty(), counted) {
        (true, _) => String::new(),
        (false, false) => format!("_{stem}"),
        (false, true) => format!("_{stem}_counted"),
    };
    (suffix, unit, scale)
}

/// `rss_bytes` → `rss`, `bytes` → nothing, `request_size` as it is.
fn trim_unit<'n>(name: &'n str, unit: &str) -> &'n str {
    let stem = name.strip_suffix(unit).unwrap_or(name);
    stem.strip_suffix('_').unwrap_or(stem)
}

/// The name a sample has, or a histogram's family.
fn full_name(stem: &str, unit: Option<&MetricUnit>, kind: MetricKind) -> String {
    let unit = unit
        .map(|unit| format!("_{}", unit.as_str()))
        .unwrap_or_default();
    let total = if kind == MetricKind::Counter {
        "_total"
    } else {
        ""
    };
    format!("{stem}{unit}{total}")
}

/// The name with everything that is not allowed in a metric turned into `_`.
fn metric_name(name: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    name.chars().map(allowed).collect()
}

/// One line of help: no control characters, and the backslashes that escaping leaves escaped.
fn help_text(text: &str) -> String {
    escape(text).replace('\\', "\\\\").replace('"', "'")
}

fn labels(event: &EventSpec, catalog: &Catalog) -> Vec<(Arc<str>, String)> {
    let mut labels: Vec<(Arc<str>, String)> = Vec::new();
    let keys = event
        .metadata
        .iter()
        .filter_map(|id| catalog.metadata_keys().get(id.index()));
    for key in keys
        .filter(|key| key.label && !NOT_LABELS.contains(&&*key.name))
        .take(MAX_LABELS)
    {
        let mut name = metric_name(&key.name);
        if name.starts_with(|c: char| c.is_ascii_digit() || c == '_') {
            name.insert_str(0, "label_");
        }
        while RESERVED_LABELS.contains(&&*name) || labels.iter().any(|(_, other)| *other == name) {
            name.push('_');
        }
        labels.push((Arc::clone(&key.name), name));
    }
    labels
}
