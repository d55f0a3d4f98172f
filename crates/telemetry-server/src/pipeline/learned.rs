//! What workers of each pool send that the catalog does not have: bounded tables of names, their keys, and
//! how often each came.
//!
//! A pipeline asks once for each name and each key, under a lock; what it was given it keeps, and counts
//! without one. This room knows catalog and numbers; what an event may carry is decided by its callers.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use telemetry_core::{
    ValueRef,
    catalog::{Catalog, EventSpec, MetricKind, Unit, is_key},
};

/// Most names that are learned of one pool. What comes beyond is refused as an unknown event.
pub const MAX_LEARNED_NAMES: usize = 256;

/// Most keys that are learned of one event, measurements and metadata together.
pub const MAX_LEARNED_KEYS: usize = 64;

/// Most pools that have names of their own, besides those of which the configuration says a mode; workers of further
/// ones share those of no pool.
pub const MAX_LEARNING_POOLS: usize = 32;

/// What becomes of events that the catalog does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum CatalogMode {
    /// They pass under their own names, within bounds, and are marked as learned.
    #[default]
    Observe,
    /// They are refused and counted as `unknown_event`.
    Enforce,
}

/// An event that was learned, or one of the catalog that carries measurements which the catalog does not
/// have.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LearnedEvent {
    /// The pool of its workers; `None` for those in no pool.
    pub pool: Option<String>,
    /// What handlers see.
    pub name: String,
    /// What workers send.
    pub wire_name: String,
    /// Whether the catalog has the event, and lacks keys only.
    pub known: bool,
    /// Events that passed since it was learned; 0 of one that the catalog has.
    pub count: u64,
    /// Wall clock of the first, nanoseconds since the Unix epoch.
    pub first_seen_ns: i64,
    /// Wall clock of the last, nanoseconds since the Unix epoch.
    pub last_seen_ns: i64,
    /// The wire name of the catalog that was perhaps meant.
    pub suggestion: Option<String>,
    /// Its measurements; of an event that the catalog has, those that it does not have.
    pub measurements: Vec<LearnedKey>,
    /// Keys of its metadata that can be keys of a catalog; none of an event that the catalog has.
    pub metadata: Vec<String>,
}

/// A measurement, and what it was taken for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LearnedKey {
    /// The key.
    pub key: String,
    /// What it counts: the catalog's word, or a guess.
    pub unit: Unit,
    /// How it would be shown as a metric.
    pub kind: MetricKind,
}

/// The names of all pools. A manager has one, which its pipelines share.
#[derive(Debug)]
pub struct Learned {
    catalog: Arc<Catalog>,
    /// Of pools that are not named in `modes`, and of workers in no pool.
    mode: CatalogMode,
    modes: BTreeMap<String, CatalogMode>,
    pools: Mutex<BTreeMap<Option<Arc<str>>, Arc<PoolNames>>>,
}

/// The names of one pool.
#[derive(Debug, Default)]
pub(super) struct PoolNames {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    /// By wire name.
    names: BTreeMap<Arc<str>, Arc<Entry>>,
    /// How many of them each worker brought.
    held: HashMap<Arc<str>, usize>,
    /// Events of names that had to make room.
    forgotten: u64,
}

/// One name.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) spec: EventSpec,
    /// The worker that sent it first.
    owner: Arc<str>,
    /// Set when its place was given to another name.
    gone: AtomicBool,
    count: AtomicU64,
    first_seen_ns: i64,
    last_seen_ns: AtomicI64,
    keys: Mutex<Keys>,
}

#[derive(Debug, Default)]
struct Keys {
    measurements: Vec<(Box<str>, Unit, MetricKind)>,
    metadata: Vec<Box<str>>,
}

/// Which of the two kinds of keys, and a value of it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Carried<'a> {
    Measurement(ValueRef<'a>),
    Metadata,
}

