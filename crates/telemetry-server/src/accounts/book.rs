//! All incarnations that the manager knows, living and dead, and what those left that nobody shows.
//!
//! Bounded: all that have an owner or an open stream, and the newest of the others.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::IncarnationInfo;
use super::incarnation::{End, Incarnation, News};
use super::process::Process;
use crate::identity::WorkerId;

/// Incarnations that are kept although nobody shows them any more.
pub(super) const MAX_FORGOTTEN: usize = 4_096;
/// New incarnations between two looks for what may go.
const SWEEP_EVERY: usize = 512;

/// One incarnation, shared by the book and whoever shows it.
pub(super) type Shared = Arc<Mutex<Incarnation>>;

/// What tells incarnations apart: the id they claim, and the process that the system showed behind
/// their socket, so that nobody takes over the account of another process by its id. Where the system
/// shows none, as behind a port, the address has to do. One worker may be met both ways: see
/// [`recognise`](Book::recognise).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// 32 hexadecimal digits, as it says.
    pub(super) id: String,
    /// The process, or the address.
    pub(super) place: Place,
}

/// Where an incarnation was met.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// In this process, as the system says.
    Process(u32),
    /// At this address.
    Address(String),
}

impl Place {
    /// The process, if it is known.
    pub(super) fn pid(&self) -> Option<u32> {
        match self {
            Self::Process(pid) => Some(*pid),
            Self::Address(_) => None,
        }
    }
}

/// What an incarnation's claim to be counted found.
#[derive(Debug)]
pub(super) enum Claim {
    /// It was here before.
    Known(Shared),
    /// Nobody has heard of it.
    New,
    /// Another stream of it is still being read.
    Busy,
}

/// Most incarnations without a word that are remembered.
const MAX_SILENT: usize = 256;

/// What ended incarnations left that had no owner any more; part of their pool's sums.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Strays {
    /// What was lost with them.
    pub(crate) lost: u64,
    /// Incarnations whose last words nobody heard.
    pub(crate) unaccounted: u64,
    /// What those that may still live sent and did not arrive.
    pub(crate) away: u64,
    /// What those that may still live had in their queues.
    pub(crate) queued: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Book {
    pages: Mutex<Pages>,
}

#[derive(Debug, Default)]
struct Pages {
    /// By age.
    all: BTreeMap<u64, (Option<Key>, Shared)>,
    /// By id: where each was met, and its number.
    by_id: HashMap<String, Vec<(Place, u64)>>,
    next: u64,
    /// How many there may be before the next look for what may go.
    sweep_at: usize,
    /// Those that lost their owner, by their worker; some may have found one again.
    departed: HashMap<WorkerId, Vec<u64>>,
    /// Left by those without an owner, by pool.
    strays: BTreeMap<Option<String>, Strays>,
    /// Those that ended without a word, oldest first.
    silent: VecDeque<IncarnationInfo>,
    /// Numbers of owners.
    owners: u64,
}

impl Book {
    /// A number for somebody who shows incarnations.
    pub(super) fn owner(&self) -> u64 {
        let mut pages = self.lock();
        pages.owners += 1;
        pages.owners
    }

    /// Claims an incarnation for a stream that has just opened.
    pub(super) fn claim(&self, key: &Key) -> Claim {
        let pages = self.lock();
        let Some(known) = pages.number(key).and_then(|it| pages.page(it)) else {
            return Claim::New;
        };
        let mut incarnation = lock(known);
        if incarnation.claimed {
            return Claim::Busy;
        }
        incarnation.claimed = true;
        drop(incarnation);
        Claim::Known(Arc::clone(known))
    }

    /// Enters a new one, claimed; `None` if another one was entered under this key meanwhile. Without a
    /// key it is found by nobody but its owner.
    pub(super) fn enter(&self, key: Option<Key>, mut incarnation: Incarnation) -> Option<Shared> {
        let mut pages = self.lock();
        if key.as_ref().is_some_and(|key| pages.number(key).is_some()) {
            return None;
        }
        incarnation.claimed = true;
        let number = pages.next;
        pages.next += 1;
        incarnation.number = number;
        let shared = Arc::new(Mutex::new(incarnation));
        if let Some(key) = &key {
            pages.list(key, number);
        }
        pages.all.insert(number, (key, Arc::clone(&shared)));
        pages.sweep();
        Some(shared)
    }

