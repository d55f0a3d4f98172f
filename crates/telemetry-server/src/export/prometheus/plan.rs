//! Which metrics an event becomes: families, units, buckets and labels, worked out once from the
//! catalog.
//!
//! Names are made here and nowhere else, so that no two events share a family. Nothing here counts.

use std::borrow::Cow;
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
    pub(super) buckets: Cow<'static, [f64]>,
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
///
/// Names that look alike (`a.b_c`, `a.b-c`) are told apart by the event names alone: one that is built in comes
/// before others, and of others the first in their order has the name as it is; the next ones have a hash of
/// their own name at the end. So nothing but an event that looks alike changes a name, however many are added.
pub(super) fn plans(catalog: &Catalog) -> Vec<Plan> {
    let mut taken = FxHashSet::default();
    let mut ordered: Vec<&EventSpec> = catalog.events().iter().collect();
    let builtin = Catalog::builtin();
    ordered.sort_by_key(|event| match builtin.by_name(&event.name) {
        Some(known) => (known.id.index(), ""),
        None => (usize::MAX, &*event.name),
    });
    let planned = ordered.into_iter();
    let planned = planned.map(|event| (event.id.index(), plan(event, catalog, &mut taken)));
    let mut planned: Vec<(usize, Plan)> = planned.collect();
    planned.sort_by_key(|(index, _)| *index);
    planned.into_iter().map(|(_, plan)| plan).collect()
}

