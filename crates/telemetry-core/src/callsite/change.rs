//! A policy comes into force: every name gets its threshold, and what names have counted so far goes to the
//! rules that were in force for it.

use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, PoisonError};

use rustc_hash::FxHashMap;

use super::tally::{RuleTally, Tallies};
use super::{Callsite, CallsiteTable, sentence_of};
use crate::policy::{Limiters, Policy, Threshold};

impl CallsiteTable {
    /// What a limited callsite is asked: the share, and then the limiter. Nothing if it is not limited.
    pub(crate) fn limit(&self, site: &Callsite) -> Option<(Threshold, u32)> {
        if !site.kept {
            let sentence = sentence_of(&self.policy.load(), &site.name);
            let is_limited = sentence.threshold == Threshold::LIMITED;
            return is_limited.then_some((sentence.share, sentence.limiter));
        }
        let (share, limiter) = &site.limited;
        let share = Threshold::from_raw(share.load(Ordering::Relaxed));
        let is_limited = site.switch.threshold() == Threshold::LIMITED;
        is_limited.then(|| (share, limiter.load(Ordering::Relaxed)))
    }

    /// Puts a policy in force for every name. `same_rules`: its rules are the same, but for what ended and
    /// for shares. `waiting`: how many events of a tag are in the queue.
    pub(crate) fn set_policy(
        &self,
        policy: Policy,
        same_rules: bool,
        limiters: &Limiters,
        waiting: &FxHashMap<u32, u64>,
    ) {
        let mut tallies = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        let policy = Arc::new(policy);
        let before = self.policy.load_full();
        self.fold(&mut tallies, &before, limiters, waiting);
        if !same_rules {
            tallies.begin(&before, policy.rules());
        }
        limiters.set(before.slots(), policy.slots(), policy.rules());
        self.policy.store(Arc::clone(&policy));
        // Pairs with the fence in `settle`.
        fence(Ordering::SeqCst);
        for site in self.sites() {
            let name = site.name.as_str();
            let rules = policy.rules();
            let about = if rules.is_empty() {
                Vec::new()
            } else {
                let counts = self.accepted_and_ended(site, waiting);
                rules.of(tallies.places(site.tag(), name, rules, Some(counts)))
            };
            site.set(policy.sentence(name, &about));
        }
    }

    /// Gives what callsites have counted to the rules of a policy.
    fn fold(
        &self,
        tallies: &mut Tallies,
        policy: &Policy,
        limiters: &Limiters,
        waiting: &FxHashMap<u32, u64>,
    ) {
        if policy.rules().is_empty() {
            return;
        }
        for site in self.sites() {
            let counts = self.accepted_and_ended(site, waiting);
            tallies.fold(site.tag(), site.name.as_str(), policy.rules(), counts);
        }
        tallies.fold_refused(policy, limiters);
    }

    /// Counts by rule, with the number of each.
    pub(crate) fn tallies(
        &self,
        limiters: &Limiters,
        waiting: &FxHashMap<u32, u64>,
    ) -> Vec<(u32, RuleTally)> {
        let mut tallies = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        let policy = self.policy.load_full();
        self.fold(&mut tallies, &policy, limiters, waiting);
        tallies.by_rule(policy.rules())
    }

    /// Emits of a name that were accepted, those included that wait in the queue, sampled out, filtered, and
    /// dropped otherwise.
    pub(super) fn accepted_and_ended(
        &self,
        site: &Callsite,
        waiting: &FxHashMap<u32, u64>,
    ) -> [u64; 4] {
        let [left, sampled_out, filtered, dropped] = self.counts.read(site.tag());
        let waiting = waiting.get(&site.tag()).copied().unwrap_or_default();
        [left + waiting, sampled_out, filtered, dropped]
    }
}
