//! The keys of measurements and metadata: their units, how an exporter shows them, and the two
//! built-in tables.
//!
//! The tables are the single source for every key this project uses; the Python enums, the
//! documents and the exporters read them through the catalog. This file knows nothing about events.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Position of a key in its table. Measurements and metadata have a table each: the same number
/// means different keys in them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
pub struct KeyId(pub(crate) u16);

impl KeyId {
    /// The id as an index into [`Catalog::measurement_keys`](super::Catalog::measurement_keys) or
    /// [`Catalog::metadata_keys`](super::Catalog::metadata_keys).
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// What the number of a measurement counts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Unit {
    /// A span of time in nanoseconds, from a monotonic clock.
    Nanoseconds,
    /// A span of time in milliseconds.
    Milliseconds,
    /// A span of time in seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// A number of things.
    Count,
    /// Percent; of one core where it is about CPU time.
    Percent,
    /// A share: 1 is all of it.
    Ratio,
    /// Degrees Celsius.
    Celsius,
    /// Watts.
    Watts,
    /// A point in time: nanoseconds since the Unix epoch.
    UnixNanoseconds,
    /// No unit: an ordinal, an id, or text.
    None,
}

impl Unit {
    /// Every unit, for messages that list what is allowed.
    pub const ALL: [Self; 11] = [
        Self::Nanoseconds,
        Self::Milliseconds,
        Self::Seconds,
        Self::Bytes,
        Self::Count,
        Self::Percent,
        Self::Ratio,
        Self::Celsius,
        Self::Watts,
        Self::UnixNanoseconds,
        Self::None,
    ];

    /// The word used in configuration, documents and JSON: `nanoseconds`, …, `none`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nanoseconds => "nanoseconds",
            Self::Milliseconds => "milliseconds",
            Self::Seconds => "seconds",
            Self::Bytes => "bytes",
            Self::Count => "count",
            Self::Percent => "percent",
            Self::Ratio => "ratio",
            Self::Celsius => "celsius",
            Self::Watts => "watts",
            Self::UnixNanoseconds => "unix_nanoseconds",
            Self::None => "none",
        }
    }

    /// How a measurement of this unit is shown unless its key says otherwise: spans of time spread
    /// out in a histogram, bytes and counts add up, levels are gauges, the rest is not a metric.
    #[must_use]
    pub fn default_kind(self) -> MetricKind {
        match self {
            Self::Nanoseconds | Self::Milliseconds | Self::Seconds => MetricKind::Histogram,
            Self::Bytes | Self::Count => MetricKind::Counter,
            Self::Percent | Self::Ratio | Self::Celsius | Self::Watts => MetricKind::Gauge,
            Self::UnixNanoseconds | Self::None => MetricKind::None,
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no [`Unit`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "unknown unit {given:?}; allowed: nanoseconds, milliseconds, seconds, bytes, count, percent, ratio, \
     celsius, watts, unix_nanoseconds, none"
)]
#[non_exhaustive]
pub struct UnknownUnit {
    /// The word as it was given.
    pub given: String,
}

impl FromStr for Unit {
    type Err = UnknownUnit;

    fn from_str(text: &str) -> Result<Self, UnknownUnit> {
        let known = Self::ALL.into_iter().find(|unit| unit.as_str() == text);
        known.ok_or_else(|| UnknownUnit {
            given: text.to_owned(),
        })
    }
}

/// How a metrics exporter should expose a measurement.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MetricKind {
    /// Add the value up.
    Counter,
    /// Observe the value in buckets.
    Histogram,
    /// Keep the last value.
    Gauge,
    /// Not a metric: a point in time, an id, an ordinal, or text.
    None,
}

impl MetricKind {
    /// The word used in configuration, documents and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Histogram => "histogram",
            Self::Gauge => "gauge",
            Self::None => "none",
        }
    }
}

impl fmt::Display for MetricKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether a metadata key may become a label of a metric.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Label {
    /// Its values are few by nature.
    Yes,
    /// Its values are ids, free text or numbers: a label of it would grow without end.
    No,
}

/// One key of the catalog.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct KeySpec {
    /// Index in its table.
    pub id: KeyId,
    /// The key: `duration`, `error_type`.
    pub name: Arc<str>,
    /// What the value counts.
    pub unit: Unit,
    /// How a metrics exporter shows it. Always [`MetricKind::None`] for a metadata key.
    pub kind: MetricKind,
    /// Whether it may be a label of a metric. Always false for a measurement key.
    pub label: bool,
    /// Upper bounds of the buckets of its histogram, in its unit; `None` leaves them to the exporter.
    pub buckets: Option<Arc<[f64]>>,
}

