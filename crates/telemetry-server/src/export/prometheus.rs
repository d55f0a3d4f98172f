//! The Prometheus exporter: events become counters, histograms and gauges, read by scraping.
//!
//! Counting is done in shards, one for each worker, so that streams do not meet on a lock; merging
//! is done when somebody scrapes. This room knows events, the catalog and prometheus-client's text
//! encoder; it does not serve HTTP.

mod encode;
mod handlers;
mod plan;
mod series;
mod shard;

use std::collections::BTreeMap;
use std::fmt;
use std::hash::Hasher;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use hashbrown::HashTable;
use prometheus_client::encoding::DescriptorEncoder;
use rustc_hash::{FxHashMap, FxHasher};
use telemetry_core::{Catalog, EventRef, Source, escape, random_u64};

use crate::dispatch::{Handler, HandlerError};

pub use encode::{ExpositionFormat, MetricSource};
pub(crate) use encode::{encode_counters, encode_gauges};
pub use handlers::HandlerMetrics;
pub use plan::{DURATION_BUCKETS, MAX_LABELS, SIZE_BUCKETS};
pub use shard::MAX_LABEL_BYTES;

use encode::{Key, Merged, append, encode_event, to_prometheus};
use plan::Plan;
use series::Series;
use shard::{Budget, EventSeries, Labelled, Shard};

/// Most series of one metric, by default.
pub const DEFAULT_SERIES_LIMIT: usize = 2_000;

/// Most workers counted apart. Events of further ones are counted without pool and worker.
pub const MAX_SHARDS: usize = 4_096;

/// How the exporter counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
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

struct Store {
    catalog: Arc<Catalog>,
    /// By event id.
    plans: Vec<Plan>,
    config: PrometheusConfig,
    /// Keeps hashes unpredictable for workers.
    seed: u64,
    /// Series in use, by event id.
    used: Box<[AtomicUsize]>,
    /// Read for each event; replaced when a worker comes or goes.
    shards: ArcSwap<Shards>,
    /// Takes the events of workers beyond [`MAX_SHARDS`].
    rest: Arc<Shard>,
    /// Held while shards come and go and while a scrape takes its list of them: so that a scrape
    /// sees a folded worker exactly once.
    folded: Mutex<Folded>,
    sources: Mutex<Vec<Arc<dyn MetricSource>>>,
    /// Events counted in an overflow series.
    cardinality_folded: AtomicU64,
    /// Measurements that are no metric value.
    refused_values: AtomicU64,
    /// Events that the catalog does not have.
    unknown_events: AtomicU64,
}

/// Finds a source's shard.
#[derive(Clone, Default)]
struct Shards {
    by_source: HashTable<Arc<Shard>>,
}

/// Series by event id.
type EventTable = Vec<Option<Box<EventSeries>>>;

/// What gone workers counted, by pool. A scrape holds the tables while it merges; a fold meanwhile
/// copies.
type Folded = FxHashMap<Option<Arc<str>>, Arc<EventTable>>;

impl PrometheusExporter {
    /// An exporter for the events of `catalog`, with nothing counted yet.
    #[must_use]
    pub fn new(catalog: Arc<Catalog>, config: PrometheusConfig) -> Self {
        let plans = plan::plans(&catalog);
        let rest = Arc::new(Shard::new(None, None));
        let mut shards = Shards::default();
        shards.insert(Arc::clone(&rest));
        Self {
            store: Arc::new(Store {
                used: plans.iter().map(|_| AtomicUsize::new(0)).collect(),
                plans,
                catalog,
                config,
                seed: random_u64(),
                shards: ArcSwap::from_pointee(shards),
                rest,
                folded: Mutex::default(),
                sources: Mutex::default(),
                cardinality_folded: AtomicU64::new(0),
                refused_values: AtomicU64::new(0),
                unknown_events: AtomicU64::new(0),
            }),
        }
    }

    /// Has `source` asked in every scrape, after the events, in the order in which they were added.
    pub fn add_source(&self, source: impl MetricSource + 'static) {
        let mut sources = self
            .store
            .sources
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        sources.push(Arc::new(source));
    }