impl Learned {
    /// Nothing learned yet; `modes` says for which pools something else holds than `mode`.
    pub(crate) fn new(
        catalog: Arc<Catalog>,
        mode: CatalogMode,
        modes: BTreeMap<String, CatalogMode>,
    ) -> Self {
        Self {
            catalog,
            mode,
            modes,
            pools: Mutex::default(),
        }
    }

    /// The names of a pool; `None` where unknown events are refused.
    pub(super) fn of_pool(&self, pool: Option<&Arc<str>>) -> Option<Arc<PoolNames>> {
        let set = pool.and_then(|pool| self.modes.get(&**pool));
        if *set.unwrap_or(&self.mode) == CatalogMode::Enforce {
            return None;
        }
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = pools.len() >= MAX_LEARNING_POOLS;
        // Those of the configuration have their room, whoever came before under whatever name.
        let is_ours = pool.is_some_and(|pool| self.modes.contains_key(&**pool));
        let own = pool.filter(|_| is_ours || !is_full || pools.contains_key(&pool.cloned()));
        Some(Arc::clone(pools.entry(own.cloned()).or_default()))
    }

    /// What is learned under a name that came for the first time, if it can be.
    pub(super) fn draft(&self, wire_name: &str, owner: Arc<str>, now_ns: i64) -> Option<Entry> {
        let spec = match self.catalog.by_wire_name(wire_name) {
            Some(known) => known.clone(),
            None => self.catalog.learned(wire_name)?,
        };
        Some(Entry {
            spec,
            owner,
            gone: AtomicBool::new(false),
            count: AtomicU64::new(0),
            first_seen_ns: now_ns,
            last_seen_ns: AtomicI64::new(now_ns),
            keys: Mutex::default(),
        })
    }

    /// Everything that was learned, by pool and name.
    #[must_use]
    pub fn list(&self) -> Vec<LearnedEvent> {
        let pools = self.pools();
        let named = pools.iter().flat_map(|(pool, names)| {
            let entries: Vec<_> = names.lock().names.values().map(Arc::clone).collect();
            entries
                .into_iter()
                .map(|entry| entry.shown(pool.as_deref(), &self.catalog))
        });
        named.collect()
    }

    /// How many events came under learned names, by pool and event name; last of each pool, under no name,
    /// those of names that had to make room.
    #[cfg(any(feature = "prometheus", test))]
    #[must_use]
    pub(crate) fn counts(&self) -> Vec<(Option<Arc<str>>, Arc<str>, u64)> {
        let mut counts = Vec::new();
        for (pool, names) in self.pools() {
            let table = names.lock();
            for entry in table.names.values().filter(|it| it.spec.is_learned()) {
                let count = entry.count.load(Relaxed);
                counts.push((pool.clone(), Arc::clone(&entry.spec.name), count));
            }
            if table.forgotten > 0 {
                counts.push((pool, "".into(), table.forgotten));
            }
        }
        counts
    }

    fn pools(&self) -> BTreeMap<Option<Arc<str>>, Arc<PoolNames>> {
        let pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools.clone()
    }
}

