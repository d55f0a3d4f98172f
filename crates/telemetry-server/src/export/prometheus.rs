//! The Prometheus exporter: events become counters, histograms and gauges, read by scraping.
//!
//! Counting is done in shards, one for each worker, so that streams do not meet on a lock; merging
//! is done when somebody scrapes. This room knows events, the catalog and prometheus-client's text
//! encoder; it does not serve HTTP.

mod encode;
mod handlers;
mod plan;
mod process;
mod series;
mod shard;
mod store;

use std::fmt;
use std::sync::Arc;

use telemetry_core::{
    EventRef,
    catalog::{Catalog, EventId},
};

use crate::dispatch::{Handler, HandlerError};

pub use encode::{ExpositionFormat, MetricSource};
pub(crate) use encode::{encode_counters, encode_gauges};
pub use handlers::HandlerMetrics;
pub use plan::{DURATION_BUCKETS, MAX_LABELS, SIZE_BUCKETS};
pub use process::ProcessMetrics;
pub use shard::MAX_LABEL_BYTES;
pub use store::MAX_SHARDS;

use encode::{append, to_prometheus};
use store::Store;

/// Most series of one metric, by default.
pub const DEFAULT_SERIES_LIMIT: usize = 2_000;

/// How the exporter counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct PrometheusConfig {
    /// Most series of one metric, over all workers. Events with further label values are counted in
    /// one more series, labelled `overflow="true"`, and noted as `cardinality_folded`.
    pub series_limit: usize,
}

impl Default for PrometheusConfig {
    fn default() -> Self {
        Self {
            series_limit: DEFAULT_SERIES_LIMIT,
        }
    }
}

/// Turns events into metrics. Clones share everything: attach one, scrape another.
///
/// # Metrics
///
/// Of each event that was seen, with the dots of its name turned into `_`:
///
/// * `<event>_events_total`: how often;
/// * `<event>_<measurement>_seconds`, a histogram with [`DURATION_BUCKETS`], of each duration;
/// * `<event>_<measurement>_total` of what adds up, `<event>_<measurement>_bytes_total` of bytes;
/// * `<event>_<measurement>` of levels, in base units (`_bytes`, `_ratio`s, `_celsius`, `_watts`).
///
/// `_count` is a histogram's word; a measurement `message_count` appears as `message_counted`.
/// Only measurements that the catalog documents for the event are exported, and of its metadata
/// those that the catalog marks as labels. `pool` and `worker_id` come from what the manager
/// knows, never from what the event claims.
///
/// # What is not promised
///
/// Counts are of events that arrived. A sampled event counts once, whatever its sampling rate:
/// scaling would turn counters into estimates that a change of policy bends. Values that are not
/// finite, and negative ones where values add up, are left out and counted in
/// `telemetry_prometheus_refused_values_total`.
///
/// # Where it runs
///
/// As an inline handler it takes one lock that only the worker's own stream and scrapes take. It
/// allocates when a series is new.
#[derive(Clone)]
pub struct PrometheusExporter {
    store: Arc<Store>,
}

impl PrometheusExporter {
    /// An exporter for the events of `catalog`, with nothing counted yet.
    #[must_use]
    pub fn new(catalog: Arc<Catalog>, config: PrometheusConfig) -> Self {
        Self {
            store: Arc::new(Store::new(catalog, config)),
        }
    }

    /// Has `source` asked in every scrape, after the events, in the order in which they were added.
    pub fn add_source(&self, source: impl MetricSource + 'static) {
        self.store.add_source(Arc::new(source));
    }

    /// Folds the series of a worker that is gone into those of its pool, which have no `worker_id`,
    /// so that no sum over a pool ever falls. Its gauges vanish. False when it has no series.
    /// Call it from [`Manager::on_departure`](crate::Manager::on_departure).
    ///
    /// The pool's series rises at once by what the worker counted; a `rate()` over the pool's
    /// series alone sees that as a jump, a `sum` over the pool does not.
    pub fn fold_worker(&self, worker_id: &str) -> bool {
        self.store.fold_worker(worker_id)
    }

    /// Everything in OpenMetrics text, complete with its end mark.
    ///
    /// Runs on the caller; takes each worker's lock once for each of its events. Families of events
    /// that were never seen are left out.
    #[must_use]
    pub fn render(&self) -> String {
        self.render_as(ExpositionFormat::OpenMetrics)
    }

    /// As [`render`](Self::render), in the format asked for.
    #[must_use]
    pub fn render_as(&self, format: ExpositionFormat) -> String {
        let mut text = String::new();
        Store::encode_events(&self.store, &mut text);
        let store = Arc::clone(&self.store);
        append(&mut text, move |encoder| store.encode_own(encoder));
        for source in self.store.sources() {
            append(&mut text, move |encoder| source.encode(encoder));
        }
        match format {
            ExpositionFormat::OpenMetrics => text + "# EOF\n",
            ExpositionFormat::Prometheus => to_prometheus(&text),
        }
    }

    /// How many events of each name were counted, of those that were seen at all, in the order of the catalog.
    ///
    /// Takes each worker's lock once.
    #[must_use]
    pub fn counts(&self) -> Vec<(EventId, u64)> {
        self.store.counts()
    }

    /// How many events were counted in an overflow series, because their label values were too
    /// many.
    #[must_use]
    pub fn cardinality_folded(&self) -> u64 {
        self.store.cardinality_folded()
    }
}

impl Handler for PrometheusExporter {
    fn handle(&self, event: &EventRef<'_>) -> Result<(), HandlerError> {
        self.store.count(event);
        Ok(())
    }
}

impl fmt::Debug for PrometheusExporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrometheusExporter")
            .field("store", &self.store)
            .finish()
    }
}

#[cfg(test)]
mod tests;
