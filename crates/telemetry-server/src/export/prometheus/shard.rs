//! The series of one worker, behind a lock that only this worker's stream takes per event.
//!
//! A shard finds or makes the series of an event; how many there may be in all is asked of the
//! caller's budget. It knows nothing of other shards.

use std::hash::Hasher;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrayvec::ArrayVec;
use hashbrown::HashTable;
use rustc_hash::FxHasher;
use telemetry_core::{EventRef, Source, catalog::truncate, is_same_text};

use super::plan::{MAX_LABELS, Plan};
use super::series::Series;

/// Longest label value, in bytes; what is longer is cut on a character boundary.
pub const MAX_LABEL_BYTES: usize = 256;

/// Up to this many series of one event are compared one after the other, which is quicker than to
/// hash the labels.
const FEW_SERIES: usize = 4;

/// One series and the values of its labels, in the order of the plan.
#[derive(Clone, Debug)]
pub(super) struct Labelled {
    pub(super) labels: Box<[Box<str>]>,
    pub(super) series: Series,
}

/// All series of one event within a shard.
#[derive(Clone, Debug, Default)]
pub(super) struct EventSeries {
    pub(super) all: Vec<Labelled>,
    /// Hash of the labels → place in `all`.
    places: HashTable<usize>,
    /// What found no room among the labelled ones.
    pub(super) overflow: Option<Box<Series>>,
}

/// The state behind a shard's lock.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Set when the shard is folded: what it holds is counted elsewhere, nothing may be added.
    pub(super) retired: bool,
    /// By event id; grows to the highest seen.
    pub(super) events: Vec<Option<Box<EventSeries>>>,
}

/// The series of one worker, or of one pool's own events.
#[derive(Debug)]
pub(super) struct Shard {
    /// The number of the store it belongs to.
    pub(super) store: u64,
    pub(super) pool: Option<Arc<str>>,
    pub(super) worker: Option<Arc<str>>,
    state: Mutex<State>,
}

/// What became of one event.
pub(super) struct Counted {
    /// Whether its labels found no room.
    pub(super) folded: bool,
    /// Measurements that are no metric value.
    pub(super) refused: u64,
}

/// How many series one event may have in all shards together.
pub(super) struct Budget<'b> {
    pub(super) used: &'b AtomicUsize,
    pub(super) limit: usize,
}

impl Budget<'_> {
    /// Takes room for one series, if there is any.
    pub(super) fn take(&self) -> bool {
        let before = self.used.fetch_add(1, Ordering::Relaxed);
        if before >= self.limit {
            self.used.fetch_sub(1, Ordering::Relaxed);
        }
        before < self.limit
    }
}

impl Shard {
    pub(super) fn new(store: u64, pool: Option<Arc<str>>, worker: Option<Arc<str>>) -> Self {
        Self {
            store,
            pool,
            worker,
            state: Mutex::default(),
        }
    }

    /// Whether events of `source` belong here.
    pub(super) fn is_of(&self, source: &Source) -> bool {
        self.worker == source.worker_id && self.pool == source.pool_name
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the event; `None` when the shard was retired meanwhile.
    pub(super) fn count(
        &self,
        plan: &Plan,
        event: &EventRef<'_>,
        seed: u64,
        budget: &Budget<'_>,
    ) -> Option<Counted> {
        let mut state = self.lock();
        if state.retired {
            return None;
        }
        let index = event.id().index();
        if state.events.len() <= index {
            state.events.resize_with(index + 1, || None);
        }
        let known = state.events[index].get_or_insert_default();
        let labels = labels(plan, event);
        let room = || budget.take();
        let (series, folded) = known.find_or_make(plan, &labels, seed, room);
        Some(Counted {
            folded,
            refused: series.count(plan, event),
        })
    }
}

impl EventSeries {
    /// The series with these labels; or, if it is new and there is no room, the overflow one.
    fn find_or_make(
        &mut self,
        plan: &Plan,
        labels: &[impl AsRef<str>],
        seed: u64,
        room: impl FnOnce() -> bool,
    ) -> (&mut Series, bool) {
        let all = &self.all;
        let same = |place: &usize| {
            let mut known = all[*place].labels.iter().zip(labels);
            known.all(|(known, label)| is_same_text(known, label.as_ref()))
        };
        let mut hashed = None;
        let found = if all.len() <= FEW_SERIES {
            (0..all.len()).find(same)
        } else {
            let hash = *hashed.insert(hash(labels, seed));
            self.places.find(hash, same).copied()
        };
        if let Some(place) = found {
            return (&mut self.all[place].series, false);
        }
        if !room() {
            let overflow = self
                .overflow
                .get_or_insert_with(|| Box::new(Series::new(plan)));
            return (overflow, true);
        }
        let place = self.all.len();
        let hash = hashed.unwrap_or_else(|| hash(labels, seed));
        let labels = labels.iter().map(|label| label.as_ref().into()).collect();
        self.all.push(Labelled {
            labels,
            series: Series::new(plan),
        });
        let all = &self.all;
        self.places
            .insert_unique(hash, place, |place| self::hash(&all[*place].labels, seed));
        (&mut self.all[place].series, false)
    }

    /// Adds all of `other`, gauges excepted; `room` is asked for each series that is new here.
    pub(super) fn fold(
        &mut self,
        other: &Self,
        plan: &Plan,
        seed: u64,
        mut room: impl FnMut() -> bool,
    ) {
        for labelled in &other.all {
            let mut without_gauges = labelled.series.clone();
            without_gauges.forget_gauges();
            let (series, _) = self.find_or_make(plan, &labelled.labels, seed, &mut room);
            series.merge(&without_gauges);
        }
        if let Some(theirs) = &other.overflow {
            let mine = self
                .overflow
                .get_or_insert_with(|| Box::new(Series::new(plan)));
            mine.merge(theirs);
        }
    }
}

/// The values of the event's labels, cut to their limit; an absent one is empty. No label is made of
/// what the manager knows, so the event's own metadata is all there is to look at.
#[inline]
fn labels<'e>(plan: &Plan, event: &EventRef<'e>) -> ArrayVec<&'e str, MAX_LABELS> {
    let value = |key| truncate(event.claimed(key).unwrap_or_default(), MAX_LABEL_BYTES);
    let keys = plan.labels.iter().take(MAX_LABELS);
    keys.map(|(key, _)| value(key)).collect()
}

/// The seed is random, so that a worker cannot choose label values that collide.
fn hash(labels: &[impl AsRef<str>], seed: u64) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write_u64(seed);
    for label in labels {
        hasher.write(label.as_ref().as_bytes());
        hasher.write_u8(0xFF);
    }
    hasher.finish()
}
