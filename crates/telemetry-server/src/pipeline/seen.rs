//! What one pipeline has learned so far: its own short way to the shared names, without a lock and without
//! an allocation for what it has seen before.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use telemetry_core::{ValueRef, catalog::Catalog, is_same_text};

use super::learned::{Carried, Entry, Learned, PoolNames};
use crate::dispatch::Matched;

/// Most encodings of names that a pipeline remembers; a peer may encode one name in many ways.
const MAX_REMEMBERED: usize = 512;

/// Keys of metadata that the manager gives itself.
const GIVEN: [&str; 3] = ["node", "pool_name", "worker_id"];

/// The names that one pipeline has seen.
#[derive(Debug)]
pub(super) struct Seen {
    learned: Arc<Learned>,
    /// The names of its pool; `None` where none is learned.
    pool: Option<Arc<PoolNames>>,
    /// By the name as it was encoded.
    names: FxHashMap<Box<[u8]>, SeenEvent>,
    /// Wall clock of the present batch, once it was asked for.
    now_ns: Option<i64>,
}

/// A name that was seen, with those of its keys that were.
#[derive(Debug)]
pub(super) struct SeenEvent {
    pub(super) entry: Arc<Entry>,
    measurements: Vec<Box<str>>,
    metadata: Vec<Box<str>>,
    /// Which handlers get it.
    pub(super) matched: Matched,
}

impl Seen {
    pub(super) fn new(learned: Arc<Learned>, pool: Option<&Arc<str>>) -> Self {
        Self {
            pool: learned.of_pool(pool),
            learned,
            names: FxHashMap::default(),
            now_ns: None,
        }
    }

    /// The pipeline's events are of this pool from now on.
    pub(super) fn set_pool(&mut self, pool: Option<&Arc<str>>) {
        self.pool = self.learned.of_pool(pool);
        self.names.clear();
    }

    /// Another batch begins, or its time has come to an end.
    pub(super) fn rest(&mut self) {
        self.now_ns = None;
    }

    pub(super) fn now_ns(&mut self, now: impl FnOnce() -> i64) -> i64 {
        *self.now_ns.get_or_insert_with(now)
    }

    /// The event of a name that was seen before.
    pub(super) fn find(&mut self, encoded: &[u8]) -> Option<&mut SeenEvent> {
        let seen = self.names.get_mut(encoded)?;
        (!seen.entry.is_gone()).then_some(seen)
    }

    /// The event of a name, if there is room for it where it comes for the first time.
    pub(super) fn find_or_enter(
        &mut self,
        encoded: &[u8],
        wire_name: &str,
        worker: Option<&Arc<str>>,
        now_ns: i64,
    ) -> Option<&mut SeenEvent> {
        if self.find(encoded).is_some() {
            return self.names.get_mut(encoded);
        }
        let worker = worker.cloned().unwrap_or_default();
        let draft = || self.learned.draft(wire_name, Arc::clone(&worker), now_ns);
        let entry = self.pool.as_ref()?.enter(wire_name, &worker, draft)?;
        if self.names.len() >= MAX_REMEMBERED {
            self.names.clear();
        }
        let seen = SeenEvent {
            entry,
            measurements: Vec::new(),
            metadata: Vec::new(),
            matched: Matched::default(),
        };
        Some(
            self.names
                .entry(encoded.into())
                .insert_entry(seen)
                .into_mut(),
        )
    }
}

impl SeenEvent {
    /// Whether the measurement may pass: it is one of the event's keys, or becomes one.
    pub(super) fn takes(&mut self, key: &str, value: ValueRef<'_>, catalog: &Catalog) -> bool {
        if self.measurements.iter().any(|it| is_same_text(it, key)) {
            return true;
        }
        let known = catalog.measurement_key(key).map(|it| (it.unit, it.kind));
        let is_taken = self.entry.learn(key, Carried::Measurement(value), known);
        if is_taken {
            self.measurements.push(key.into());
        }
        is_taken
    }

    /// Remembers a key of metadata, if there is room.
    pub(super) fn note(&mut self, key: &str) {
        let is_seen = self.metadata.iter().any(|it| is_same_text(it, key));
        if is_seen || GIVEN.contains(&key) {
            return;
        }
        if self.entry.learn(key, Carried::Metadata, None) {
            self.metadata.push(key.into());
        }
    }
}