    /// Enters one that has ended and never said a word: that it was there is all that is known of it, and only of the
    /// last ones is it kept. False if it is known already, by another of its connections.
    pub(super) fn enter_silent(&self, silent: &Incarnation) -> bool {
        let silent = silent.info();
        let is_it = |it: &IncarnationInfo| {
            !it.incarnation.is_empty()
                && (&it.incarnation, it.pid) == (&silent.incarnation, silent.pid)
        };
        let mut pages = self.lock();
        if pages.silent.iter().any(is_it) {
            return false;
        }
        if pages.silent.len() >= MAX_SILENT {
            pages.silent.pop_front();
        }
        pages.silent.push_back(silent);
        true
    }

    /// The one that a worker is with this key, whoever has claimed it.
    pub(super) fn find(&self, key: &Key, worker: &WorkerId) -> Option<Shared> {
        let pages = self.lock();
        let otherwise = || pages.met_otherwise(key, worker).map(|(_, number)| number);
        let number = pages.number(key).or_else(otherwise)?;
        pages.page(number).map(Arc::clone)
    }

    /// The key under which the one is known that a worker is with this key. Who was met as this worker at an
    /// address, where no process shows, is known by its process once that shows; who is known by its process is the
    /// same at any address of this worker. Who calls himself so in another process is somebody else.
    pub(super) fn recognise(&self, key: Key, worker: &WorkerId) -> Key {
        let mut pages = self.lock();
        if pages.number(&key).is_some() {
            return key;
        }
        let Some((place, number)) = pages.met_otherwise(&key, worker) else {
            return key;
        };
        let id = key.id.clone();
        let known = Key { id, place };
        if known.place.pid().is_some() {
            return known;
        }
        pages.strike(&known, number);
        pages.list(&key, number);
        if let Some(page) = pages.all.get_mut(&number) {
            page.0 = Some(key.clone());
        }
        key
    }

    /// Gives a nameless incarnation its name.
    pub(super) fn name(&self, shared: &Shared, key: &Key) {
        let number = lock(shared).number;
        let mut pages = self.lock();
        if let Some(page) = pages.all.get_mut(&number) {
            page.0 = Some(key.clone());
            pages.list(key, number);
        }
    }

    /// Its owner has let it go.
    pub(super) fn depart(&self, worker: &WorkerId, number: u64) {
        let mut pages = self.lock();
        pages
            .departed
            .entry(worker.clone())
            .or_default()
            .push(number);
    }

    /// A new process serves where these did: those of this worker that nobody shows have ended.
    pub(super) fn supersede(&self, worker: &WorkerId, new: &Shared, here: Option<Process>) {
        let mut pages = self.lock();
        let mut kept = Vec::new();
        for number in pages.departed.remove(worker).unwrap_or_default() {
            let Some((_, it)) = pages.all.get(&number) else {
                continue;
            };
            if Arc::ptr_eq(it, new) {
                continue;
            }
            let mut incarnation = lock(it);
            // Another process may be alive elsewhere.
            if incarnation.outlives(here) {
                kept.push(number);
                continue;
            }
            if incarnation.owner.is_none() && !incarnation.claimed {
                let (pool, news) = (incarnation.pool_name.clone(), incarnation.end(End::Unasked));
                drop(incarnation);
                pages.inherit(pool, &news);
            }
        }
        if !kept.is_empty() {
            pages.departed.insert(worker.clone(), kept);
        }
    }

    /// All of them, oldest first, and behind them those that never said a word.
    pub(crate) fn list(&self) -> Vec<IncarnationInfo> {
        let (all, silent): (Vec<Shared>, _) = {
            let pages = self.lock();
            let all = pages.all.values().map(|(_, it)| Arc::clone(it));
            (all.collect(), pages.silent.clone())
        };
        all.iter().map(|it| lock(it).info()).chain(silent).collect()
    }

    /// What those without an owner add to the sums of their pools.
    pub(crate) fn strays(&self) -> BTreeMap<Option<String>, Strays> {
        let pages = self.lock();
        let mut strays = pages.strays.clone();
        for (_, it) in pages.all.values() {
            let incarnation = lock(it);
            if incarnation.owner.is_none() && !incarnation.ended {
                let info = incarnation.info();
                let of_pool = strays.entry(incarnation.pool_name.clone()).or_default();
                of_pool.away = of_pool.away.saturating_add(info.away);
                of_pool.queued = of_pool.queued.saturating_add(info.queued);
            }
        }
        strays
    }

