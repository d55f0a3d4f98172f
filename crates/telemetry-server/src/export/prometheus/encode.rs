//! From series to text: merging what the shards hold, and the two formats scrapers ask for.
//!
//! prometheus-client writes the text; here it is decided which families there are, in which order,
//! and that one source that fails spoils nothing else.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode_registry;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabel, EncodeLabelSet, LabelSetEncoder, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use telemetry_core::catalog::{MetricKind, escape};

use super::plan::{Family, Plan};
use super::series::{Cell, Series};

/// Somebody who has counters of their own to show in `/metrics`.
///
/// Called on whoever scrapes, once for each scrape; a source that fails, or panics, is left out of
/// that scrape. A family's name must be its own: two sources with the same family make an
/// exposition that strict parsers refuse.
pub trait MetricSource: Send + Sync {
    /// Writes all families with all their metrics.
    ///
    /// # Errors
    ///
    /// What the encoder returned.
    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result;
}

/// No metrics at all.
impl MetricSource for () {
    fn encode(&self, _encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        Ok(())
    }
}

impl<S: MetricSource + ?Sized> MetricSource for Arc<S> {
    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        (**self).encode(encoder)
    }
}

/// The two text formats.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum ExpositionFormat {
    /// OpenMetrics 1.0.
    #[default]
    OpenMetrics,
    /// The older Prometheus text format, 0.0.4.
    Prometheus,
}

impl ExpositionFormat {
    /// The value of the `Content-Type` header.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// The format that an `Accept` header asks for: OpenMetrics where it is named, the older one
    /// otherwise, which every scraper reads. Weights are not looked at.
    #[must_use]
    pub fn of_accept(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }
}

/// Labels of a merged series.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Key {
    /// A series of a worker, or of a pool.
    Of {
        pool: String,
        worker: String,
        /// In the order of the plan; empty ones are not shown.
        labels: Vec<String>,
    },
    /// What found no room.
    Overflow,
}

/// All series of one event, merged.
pub(super) type Merged = BTreeMap<Key, Series>;

/// The labels of one series, as the encoder wants them.
struct Labels<'l> {
    key: &'l Key,
    plan: &'l Plan,
}

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        let mut label = |name: &str, value: &str| {
            if value.is_empty() {
                Ok(())
            } else {
                (name, value).encode(encoder.encode_label())
            }
        };
        match self.key {
            Key::Overflow => label("overflow", "true"),
            Key::Of {
                pool,
                worker,
                labels,
            } => {
                label("pool", pool)?;
                label("worker_id", worker)?;
                let named = self.plan.labels.iter().zip(labels);
                named
                    .into_iter()
                    .try_for_each(|((_, name), value)| label(name, value))
            }
        }
    }
}

impl Key {
    /// Has `write` write one metric of the family with these labels.
    fn write(
        &self,
        family: &mut MetricEncoder<'_>,
        plan: &Plan,
        write: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        let none = match self {
            Self::Overflow => false,
            Self::Of {
                pool,
                worker,
                labels,
            } => pool.is_empty() && worker.is_empty() && labels.iter().all(String::is_empty),
        };
        // The encoder would write an empty pair of braces.
        if none {
            write(family)
        } else {
            write(&mut family.encode_family(&Labels { key: self, plan })?)
        }
    }
}

/// Writes all families of one event.
pub(super) fn encode_event(
    encoder: &mut DescriptorEncoder<'_>,
    plan: &Plan,
    merged: &Merged,
) -> fmt::Result {
    let mut events = descriptor(encoder, &plan.events, MetricType::Counter)?;
    for (key, series) in merged {
        key.write(&mut events, plan, |metric| counter(metric, series.events))?;
    }
    for (place, measure) in plan.measures.iter().enumerate() {
        let kind = match measure.kind {
            MetricKind::Histogram => MetricType::Histogram,
            MetricKind::Gauge => MetricType::Gauge,
            _ => MetricType::Counter,
        };
        let cells = merged
            .iter()
            .map(|(key, series)| (key, &series.cells[place]));
        let shown: Vec<_> = cells
            .filter(|(_, cell)| !matches!(cell, Cell::Gauge(None)))
            .collect();
        if shown.is_empty() {
            continue;
        }
        let mut family = descriptor(encoder, &measure.family, kind)?;
        for (key, cell) in shown {
            key.write(&mut family, plan, |metric| match cell {
                Cell::Counter(sum) => metric.encode_counter::<NoLabelSet, f64, f64>(sum, None),
                Cell::Gauge(level) => metric.encode_gauge(&level.unwrap_or_default()),
                Cell::Histogram { buckets, sum } => {
                    let bounds = measure.buckets.iter().copied().chain([f64::INFINITY]);
                    let rows: Vec<(f64, u64)> = bounds.zip(buckets.iter().copied()).collect();
                    let count = buckets.iter().sum();
                    metric.encode_histogram::<NoLabelSet>(*sum, count, &rows, None)
                }
            })?;
        }
    }
    Ok(())
}

