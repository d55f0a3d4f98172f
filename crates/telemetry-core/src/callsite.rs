//! The bounded table of event names that a worker has used.
//!
//! A name is resolved once to a [`Callsite`], which holds everything an emit needs: the encoded
//! name, the keep threshold and the counters. Readers take no lock. Names beyond the bound are not
//! refused: they get a callsite of their own that is not kept, and share one set of counters.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rustc_hash::FxHashMap;

use crate::ledger::NameCount;
use crate::name::{EventName, NameError};
use crate::policy::{Policy, Threshold};
use crate::wire::encode_event_parts;

/// Names that a worker keeps unless configured otherwise.
pub const DEFAULT_MAX_CALLSITES: usize = 4_096;

/// Outcomes of the emits of one name, each counted when the emit ends.
#[derive(Debug, Default)]
pub(crate) struct SiteCounts {
    /// Taken into the queue.
    pub(crate) accepted: AtomicU64,
    /// Not drawn.
    pub(crate) sampled_out: AtomicU64,
    /// Excluded by a list.
    pub(crate) filtered: AtomicU64,
    /// Dropped for any other reason.
    pub(crate) dropped: AtomicU64,
}

impl SiteCounts {
    /// Adds one to a counter; it publishes nothing but itself.
    pub(crate) fn bump(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// All four, in the order of the fields.
    pub(crate) fn read(&self) -> [u64; 4] {
        [
            &self.accepted,
            &self.sampled_out,
            &self.filtered,
            &self.dropped,
        ]
        .map(|counter| counter.load(Ordering::Relaxed))
    }
}

/// What an emit needs to know of one event name.
pub struct Callsite {
    /// The wire name.
    name: EventName,
    /// The name as `event_parts` fields.
    event_parts: Box<[u8]>,
    /// The raw [`Threshold`] of the policy in force. Stale in a callsite that is not `kept`.
    threshold: AtomicU64,
    /// Whether the table knows it and keeps its threshold current.
    kept: bool,
    /// Its counters; those of names beyond the bound are one.
    pub(crate) counts: Arc<SiteCounts>,
}

impl fmt::Debug for Callsite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callsite")
            .field("name", &self.name)
            .field("threshold", &self.threshold)
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
}

/// The table.
pub(crate) struct CallsiteTable {
    /// Known names; replaced whole when one is added, which is rare and bounded.
    sites: ArcSwap<FxHashMap<EventName, Arc<Callsite>>>,
    /// The compiled policy, for names that the table does not keep.
    policy: ArcSwap<Policy>,
    /// Held while a name is added or the policy replaced, never by an emit of a known name.
    change: Mutex<()>,
    /// Counters of all names that are not kept.
    overflow: Arc<SiteCounts>,
    /// Bound of `sites`.
    max: usize,
}

impl fmt::Debug for CallsiteTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallsiteTable")
            .field("sites", &self.sites.load().len())
            .field("max", &self.max)
            .finish_non_exhaustive()
    }
}

impl CallsiteTable {
    /// An empty table under `policy`.
    pub(crate) fn new(max: usize, policy: Policy) -> Self {
        Self {
            sites: ArcSwap::from_pointee(FxHashMap::default()),
            policy: ArcSwap::from_pointee(policy),
            change: Mutex::new(()),
            overflow: Arc::default(),
            max,
        }
    }

    /// The callsite of a name, made if it is new.
    pub(crate) fn resolve(&self, name: &str) -> Result<Arc<Callsite>, NameError> {
        if let Some(site) = self.sites.load().get(name) {
            return Ok(Arc::clone(site));
        }
        let name = EventName::new(name)?;
        // An emit never waits: if the table is being changed, this one goes the slow way.
        let Ok(_change) = self.change.try_lock() else {
            return Ok(self.unkept(name));
        };
        let sites = self.sites.load();
        if let Some(site) = sites.get(&name) {
            return Ok(Arc::clone(site));
        }
        if sites.len() >= self.max {
            return Ok(self.unkept(name));
        }
        let site = Arc::new(Callsite {
            event_parts: encode_event_parts(name.as_str()).into(),
            threshold: AtomicU64::new(self.policy.load().threshold(name.as_str()).into()),
            kept: true,
            counts: Arc::default(),
            name: name.clone(),
        });
        let mut next = FxHashMap::clone(&sites);
        next.insert(name, Arc::clone(&site));
        self.sites.store(Arc::new(next));
        Ok(site)
    }

    /// The threshold of a callsite under the policy in force.
    pub(crate) fn threshold(&self, site: &Callsite) -> Threshold {
        if site.kept {
            Threshold::from(site.threshold.load(Ordering::Relaxed))
        } else {
            self.policy.load().threshold(site.name.as_str())
        }
    }

    /// Puts a policy in force for every name.
    pub(crate) fn set_policy(&self, policy: Policy) {
        let _change = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        for site in self.sites.load().values() {
            let threshold = policy.threshold(site.name.as_str());
            site.threshold.store(threshold.into(), Ordering::Relaxed);
        }
        self.policy.store(Arc::new(policy));
    }

    /// The policy in force.
    pub(crate) fn policy(&self) -> Arc<Policy> {
        self.policy.load_full()
    }

    /// Counts an event that has no valid name.
    pub(crate) fn count_nameless(&self) {
        SiteCounts::bump(&self.overflow.dropped);
    }

    /// Sums of accepted, sampled out, filtered and otherwise dropped over all names.
    pub(crate) fn totals(&self) -> [u64; 4] {
        self.sites
            .load()
            .values()
            .fold(self.overflow.read(), |sum, site| {
                let counts = site.counts.read();
                std::array::from_fn(|i| sum[i] + counts[i])
            })
    }

    /// Counts by name, for names that are kept.
    pub(crate) fn names(&self) -> Vec<NameCount> {
        let mut names: Vec<_> = self
            .sites
            .load()
            .values()
            .map(|site| {
                let [accepted, sampled_out, filtered, dropped] = site.counts.read();
                NameCount {
                    name: site.name.as_str().to_owned(),
                    emitted: accepted + sampled_out + filtered + dropped,
                    accepted,
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
            threshold: AtomicU64::new(Threshold::OFF.into()),
            kept: false,
            counts: Arc::clone(&self.overflow),
            name,
        })
    }
}
