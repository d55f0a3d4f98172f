//! The bounded table of event names that a worker has used.
//!
//! A name is resolved once to a [`Callsite`], which holds everything an emit needs: the encoded
//! name, the keep threshold and the counters. Neither known nor new names take a lock or wait for a
//! policy that is being put in force. Names beyond the bound are not
//! refused: they get a callsite of their own that is not kept, and share one set of counters.

mod change;
mod counts;
mod tally;
#[cfg(test)]
mod tests;

use std::fmt;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, OnceLock};

use arc_swap::ArcSwap;
use rustc_hash::{FxBuildHasher, FxHashMap};

use crate::codec::encode_event_parts;
use crate::ledger::{NameCount, Reason};
use crate::name::{EventName, NameError};
use crate::policy::{Policy, Sentence, Threshold};
use crate::queue::MAX_TAG;
use crate::region::{MAX_SITES, Part};
use counts::SiteCounts;

pub(crate) use counts::{Ended, names_in, totals_of};
pub(crate) use tally::{RuleTally, Tallies};

/// Names that a worker keeps unless configured otherwise.
pub const DEFAULT_MAX_CALLSITES: usize = 4_096;

/// Most names that a worker can be configured to keep; the table's room is taken at once.
pub const MAX_CALLSITES: usize = MAX_SITES;

/// The keep threshold of one event name, which control changes while the program runs.
#[derive(Debug)]
pub struct Switch(AtomicU64);

impl Switch {
    /// A switch that no policy moves.
    #[must_use]
    pub const fn fixed(threshold: Threshold) -> Self {
        Self(AtomicU64::new(threshold.to_raw()))
    }

    /// Whether events of this name are toggled off right now, at the cost of one load. That of a name
    /// beyond the bound of its table does not know and says no.
    #[must_use]
    #[inline]
    pub fn is_off(&self) -> bool {
        self.threshold() == Threshold::OFF
    }

    #[inline]
    fn threshold(&self) -> Threshold {
        Threshold::from_raw(self.0.load(Ordering::Relaxed))
    }

    fn set(&self, threshold: Threshold) {
        self.0.store(threshold.into(), Ordering::Relaxed);
    }
}

/// What an emit needs to know of one event name.
pub struct Callsite {
    /// The wire name.
    name: EventName,
    /// The name as `event_parts` fields.
    event_parts: Box<[u8]>,
    /// The threshold under the policy in force. Stale and not off in a callsite that is not `kept`.
    switch: Arc<Switch>,
    /// Where its counters are; [`MAX_TAG`] if it is not kept.
    tag: AtomicU32,
    /// Whether the table knows it and keeps its threshold current.
    kept: bool,
    /// Number of the reason for which an event was dropped last, behind policy.
    last_reason: AtomicU32,
    /// What is asked where the threshold is [`Threshold::LIMITED`]: the share, and then the limiter.
    limited: (AtomicU64, AtomicU32),
    /// One more than the number of that limiter if the share is all; else 0.
    sole_limiter: AtomicU32,
}

impl fmt::Debug for Callsite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callsite")
            .field("name", &self.name)
            .field("threshold", &self.switch.threshold())
            .field("kept", &self.kept)
            .finish_non_exhaustive()
    }
}

impl Callsite {
    /// The wire name.
    #[must_use]
    pub fn name(&self) -> &EventName {
        &self.name
    }

    /// The name as encoded `event_parts` fields.
    #[must_use]
    pub fn event_parts(&self) -> &[u8] {
        &self.event_parts
    }

    /// What tells at once whether events of this name are toggled off; may be kept and asked without
    /// the callsite.
    #[must_use]
    pub fn switch(&self) -> &Arc<Switch> {
        &self.switch
    }

    /// The limiter of a limited name, if that is all that it is asked.
    #[inline]
    pub(crate) fn sole_limiter(&self) -> Option<u32> {
        self.sole_limiter.load(Ordering::Relaxed).checked_sub(1)
    }

    /// Puts what a policy says in force.
    fn set(&self, sentence: Sentence) {
        if sentence.threshold == Threshold::LIMITED {
            self.limited
                .0
                .store(sentence.share.into(), Ordering::Relaxed);
            self.limited.1.store(sentence.limiter, Ordering::Relaxed);
            let is_sole = sentence.share == Threshold::KEEP;
            let sole = if is_sole { sentence.limiter + 1 } else { 0 };
            self.sole_limiter.store(sole, Ordering::Relaxed);
        }
        self.switch.set(sentence.threshold);
    }