/// A row of [`MEASUREMENTS`]: key, unit, and how it is shown.
pub(super) type MeasurementRow = (&'static str, Unit, MetricKind);

/// A row of [`METADATA`]: key, unit, and whether it may be a label.
pub(super) type MetadataRow = (&'static str, Unit, Label);

/// Every built-in measurement key.
///
/// `restart_count` and `retry_count` are running numbers, which must not be added up. `generation`,
/// `sequence_number` and `python_pid` are not quantities.
pub(super) static MEASUREMENTS: &[MeasurementRow] = {
    use MetricKind::{Counter, Gauge, Histogram};
    use Unit::{Bytes, Celsius, Count, Milliseconds, Nanoseconds, Percent, UnixNanoseconds, Watts};
    &[
        ("duration", Nanoseconds, Histogram),
        ("duration_ms", Milliseconds, Histogram),
        ("bytes", Bytes, Counter),
        ("system_time", UnixNanoseconds, MetricKind::None),
        ("queue_depth", Count, Gauge),
        ("queue_time", Nanoseconds, Histogram),
        ("available_workers", Count, Gauge),
        ("busy_workers", Count, Gauge),
        ("total_workers", Count, Gauge),
        ("worker_count", Count, Gauge),
        ("lifetime", Nanoseconds, Histogram),
        ("total_commands", Count, Counter),
        ("command_count", Count, Counter),
        ("downtime", Nanoseconds, Histogram),
        ("restart_count", Count, Gauge),
        ("retry_count", Count, Gauge),
        ("request_size", Bytes, Counter),
        ("response_size", Bytes, Counter),
        ("message_size", Bytes, Counter),
        ("sequence_number", Unit::None, MetricKind::None),
        ("message_count", Count, Counter),
        ("network_time", Nanoseconds, Histogram),
        ("uptime", Nanoseconds, Histogram),
        ("call_count", Count, Counter),
        ("affinity_duration", Nanoseconds, Histogram),
        ("commands_with_affinity", Count, Counter),
        ("rss_bytes", Bytes, Gauge),
        ("vms_bytes", Bytes, Gauge),
        ("cpu_percent", Percent, Gauge),
        ("collected", Count, Counter),
        ("generation", Unit::None, MetricKind::None),
        ("latency_ms", Milliseconds, Histogram),
        ("count", Count, Counter),
        ("python_pid", Unit::None, MetricKind::None),
        ("percent", Percent, Gauge),
        ("celsius", Celsius, Gauge),
        ("watts", Watts, Gauge),
    ]
};

/// Every built-in metadata key.
///
/// A label needs values that are few by nature: names that someone wrote in code or configuration,
/// closed sets, yes or no. `worker_id` is none: workers come and go, so an exporter that needs it
/// takes it from the event's source and forgets it with the worker. Nor is `function` (as many as
/// the code has), `handler_id` (a live tail may use one per visitor), `host` (a crawler's) or `logger` (some
/// programs make one for each thing they do).
pub(super) static METADATA: &[MetadataRow] = {
    use Label::{No, Yes};
    use Unit::{Milliseconds, None, UnixNanoseconds};
    &[
        ("node", None, Yes),
        ("pool_name", None, Yes),
        ("worker_id", None, No),
        ("session_id", None, No),
        ("command", None, Yes),
        ("correlation_id", None, No),
        ("worker_pid", None, No),
        ("python_port", None, No),
        ("python_pid", None, No),
        ("mode", None, Yes),
        ("reason", None, Yes),
        ("planned", None, Yes),
        ("previous_pid", None, No),
        ("new_pid", None, No),
        ("retry_count", Unit::Count, No),
        ("timeout_ms", Milliseconds, No),
        ("result", None, Yes),
        ("error_type", None, Yes),
        ("error_category", None, Yes),
        ("error_message", None, No),
        ("traceback", None, No),
        ("rpc_method", None, Yes),
        ("grpc_status", None, Yes),
        ("stream_id", None, No),
        ("direction", None, Yes),
        ("is_final", None, Yes),
        ("tool", None, Yes),
        ("library", None, Yes),
        ("function", None, No),
        ("python_type", None, Yes),
        ("model", None, Yes),
        ("operation", None, Yes),
        ("timestamp_ns", UnixNanoseconds, No),
        ("worker_module", None, Yes),
        ("adapter_module", None, Yes),
        ("size", Unit::Count, No),
        ("failure_reason", None, Yes),
        ("kind", None, Yes),
        ("device", None, Yes),
        ("dtype", None, Yes),
        ("shape", None, No),
        ("exit_code", None, Yes),
        ("payload_version", None, Yes),
        ("call_type", None, Yes),
        ("idempotent", None, Yes),
        ("retry", None, No),
        ("handler_id", None, No),
        ("event_name", None, Yes),
        ("trace_id", None, No),
        ("span_id", None, No),
        ("parent_span_id", None, No),
        ("method", None, Yes),
        ("route", None, Yes),
        ("status_code", None, Yes),
        ("host", None, No),
        ("task", None, Yes),
        ("queue", None, Yes),
        ("state", None, Yes),
        ("level", None, Yes),
        ("logger", None, No),
        ("message", None, No),
        ("open_spans", None, No),
    ]
};
