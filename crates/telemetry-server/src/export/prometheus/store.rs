//! Where the exporter counts: the shards, what gone workers left, and how a scrape sees both.
//!
//! The order of locks is: first the folded tables, then one shard. This room decides who counts
//! where; it does not know what the text looks like.

use std::cell::Cell;
use std::collections::btree_map::Entry;
use std::fmt;
use std::hash::Hasher;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use hashbrown::HashTable;
use prometheus_client::encoding::DescriptorEncoder;
use rustc_hash::{FxHashMap, FxHasher};
use telemetry_core::{
    EventRef, Source,
    catalog::{Catalog, EventId, escape},
    emit::random_u64,
};

use super::PrometheusConfig;
use super::encode::{
    Key, Merged, MetricSource, append, encode_counters, encode_event, encode_gauges,
};
use super::plan::{self, Plan};
use super::series::Series;
use super::shard::{Budget, EventSeries, Labelled, Shard};

/// Most workers counted apart. Events of further ones are counted without pool and worker.
pub const MAX_SHARDS: usize = 4_096;

thread_local! {
    /// The shard that this thread counted in last: events come in rows of one worker. Keeps at most
    /// this one shard alive after its worker, or its exporter, is gone.
    static LAST: Cell<Option<Arc<Shard>>> = const { Cell::new(None) };
}

/// Numbers of stores, so that a thread's last shard is not taken for another exporter's.
static STORES: AtomicU64 = AtomicU64::new(0);

/// All that an exporter and its clones share.
pub(super) struct Store {
    /// Which one it is among all of the process.
    number: u64,
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

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("config", &self.config)
            .field("shards", &self.shards.load().by_source.len())
            .finish_non_exhaustive()
    }
}

impl Store {
    pub(super) fn new(catalog: Arc<Catalog>, config: PrometheusConfig) -> Self {
        let plans = plan::plans(&catalog);
        let number = STORES.fetch_add(1, Ordering::Relaxed);
        let rest = Arc::new(Shard::new(number, None, None));
        let mut shards = Shards::default();
        shards.insert(Arc::clone(&rest));
        Self {
            number,
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
        }
    }

    pub(super) fn add_source(&self, source: Arc<dyn MetricSource>) {
        self.sources
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(source);
    }

    pub(super) fn sources(&self) -> Vec<Arc<dyn MetricSource>> {
        self.sources
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn cardinality_folded(&self) -> u64 {
        self.cardinality_folded.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Folded> {
        self.folded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn budget(&self, index: usize) -> Budget<'_> {
        Budget {
            used: &self.used[index],
            limit: self.config.series_limit,
        }
    }

    /// Counts one event.
    pub(super) fn count(&self, event: &EventRef<'_>) {
        let index = event.id().index();
        let ours = self.catalog.get(event.id());
        if !ours
            .is_some_and(|ours| std::ptr::eq(ours, event.spec()) || ours.name == event.spec().name)
        {
            // What was learned is counted by the manager, under its name alone.
            let is_foreign = u64::from(!event.is_learned());
            self.unknown_events.fetch_add(is_foreign, Ordering::Relaxed);
            return;
        }
        let plan = &self.plans[index];
        let budget = self.budget(index);
        let last = LAST.try_with(Cell::take).ok().flatten();
        let mut shard = match last {
            Some(last) if last.store == self.number && last.is_of(event.source()) => last,
            _ => self.shard(event.source()),
        };
        let counted = loop {
            match shard.count(plan, event, self.seed, &budget) {
                Some(counted) => break counted,
                // A worker that was folded since gets a new shard.
                None => shard = self.shard(event.source()),
            }
        };
        // A worker that has no shard of its own may get one when another goes.
        if !Arc::ptr_eq(&shard, &self.rest) {
            // A thread that is ending remembers nothing.
            let _ = LAST.try_with(|last| last.set(Some(shard)));
        }
        if counted.folded {
            self.cardinality_folded.fetch_add(1, Ordering::Relaxed);
        }
        if counted.refused > 0 {
            self.refused_values
                .fetch_add(counted.refused, Ordering::Relaxed);
        }
    }

    /// The shard of a source.
    fn shard(&self, source: &Source) -> Arc<Shard> {
        match self.shards.load().find(source) {
            Some(shard) => Arc::clone(shard),
            None => self.new_shard(source),
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
            self.number,
            source.pool_name.clone(),
            source.worker_id.clone(),
        ));
        let mut more = Shards::clone(&shards);
        more.insert(Arc::clone(&shard));
        self.shards.store(Arc::new(more));
        shard
    }

    /// See `PrometheusExporter::fold_worker`.
    pub(super) fn fold_worker(&self, worker_id: &str) -> bool {
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

    /// How many events of each were counted.
    pub(super) fn counts(&self) -> Vec<(EventId, u64)> {
        let (shards, folded) = {
            let folded = self.lock();
            (self.shards.load_full(), folded.clone())
        };
        let mut counts = vec![0_u64; self.plans.len()];
        let mut add = |table: &EventTable| {
            for (count, known) in counts.iter_mut().zip(table) {
                let Some(known) = known else { continue };
                let labelled = known.all.iter().map(|labelled| &labelled.series);
                let series = labelled.chain(known.overflow.as_deref());
                *count += series.map(|series| series.events).sum::<u64>();
            }
        };
        for shard in &shards.by_source {
            add(&shard.lock().events);
        }
        folded.values().for_each(|table| add(table));
        let events = self.catalog.events().iter().zip(counts);
        let seen = events.filter(|(_, count)| *count > 0);
        seen.map(|(event, count)| (event.id, count)).collect()
    }

    /// Merges and writes one event after the other, so that a worker's lock is never held for long.
    pub(super) fn encode_events(this: &Arc<Self>, text: &mut String) {
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

    /// Writes what the exporter says about itself.
    pub(super) fn encode_own(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
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
    merged: &mut Merged,
    pool: Option<&str>,
    worker: Option<&str>,
    all: &[Labelled],
    overflow: Option<&Series>,
) {
    let shown = |text: Option<&str>| escape(text.unwrap_or_default()).into_owned();
    let mut add = |key, series: &Series| match merged.entry(key) {
        Entry::Vacant(free) => {
            free.insert(series.clone());
        }
        Entry::Occupied(mut mine) => mine.get_mut().merge(series),
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