    /// The number under which the table finds its counters.
    #[inline]
    pub(crate) fn tag(&self) -> u32 {
        self.tag.load(Ordering::Relaxed)
    }
}

/// Where a callsite may be.
type Slot = OnceLock<Arc<Callsite>>;

/// The table.
pub(crate) struct CallsiteTable {
    /// Known names by hash, in the first free slot from there on. A slot is filled once and stays,
    /// at most half of them are, so a search is short and needs no lock.
    slots: Box<[Slot]>,
    /// Slots that are filled or about to be.
    len: AtomicUsize,
    /// Bound of `len`.
    max: usize,
    /// The compiled policy, for new names and those that the table does not keep.
    policy: ArcSwap<Policy>,
    /// Held while the policy is replaced, never by an emit: counts by rule.
    change: Mutex<Tallies>,
    /// Names that got their tag, in the order in which they came.
    tags: AtomicU32,
    /// Counters of all names; those of names that are not kept are one.
    counts: SiteCounts,
}

impl fmt::Debug for CallsiteTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallsiteTable")
            .field("sites", &self.sites().count())
            .field("max", &self.max)
            .finish_non_exhaustive()
    }
}

impl CallsiteTable {
    /// An empty table under `policy` for at most `max` names, and never more than there is room for in
    /// the parts of a region where they are counted and named.
    pub(crate) fn in_parts(
        max: usize,
        policy: Policy,
        counts: Part<[AtomicU64]>,
        names: Part<[AtomicU64]>,
    ) -> Self {
        let counts = SiteCounts::in_parts(counts, names);
        let max = max.min(counts.len());
        let slots = (2 * max).next_power_of_two();
        Self {
            slots: (0..slots).map(|_| OnceLock::new()).collect(),
            len: AtomicUsize::new(0),
            max,
            policy: ArcSwap::from_pointee(policy),
            change: Mutex::default(),
            tags: AtomicU32::new(0),
            counts,
        }
    }

    /// The callsite of a name, made if it is new.
    pub(crate) fn resolve(&self, name: &str) -> Result<Arc<Callsite>, NameError> {
        let known = self
            .probe(name)
            .map_while(OnceLock::get)
            .find(|site| site.name.as_str() == name);
        if let Some(site) = known {
            return Ok(Arc::clone(site));
        }
        let name = EventName::new(name)?;
        Ok(if self.reserve() {
            self.insert(name)
        } else {
            self.unkept(name)
        })
    }