fn descriptor<'e>(
    encoder: &'e mut DescriptorEncoder<'_>,
    family: &'e Family,
    kind: MetricType,
) -> Result<MetricEncoder<'e>, fmt::Error> {
    encoder.encode_descriptor(&family.name, &family.help, family.unit.as_ref(), kind)
}

fn counter(metric: &mut MetricEncoder<'_>, count: u64) -> fmt::Result {
    metric.encode_counter::<NoLabelSet, u64, f64>(&count, None)
}

/// Writes a family of counters. `name` comes without `_total`; label values are escaped here, and a
/// label with an empty value is the same as none. No rows, no family.
pub(crate) fn encode_counters<L: AsRef<str>>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    rows: &[(Vec<(&str, L)>, u64)],
) -> fmt::Result {
    encode_rows(
        encoder,
        name,
        help,
        MetricType::Counter,
        rows,
        |metric, count| counter(metric, *count),
    )
}

/// Writes a family of gauges; see [`encode_counters`].
pub(crate) fn encode_gauges<L: AsRef<str>>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    rows: &[(Vec<(&str, L)>, f64)],
) -> fmt::Result {
    encode_rows(
        encoder,
        name,
        help,
        MetricType::Gauge,
        rows,
        |metric, level| metric.encode_gauge(level),
    )
}

fn encode_rows<L: AsRef<str>, V>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    kind: MetricType,
    rows: &[(Vec<(&str, L)>, V)],
    write: impl Fn(&mut MetricEncoder<'_>, &V) -> fmt::Result,
) -> fmt::Result {
    if rows.is_empty() {
        return Ok(());
    }
    let mut family = encoder.encode_descriptor(name, help, None, kind)?;
    for (labels, value) in rows {
        let given = labels
            .iter()
            .filter(|(_, value)| !value.as_ref().is_empty());
        let labels: Vec<(&str, String)> = given
            .map(|(name, value)| (*name, escape(value.as_ref()).into_owned()))
            .collect();
        if labels.is_empty() {
            write(&mut family, value)?;
        } else {
            write(&mut family.encode_family(&labels.as_slice())?, value)?;
        }
    }
    Ok(())
}

/// Runs `write` against an encoder of its own and appends what it wrote, if it succeeded.
pub(super) fn append(
    text: &mut String,
    write: impl FnOnce(&mut DescriptorEncoder<'_>) -> fmt::Result + Send + 'static,
) {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Once(Mutex::new(Some(Box::new(write))))));
    let mut part = String::new();
    match catch_unwind(AssertUnwindSafe(|| encode_registry(&mut part, &registry))) {
        Ok(Ok(())) => text.push_str(&part),
        Ok(Err(_)) => tracing::warn!("a metric source failed and is missing from this scrape"),
        Err(payload) => {
            tracing::warn!("a metric source panicked and is missing from this scrape");
            // Its destructor might panic as well.
            std::mem::forget(payload);
        }
    }
}

type Write1 = Box<dyn FnOnce(&mut DescriptorEncoder<'_>) -> fmt::Result + Send>;

/// A collector for one scrape: prometheus-client hands out encoders only through a registry.
struct Once(Mutex<Option<Write1>>);

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Once")
    }
}

impl Collector for Once {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let write = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        write.map_or(Ok(()), |write| write(&mut encoder))
    }
}

/// OpenMetrics text (without its end mark) as the older format: there the sample's name, with
/// `_total`, is the family's, and units are unknown.
pub(super) fn to_prometheus(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut help = None;
    for line in open_metrics.lines() {
        if line.starts_with("# HELP ") {
            help = Some(line);
        } else if let Some(family) = line.strip_prefix("# TYPE ") {
            let (name, kind) = family.split_once(' ').unwrap_or((family, "untyped"));
            let suffix = if kind == "counter" { "_total" } else { "" };
            let described = help.take().and_then(|line| line.strip_prefix("# HELP "));
            if let Some((_, what)) = described.and_then(|line| line.split_once(' ')) {
                // Writing into a string cannot fail.
                let _ = writeln!(text, "# HELP {name}{suffix} {what}");
            }
            let kind = if kind == "unknown" { "untyped" } else { kind };
            let _ = writeln!(text, "# TYPE {name}{suffix} {kind}");
        } else if !line.starts_with('#') {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}