impl PoolNames {
    /// The entry of a name that `draft` makes if it is new and there is room. A worker that brought fewer
    /// names than another one takes a place from that: so no worker keeps the others out.
    pub(super) fn enter(
        &self,
        wire_name: &str,
        worker: &str,
        draft: impl FnOnce() -> Option<Entry>,
    ) -> Option<Arc<Entry>> {
        let mut table = self.lock();
        if let Some(entry) = table.names.get(wire_name) {
            return Some(Arc::clone(entry));
        }
        if table.names.len() >= MAX_LEARNED_NAMES && !table.has_claim(worker) {
            return None;
        }
        let entry = Arc::new(draft()?);
        // Two wire names may lead to one event name; the first one has it.
        let is_taken = |other: &Arc<Entry>| other.spec.name == entry.spec.name;
        if table.names.values().any(is_taken) {
            return None;
        }
        if table.names.len() >= MAX_LEARNED_NAMES {
            table.make_room();
        }
        *table.held.entry(Arc::clone(&entry.owner)).or_default() += 1;
        table.names.insert(wire_name.into(), Arc::clone(&entry));
        Some(entry)
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// The most names that one worker brought.
    fn most(&self) -> usize {
        self.held.values().copied().max().unwrap_or_default()
    }

    /// Whether somebody else has so many more names that the worker gets one of those places.
    fn has_claim(&self, worker: &str) -> bool {
        let held = self.held.get(worker).copied().unwrap_or_default();
        self.most() > held + 1
    }

    /// Forgets, of those of a worker with the most names, the one that was not seen for longest.
    fn make_room(&mut self) {
        let most = self.most();
        let has_most = |entry: &&Arc<Entry>| self.held.get(&entry.owner) == Some(&most);
        let theirs = self.names.values().filter(has_most);
        let Some(oldest) = theirs
            .min_by_key(|it| it.last_seen_ns.load(Relaxed))
            .cloned()
        else {
            return;
        };
        // A pipeline that counts right now may be a few late; its count is then nowhere.
        oldest.gone.store(true, Relaxed);
        self.forgotten += oldest.count.load(Relaxed);
        self.names.retain(|_, entry| !Arc::ptr_eq(entry, &oldest));
        if let Some(held) = self.held.get_mut(&oldest.owner) {
            *held -= 1;
            if *held == 0 {
                self.held.remove(&oldest.owner);
            }
        }
    }
}

impl Entry {
    /// Whether its place was given to another name.
    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Relaxed)
    }

    /// Counts one event.
    pub(super) fn saw(&self, now_ns: i64) {
        self.count.fetch_add(1, Relaxed);
        self.touch(now_ns);
    }

    /// Keeps it from making room for another.
    pub(super) fn touch(&self, now_ns: i64) {
        self.last_seen_ns.store(now_ns, Relaxed);
    }

    /// Whether a key is one of its keys from now on. `known` is what the catalog says of a measurement.
    pub(super) fn learn(
        &self,
        key: &str,
        carried: Carried<'_>,
        known: Option<(Unit, MetricKind)>,
    ) -> bool {
        if !is_key(key) {
            return false;
        }
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let has_room = keys.measurements.len() + keys.metadata.len() < MAX_LEARNED_KEYS;
        match carried {
            Carried::Measurement(value) => {
                let has = keys.measurements.iter().any(|(other, ..)| **other == *key);
                if !has && has_room {
                    let (unit, kind) = known.unwrap_or_else(|| Unit::guess(key, value));
                    keys.measurements.push((key.into(), unit, kind));
                }
                has || has_room
            }
            Carried::Metadata => {
                let has = keys.metadata.iter().any(|other| **other == *key);
                if !has && has_room {
                    keys.metadata.push(key.into());
                }
                has || has_room
            }
        }
    }

    fn shown(&self, pool: Option<&str>, catalog: &Catalog) -> LearnedEvent {
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let measurement = |(key, unit, kind): &(Box<str>, Unit, MetricKind)| LearnedKey {
            key: key.to_string(),
            unit: *unit,
            kind: *kind,
        };
        let wire_name = self.spec.wire_name.as_deref().unwrap_or_default();
        let is_new = self.spec.is_learned();
        let suggestion = catalog.suggest(wire_name).filter(|_| is_new);
        LearnedEvent {
            pool: pool.map(str::to_owned),
            name: self.spec.name.to_string(),
            wire_name: wire_name.to_owned(),
            known: !is_new,
            count: self.count.load(Relaxed),
            first_seen_ns: self.first_seen_ns,
            last_seen_ns: self.last_seen_ns.load(Relaxed),
            suggestion: suggestion.map(str::to_owned),
            measurements: keys.measurements.iter().map(measurement).collect(),
            metadata: keys.metadata.iter().map(|key| key.to_string()).collect(),
        }
    }
}