    /// Whether there are any that nobody shows and whose end is not known.
    pub(crate) fn has_departed(&self) -> bool {
        !self.lock().departed.is_empty()
    }

    /// Notices which of those that nobody shows have ended. May wait for the system.
    pub(crate) fn notice_ends(&self) {
        self.lock().notice_ends();
    }

    fn lock(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pages {
    /// The number of the one with this key.
    fn number(&self, key: &Key) -> Option<u64> {
        let mut met = self.by_id.get(&key.id)?.iter();
        let found = met.find(|(place, _)| *place == key.place);
        found.map(|(_, number)| *number)
    }

    fn page(&self, number: u64) -> Option<&Shared> {
        self.all.get(&number).map(|(_, it)| it)
    }

    /// Where the one with this id was met as this worker in the other way: at an address if the key names a
    /// process, in a process if it names an address.
    fn met_otherwise(&self, key: &Key, worker: &WorkerId) -> Option<(Place, u64)> {
        let is_other = |place: &Place| place.pid().is_some() != key.place.pid().is_some();
        let is_it = |number| {
            let page = self.page(number);
            page.is_some_and(|it| lock(it).worker_id == *worker)
        };
        let mut met = self.by_id.get(&key.id)?.iter().rev();
        met.find(|(place, number)| is_other(place) && is_it(*number))
            .cloned()
    }

    /// Has one be found under this key.
    fn list(&mut self, key: &Key, number: u64) {
        let met = self.by_id.entry(key.id.clone()).or_default();
        met.retain(|(place, _)| *place != key.place);
        met.push((key.place.clone(), number));
    }

    /// Has it not be found there any more.
    fn strike(&mut self, key: &Key, number: u64) {
        if let Some(met) = self.by_id.get_mut(&key.id) {
            met.retain(|(place, other)| (place, *other) != (&key.place, number));
            if met.is_empty() {
                self.by_id.remove(&key.id);
            }
        }
    }

    /// Notices which of those that nobody shows have ended.
    fn notice_ends(&mut self) {
        let mut ended = Vec::new();
        let all = &self.all;
        self.departed.retain(|_, numbers| {
            numbers.retain(|number| {
                let Some((_, it)) = all.get(number) else {
                    return false;
                };
                let mut incarnation = lock(it);
                if incarnation.owner.is_none() && incarnation.is_silently_over() {
                    let news = incarnation.end(End::Unasked);
                    ended.push((incarnation.pool_name.clone(), news));
                }
                incarnation.owner.is_none() && !incarnation.ended
            });
            !numbers.is_empty()
        });
        for (pool, news) in ended {
            self.inherit(pool, &news);
        }
    }

    /// Lets the oldest of those go that nobody shows, beyond the bound.
    fn sweep(&mut self) {
        if self.all.len() <= MAX_FORGOTTEN.max(self.sweep_at) {
            return;
        }
        let idle = |it: &Shared| {
            let incarnation = lock(it);
            !incarnation.claimed && (incarnation.owner.is_none() || incarnation.ended)
        };
        let idle: Vec<u64> = self
            .all
            .iter()
            .filter(|(_, (_, it))| idle(it))
            .map(|(number, _)| *number)
            .collect();
        let beyond = idle.len().saturating_sub(MAX_FORGOTTEN);
        for number in &idle[..beyond] {
            let Some((key, it)) = self.all.remove(number) else {
                continue;
            };
            if let Some(key) = key {
                self.strike(&key, *number);
            }
            let mut incarnation = lock(&it);
            // Nobody will ever know more of it.
            let news = incarnation.end(End::Unasked);
            self.inherit(incarnation.pool_name.clone(), &news);
        }
        let all = &self.all;
        self.departed.retain(|_, numbers| {
            numbers.retain(|number| all.contains_key(number));
            !numbers.is_empty()
        });
        self.sweep_at = self.all.len() + SWEEP_EVERY;
    }

    fn inherit(&mut self, pool: Option<String>, news: &News) {
        let strays = self.strays.entry(pool).or_default();
        strays.lost = strays.lost.saturating_add(news.lost);
        strays.unaccounted += u64::from(news.unknown_since_ns.is_some());
    }
}

/// The right to look at an incarnation. Never held while the book is asked.
pub(super) fn lock(shared: &Shared) -> MutexGuard<'_, Incarnation> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