fn plan(event: &EventSpec, catalog: &Catalog, taken: &mut FxHashSet<String>) -> Plan {
    let mut measures: Vec<(&KeySpec, MetricKind)> = event
        .measurements
        .iter()
        .filter_map(|id| catalog.measurement_keys().get(id.index()))
        .map(|key| (key, event.metric_kind(key)))
        .filter(|(_, kind)| *kind != MetricKind::None)
        .collect();
    let mut base = metric_name(&event.name);
    let name_of = |base: &str, (key, kind): &(&KeySpec, MetricKind)| {
        let (suffix, unit, _) = form(key);
        full_name(&format!("{base}{suffix}"), unit.as_ref(), *kind)
    };
    let count_of = |base: &str| format!("{base}_events_total");
    let is_taken = |base: &str| {
        let mut names = measures.iter().map(|measure| name_of(base, measure));
        taken.contains(&count_of(base)) || names.any(|name| taken.contains(&name))
    };
    if is_taken(&base) {
        base = format!("{base}_{}", short_hash(&event.name));
    }
    taken.insert(count_of(&base));
    // Of keys that look alike (`size`, `size_bytes`) the same: the first in their order has the name as it is.
    measures.sort_by(|(one, _), (other, _)| one.name.cmp(&other.name));

    let doc = help_text(&event.doc);
    let measure = |(key, kind): &(&KeySpec, MetricKind)| {
        let (mut suffix, unit, scale) = form(key);
        if !taken.insert(name_of(&base, &(*key, *kind))) {
            suffix = format!("{suffix}_{}", short_hash(&key.name));
        }
        let family = Family {
            name: format!("{base}{suffix}"),
            unit,
            help: format!("{} of {}: {doc}", help_text(&key.name), event.name),
        };
        let buckets = match (&key.buckets, key.unit) {
            (Some(own), _) => own.iter().map(|bound| bound * scale).collect(),
            (None, Unit::Nanoseconds | Unit::Milliseconds | Unit::Seconds) => {
                Cow::Borrowed(&DURATION_BUCKETS[..])
            }
            (None, _) => Cow::Borrowed(&SIZE_BUCKETS[..]),
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

/// Eight digits that are the same for a text for ever (FNV-1a).
fn short_hash(text: &str) -> String {
    let hash = text.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    format!("{hash:08x}")
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
        // `_count` belongs to histograms, `_total` to what the encoder makes of a counter.
        Unit::Count if name == "count" => ("counted", None, 1.0),
        Unit::Count if name == "total" => ("", None, 1.0),
        Unit::Count if name.ends_with("_total") => (name.trim_end_matches("_total"), None, 1.0),
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

#[cfg(test)]
mod tests {
    use telemetry_core::catalog::CatalogBuilder;

    use super::*;

    /// The names of an event's metrics in this catalog, without those of labels.
    fn names(builder: &CatalogBuilder, wire_name: &str) -> Vec<String> {
        let catalog = builder.clone().build().expect("allowed");
        let id = catalog.by_wire_name(wire_name).expect("added").id;
        let plan = plans(&catalog).swap_remove(id.index());
        let of = |it: &Measure| full_name(&it.family.name, it.family.unit.as_ref(), it.kind);
        let events = [full_name(&plan.events.name, None, MetricKind::Counter)];
        events
            .into_iter()
            .chain(plan.measures.iter().map(of))
            .collect()
    }

    #[test]
    fn names_that_look_alike_are_told_apart_whatever_else_there_is() {
        let alike =
            Catalog::builder()
                .event("a.b_c", &["count"], &[])
                .event("a.b-c", &["count"], &[]);
        let dashed = [
            "snakepit_python_a_b_c_events_total",
            "snakepit_python_a_b_c_counted_total",
        ];
        let hash = short_hash("snakepit.python.a.b_c");
        let scored = [
            format!("snakepit_python_a_b_c_{hash}_events_total"),
            format!("snakepit_python_a_b_c_{hash}_counted_total"),
        ];
        let turned =
            Catalog::builder()
                .event("a.b-c", &["count"], &[])
                .event("a.b_c", &["count"], &[]);
        let more = turned.clone().event("z.z", &[], &[]).event("a.a", &[], &[]);
        for builder in [alike, turned, more] {
            assert_eq!(names(&builder, "a.b-c"), dashed);
            assert_eq!(names(&builder, "a.b_c"), scored);
        }
        // One that is built in comes first.
        let like = Catalog::builder().event("tool.execution-stop", &["duration"], &[]);
        let known = names(&Catalog::builder(), "tool.execution.stop");
        assert_eq!(names(&like, "tool.execution.stop"), known);
        assert!(!known.contains(&names(&like, "tool.execution-stop")[0]));
    }

    #[test]
    fn no_name_ends_twice_in_total_and_keys_that_look_alike_are_told_apart() {
        let builder = Catalog::builder()
            .measurement_key("hits_total", Unit::Count)
            .measurement_key("hits", Unit::Count)
            .measurement_key("total", Unit::Count)
            .measurement_key("events", Unit::Count)
            .event("a.b", &["total", "hits_total", "hits", "events"], &[]);
        let mut names = names(&builder, "a.b");
        let hash = short_hash("hits_total");
        let other = short_hash("events");
        names.sort_unstable();
        let expected = [
            format!("snakepit_python_a_b_events_{other}_total"),
            "snakepit_python_a_b_events_total".to_owned(),
            format!("snakepit_python_a_b_hits_{hash}_total"),
            "snakepit_python_a_b_hits_total".to_owned(),
            "snakepit_python_a_b_total".to_owned(),
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn hashes_of_names_stay_what_they_are() {
        assert_eq!(short_hash(""), "811c9dc5");
        assert_eq!(short_hash("foobar"), "bf9cf968");
    }

    #[test]
    fn units_and_buckets_of_keys_become_base_units() {
        let builder = Catalog::builder()
            .measurement_key("wait_s", Unit::Seconds)
            .measurement_key("hit_ratio", Unit::Ratio)
            .measurement_key("step_ms", Unit::Milliseconds)
            .buckets("step_ms", &[1.0, 500.0])
            .event("a.b", &["wait_s", "hit_ratio", "step_ms"], &[]);
        let catalog = builder.clone().build().expect("allowed");
        let id = catalog.by_wire_name("a.b").expect("added").id;
        let plan = plans(&catalog).swap_remove(id.index());
        let [ratio, step, wait] = &plan.measures[..] else {
            panic!("three")
        };
        assert_eq!((&*step.buckets, step.scale), (&[0.001, 0.5][..], 0.001));
        assert_eq!((&*wait.buckets, wait.scale), (&DURATION_BUCKETS[..], 1.0));
        assert_eq!((ratio.kind, ratio.scale), (MetricKind::Gauge, 1.0));
        let expected = [
            "a_b_events_total",
            "a_b_hit_ratios",
            "a_b_step_seconds",
            "a_b_wait_seconds",
        ];
        let names = names(&builder, "a.b");
        let short: Vec<_> = names
            .iter()
            .filter_map(|it| it.strip_prefix("snakepit_python_"))
            .collect();
        assert_eq!(short, expected);
    }
}