    /// The slots where a name may be, in the order in which they are filled.
    fn probe<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a Slot> + use<'a> {
        let [a, b, c, d, ..] = FxBuildHasher.hash_one(name).to_le_bytes();
        let start = u32::from_le_bytes([a, b, c, d]) as usize & (self.slots.len() - 1);
        let (before, after) = self.slots.split_at(start);
        after.iter().chain(before)
    }

    /// Takes the right to fill one slot.
    fn reserve(&self) -> bool {
        self.len
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |len| {
                (len < self.max).then_some(len + 1)
            })
            .is_ok()
    }

    /// Keeps a name for which a slot is reserved, unless another thread was faster with it.
    fn insert(&self, name: EventName) -> Arc<Callsite> {
        let policy = self.policy.load_full();
        let site = Arc::new(Callsite {
            event_parts: encode_event_parts(name.as_str()).into(),
            switch: Arc::new(Switch::fixed(Threshold::KEEP)),
            tag: AtomicU32::new(MAX_TAG),
            kept: true,
            last_reason: AtomicU32::new(0),
            limited: (AtomicU64::new(0), AtomicU32::new(0)),
            sole_limiter: AtomicU32::new(0),
            name,
        });
        site.set(sentence_of(&policy, &site.name));
        for slot in self.probe(site.name.as_str()) {
            let taken = slot.get_or_init(|| {
                // Nobody else knows the site before it is in its slot, and none that is in no slot has a
                // tag: there are as many as names that may be kept.
                let tag = self.tags.fetch_add(1, Ordering::Relaxed);
                self.counts.set_name(tag, &site.name);
                site.tag.store(tag, Ordering::Relaxed);
                Arc::clone(&site)
            });
            if Arc::ptr_eq(taken, &site) {
                self.settle(&site, policy);
                return site;
            }
            if taken.name == site.name {
                self.len.fetch_sub(1, Ordering::Relaxed);
                return Arc::clone(taken);
            }
        }
        // Cannot be: there are more slots than names.
        self.unkept(site.name.clone())
    }

    /// Brings the threshold of a new site, which was made under the policy `seen`, up to date.
    fn settle(&self, site: &Callsite, mut seen: Arc<Policy>) {
        loop {
            // Pairs with the fence in `set_policy`: either it finds the site in its slot and writes
            // the threshold after us, or we find its policy.
            fence(Ordering::SeqCst);
            let current = self.policy.load_full();
            if Arc::ptr_eq(&seen, &current) {
                return;
            }
            site.set(sentence_of(&current, &site.name));
            seen = current;
        }
    }

    /// The threshold of a callsite under the policy in force.
    #[inline]
    pub(crate) fn threshold(&self, site: &Callsite) -> Threshold {
        if site.kept {
            site.switch.threshold()
        } else {
            self.unkept_threshold(site)
        }
    }

    #[cold]
    fn unkept_threshold(&self, site: &Callsite) -> Threshold {
        self.policy.load().threshold(site.name.as_str())
    }

    /// The names that are kept.
    fn sites(&self) -> impl Iterator<Item = &Arc<Callsite>> {
        self.slots.iter().filter_map(OnceLock::get)
    }

    /// The policy in force.
    pub(crate) fn policy(&self) -> Arc<Policy> {
        self.policy.load_full()
    }

    /// Counts an event that was dropped behind the policy, with its reason.
    pub(crate) fn count_dropped(&self, site: &Callsite, reason: Reason) {
        self.count(site.tag(), Ended::Dropped);
        site.last_reason.store(reason.number(), Ordering::Relaxed);
    }

    /// Counts an event that has no valid name.
    pub(crate) fn count_nameless(&self) {
        self.count(MAX_TAG, Ended::Dropped);
    }

    /// Counts an emit of the name with this tag; a counter publishes nothing but itself.
    #[inline]
    pub(crate) fn count(&self, tag: u32, ended: Ended) {
        self.counts.of(tag)[ended as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// [`count`](Self::count) in the one order that all threads agree on, for what is looked at next
    /// must not be older.
    #[inline]
    pub(crate) fn count_in_order(&self, tag: u32, ended: Ended) {
        self.counts.of(tag)[ended as usize].fetch_add(1, Ordering::SeqCst);
    }

    /// Sums of sampled out, filtered and otherwise dropped over all names.
    pub(crate) fn totals(&self) -> [u64; 3] {
        self.counts
            .totals(self.tags.load(Ordering::Relaxed) as usize)
    }

    /// Counts by name, for names that are kept; `waiting` says how many events of a tag are in the queue.
    pub(crate) fn names(&self, waiting: &FxHashMap<u32, u64>) -> Vec<NameCount> {
        let mut names: Vec<_> = self
            .sites()
            .map(|site| {
                let counts = self.accepted_and_ended(site, waiting);
                let [accepted, sampled_out, filtered, dropped] = counts;
                NameCount {
                    name: site.name.as_str().to_owned(),
                    emitted: accepted + sampled_out + filtered + dropped,
                    accepted,
                    sampled_out,
                    filtered,
                    dropped,
                    last_reason: site.last_reason.load(Ordering::Relaxed),
                }
            })
            .collect();
        names.sort_by(|a, b| a.name.cmp(&b.name));
        names
    }

    /// A callsite that the table does not keep.
    fn unkept(&self, name: EventName) -> Arc<Callsite> {
        Arc::new(Callsite {
            event_parts: encode_event_parts(name.as_str()).into(),
            switch: Arc::new(Switch::fixed(Threshold::KEEP)),
            tag: AtomicU32::new(MAX_TAG),
            kept: false,
            last_reason: AtomicU32::new(0),
            limited: (AtomicU64::new(0), AtomicU32::new(0)),
            sole_limiter: AtomicU32::new(0),
            name,
        })
    }
}

/// What a policy says of a name that it has not met.
fn sentence_of(policy: &Policy, name: &EventName) -> Sentence {
    let name = name.as_str();
    policy.sentence(name, &policy.rules().about(name))
}