    /// Folds the series of a worker that is gone into those of its pool, which have no `worker_id`,
    /// so that no sum over a pool ever falls. Its gauges vanish. False when it has no series.
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
        let sources = self
            .store
            .sources
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        for source in sources {
            append(&mut text, move |encoder| source.encode(encoder));
        }
        match format {
            ExpositionFormat::OpenMetrics => text + "# EOF\n",
            ExpositionFormat::Prometheus => to_prometheus(&text),
        }
    }

    /// How many events were counted in an overflow series, because their label values were too
    /// many.
    #[must_use]
    pub fn cardinality_folded(&self) -> u64 {
        self.store.cardinality_folded.load(Ordering::Relaxed)
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
            .field("config", &self.store.config)
            .field("shards", &self.store.shards.load().by_source.len())
            .finish_non_exhaustive()
    }
}

impl Shards {
    fn find(&self, source: &Source) -> Option<&Arc<Shard>> {
        let hash = hash(source.worker_id.as_deref(), source.pool_name.as_deref());
        self.by_source.find(hash, |shard| shard.is_of(source))
    }

    fn insert(&mut self, shard: Arc<Shard>) {
        let hash_of = |shard: &Arc<Shard>| hash(shard.worker.as_deref(), shard.pool.as_deref());
        self.by_source
            .insert_unique(hash_of(&shard), shard, hash_of);
    }
}

fn hash(worker: Option<&str>, pool: Option<&str>) -> u64 {
    let mut hasher = FxHasher::default();
    for text in [worker, pool] {
        hasher.write(text.unwrap_or_default().as_bytes());
        hasher.write_u8(0xFF);
    }
    hasher.finish()
}

