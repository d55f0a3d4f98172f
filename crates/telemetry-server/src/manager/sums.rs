//! Sums over all workers in one pass, without the lock that registrations need.
//!
//! What there is to be summed is taken down in one locked moment; the counters are read afterwards, which
//! may take milliseconds. A worker that departs meanwhile would be in neither list as it should be, so
//! the registry says whether one did, and the sum is made anew.

use std::collections::BTreeMap;
use std::sync::Arc;

use telemetry_core::ledger::StreamSnapshot;

use super::{Inner, Totals};
use crate::accounts::Strays;
use crate::identity::Labels;
use crate::session::Record;

/// How often a sum is made anew before it is made under the lock.
const ATTEMPTS: usize = 3;

/// Everything that counts, at one moment.
#[derive(Debug, Default)]
pub(super) struct Parts {
    /// Workers that are there.
    pub(super) registered: Vec<Arc<Record>>,
    /// Workers that were taken away and are still being read.
    pub(super) retiring: Vec<Arc<Record>>,
    /// Sums of workers that are gone, by pool.
    pub(super) folded: BTreeMap<Option<String>, Totals>,
    /// Captures, with their pool.
    pub(super) captures: Vec<(Option<String>, StreamSnapshot)>,
    /// Which moment it was: another number after each departure.
    pub(super) departures: u64,
}

impl Inner {
    /// The sums, by what `key` makes of the pool's name.
    pub(super) fn sums<K: Ord>(&self, key: impl Fn(&Option<String>) -> K) -> BTreeMap<K, Totals> {
        for _ in 0..ATTEMPTS {
            let parts = self.lock().parts();
            let departures = parts.departures;
            let sums = parts.sum(&key, &self.book.strays());
            if self.lock().departures() == departures {
                return sums;
            }
        }
        let registry = self.lock();
        registry.parts().sum(&key, &self.book.strays())
    }
}

impl Parts {
    fn sum<K: Ord>(
        self,
        key: impl Fn(&Option<String>) -> K,
        strays: &BTreeMap<Option<String>, Strays>,
    ) -> BTreeMap<K, Totals> {
        let mut sums: BTreeMap<K, Totals> = BTreeMap::new();
        let mut of = |pool: &Option<String>, add: &dyn Fn(&mut Totals)| {
            add(sums.entry(key(pool)).or_default());
        };
        for info in self
            .registered
            .iter()
            .map(|record| record.info(0, Labels::new()))
        {
            of(&info.pool_name, &|totals| totals.add(&info));
        }
        for info in self
            .retiring
            .iter()
            .map(|record| record.info(0, Labels::new()))
        {
            of(&info.pool_name, &|totals| totals.fold(&info));
        }
        for (pool, captured) in &self.captures {
            of(pool, &|totals| totals.add_captured(captured));
        }
        for (pool, folded) in &self.folded {
            of(pool, &|totals| totals.merge(folded));
        }
        for (pool, strays) in strays {
            of(pool, &|totals| totals.add_strays(strays));
        }
        sums
    }
}