impl Store {
    fn lock(&self) -> MutexGuard<'_, Folded> {
        self.folded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn budget(&self, index: usize) -> Budget<'_> {
        Budget {
            used: &self.used[index],
            limit: self.config.series_limit,
        }
    }

    fn count(&self, event: &EventRef<'_>) {
        let index = event.id().index();
        let ours = self.catalog.get(event.id());
        if !ours
            .is_some_and(|ours| std::ptr::eq(ours, event.spec()) || ours.name == event.spec().name)
        {
            self.unknown_events.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let plan = &self.plans[index];
        let budget = self.budget(index);
        let counted = loop {
            let shards = self.shards.load();
            let counted = match shards.find(event.source()) {
                Some(shard) => shard.count(plan, event, self.seed, &budget),
                None => self
                    .new_shard(event.source())
                    .count(plan, event, self.seed, &budget),
            };
            // A worker that was folded between the two lines gets a new shard.
            if let Some(counted) = counted {
                break counted;
            }
        };
        if counted.folded {
            self.cardinality_folded.fetch_add(1, Ordering::Relaxed);
        }
        if counted.refused > 0 {
            self.refused_values
                .fetch_add(counted.refused, Ordering::Relaxed);
        }
    }

    /// The shard of a source that had none.
    fn new_shard(&self, source: &Source) -> Arc<Shard> {
        let _guard = self.lock();
        let shards = self.shards.load();
        if let Some(shard) = shards.find(source) {
            return Arc::clone(shard);
        }
        if shards.by_source.len() >= MAX_SHARDS {
            return Arc::clone(&self.rest);
        }
        let shard = Arc::new(Shard::new(
            source.pool_name.clone(),
            source.worker_id.clone(),
        ));
        let mut more = Shards::clone(&shards);
        more.insert(Arc::clone(&shard));
        self.shards.store(Arc::new(more));
        shard
    }

    fn fold_worker(&self, worker_id: &str) -> bool {
        let mut folded = self.lock();
        let shards = self.shards.load_full();
        let is_gone = |shard: &&Arc<Shard>| shard.worker.as_deref() == Some(worker_id);
        let gone: Vec<&Arc<Shard>> = shards.by_source.iter().filter(is_gone).collect();
        for shard in &gone {
            let mut state = shard.lock();
            state.retired = true;
            let target = Arc::make_mut(folded.entry(shard.pool.clone()).or_default());
            if target.len() < state.events.len() {
                target.resize_with(state.events.len(), || None);
            }
            // What the shard holds stays: a scrape that has it in its list has the old tables too.
            for (index, (mine, theirs)) in target.iter_mut().zip(&state.events).enumerate() {
                let Some(theirs) = theirs else { continue };
                self.used[index].fetch_sub(theirs.all.len(), Ordering::Relaxed);
                let budget = self.budget(index);
                let mine = mine.get_or_insert_default();
                mine.fold(theirs, &self.plans[index], self.seed, || budget.take());
            }
        }
        if gone.is_empty() {
            return false;
        }
        let mut left = Shards::default();
        for shard in shards.by_source.iter().filter(|shard| !is_gone(shard)) {
            left.insert(Arc::clone(shard));
        }
        self.shards.store(Arc::new(left));
        true
    }

    /// Merges and writes one event after the other, so that a worker's lock is never held for long.
    fn encode_events(this: &Arc<Self>, text: &mut String) {
        let (shards, folded) = {
            let folded = this.lock();
            (this.shards.load_full(), folded.clone())
        };
        for index in 0..this.plans.len() {
            let mut merged = Merged::new();
            for shard in &shards.by_source {
                // Copied under the lock, merged without it.
                let copied = shard
                    .lock()
                    .events
                    .get(index)
                    .and_then(Option::as_ref)
                    .map(|known| (known.all.clone(), known.overflow.clone()));
                if let Some((all, overflow)) = copied {
                    let (pool, worker) = (shard.pool.as_deref(), shard.worker.as_deref());
                    merge(&mut merged, pool, worker, &all, overflow.as_deref());
                }
            }
            for (pool, table) in &folded {
                if let Some(Some(known)) = table.get(index) {
                    let overflow = known.overflow.as_deref();
                    merge(&mut merged, pool.as_deref(), None, &known.all, overflow);
                }
            }
            if merged.is_empty() {
                continue;
            }
            let store = Arc::clone(this);
            append(text, move |encoder| {
                encode_event(encoder, &store.plans[index], &merged)
            });
        }
    }

    fn encode_own(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let own = [
            (
                "telemetry_prometheus_cardinality_folded",
                "Events counted in an overflow series, for want of room for their labels.",
                &self.cardinality_folded,
            ),
            (
                "telemetry_prometheus_refused_values",
                "Measurements that are no metric value: not finite, or negative where values add up.",
                &self.refused_values,
            ),
            (
                "telemetry_prometheus_unknown_events",
                "Events that the exporter's catalog does not have.",
                &self.unknown_events,
            ),
        ];
        let none = Vec::<(&str, &str)>::new;
        for (name, help, count) in own {
            encode_counters(
                encoder,
                name,
                help,
                &[(none(), count.load(Ordering::Relaxed))],
            )?;
        }
        let used: usize = self
            .used
            .iter()
            .map(|used| used.load(Ordering::Relaxed))
            .sum();
        let help = "Label sets in use, over all events.";
        encode_gauges(
            encoder,
            "telemetry_prometheus_series",
            help,
            &[(none(), used as f64)],
        )
    }
}

/// Adds series to those already merged. Label values become what is shown here, so that two that
/// look alike are one.
fn merge(
    merged: &mut BTreeMap<Key, Series>,
    pool: Option<&str>,
    worker: Option<&str>,
    all: &[Labelled],
    overflow: Option<&Series>,
) {
    let shown = |text: Option<&str>| escape(text.unwrap_or_default()).into_owned();
    let mut add = |key, series: &Series| match merged.entry(key) {
        std::collections::btree_map::Entry::Vacant(free) => {
            free.insert(series.clone());
        }
        std::collections::btree_map::Entry::Occupied(mut mine) => mine.get_mut().merge(series),
    };
    for labelled in all {
        let labels = labelled
            .labels
            .iter()
            .map(|label| escape(label).into_owned())
            .collect();
        add(
            Key::Of {
                pool: shown(pool),
                worker: shown(worker),
                labels,
            },
            &labelled.series,
        );
    }
    if let Some(series) = overflow {
        let mut series = series.clone();
        series.forget_gauges();
        add(Key::Overflow, &series);
    }
}

#[cfg(test)]
mod tests;
