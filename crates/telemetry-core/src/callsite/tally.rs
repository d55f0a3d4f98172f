//! Counts by rule, without a cost for whoever emits: what callsites have counted is given to their rules at
//! each change of policy and at each report.

use rustc_hash::FxHashMap;

use crate::policy::{Limiters, Policy};
use crate::rules::{Decided, RuleTable, WireRule};

/// What one rule has to do with events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RuleTally {
    /// Events whose name it is about.
    pub(crate) matched: u64,
    /// Events that were kept, where it decides.
    pub(crate) kept: u64,
    /// Events that it dropped or did not draw.
    pub(crate) dropped: u64,
    /// Events that its limiter had refused when it was looked at last.
    refused: u64,
}

/// Counts of one name when it was looked at last: accepted, sampled out, filtered, dropped otherwise.
type Counts = [u64; 4];

/// Counts of the rules of a policy.
#[derive(Debug, Default)]
pub(crate) struct Tallies {
    /// By tag: the places of the rules that are about the name, and its counts.
    names: FxHashMap<u32, (Box<[u16]>, Counts)>,
    /// By place of the rule.
    rules: Vec<RuleTally>,
}

impl Tallies {
    /// Begins with the rules of a policy. Those that were there before, by their ids, go on.
    pub(super) fn begin(&mut self, before: &Policy, now: &RuleTable) {
        let known: FxHashMap<_, _> = before
            .rules()
            .rules()
            .map(|rule| rule.id.as_str())
            .zip(self.rules.iter().copied())
            .collect();
        let tally = |rule: &WireRule| known.get(rule.id.as_str()).copied().unwrap_or_default();
        self.rules = now.rules().map(tally).collect();
        self.names.clear();
    }

    /// The places of the rules that are about a name; `counts` are those of the name, if they are to count from
    /// now on only.
    pub(super) fn places(
        &mut self,
        tag: u32,
        name: &str,
        rules: &RuleTable,
        counts: Option<Counts>,
    ) -> &[u16] {
        let known = self
            .names
            .entry(tag)
            .or_insert_with(|| (rules.places(name), counts.unwrap_or_default()));
        &known.0
    }

    /// Gives what a name has counted since to the rules that are about it.
    pub(super) fn fold(&mut self, tag: u32, name: &str, rules: &RuleTable, counts: Counts) {
        let (places, last) = self
            .names
            .entry(tag)
            .or_insert_with(|| (rules.places(name), Counts::default()));
        let new: Counts = std::array::from_fn(|at| counts[at].saturating_sub(last[at]));
        *last = std::array::from_fn(|at| counts[at].max(last[at]));
        let emitted = new.iter().sum::<u64>();
        if emitted == 0 {
            return;
        }
        let about = rules.of(places);
        let decided = Decided::of(&about);
        let is = |rule: Option<&WireRule>, place: u16| {
            let of = rules.of(&[place]);
            matches!((rule, of.first()), (Some(rule), Some(of)) if std::ptr::eq(rule, *of))
        };
        let [kept, sampled_out, filtered, _otherwise] = new;
        for place in places.iter().copied() {
            let Some(tally) = self.rules.get_mut(usize::from(place)) else {
                continue;
            };
            if !rules.of(&[place]).is_empty() {
                tally.matched += emitted;
            }
            if is(decided.by, place) {
                tally.dropped += sampled_out + filtered;
            }
            if is(decided.limited_by.or(decided.by), place) {
                tally.kept += kept;
            }
        }
    }

    /// Gives what limiters have refused since to their rules.
    pub(super) fn fold_refused(&mut self, policy: &Policy, limiters: &Limiters) {
        for (rule, tally) in policy.rules().rules().zip(&mut self.rules) {
            let limiter = policy.limiter(rule).and_then(|slot| limiters.get(slot));
            if let Some(limiter) = limiter {
                let refused = limiter.refused();
                tally.dropped += refused.saturating_sub(tally.refused);
                tally.refused = refused;
            }
        }
    }

    /// Counts by number of the rule.
    pub(super) fn by_rule(&self, rules: &RuleTable) -> Vec<(u32, RuleTally)> {
        let numbers = rules.rules().map(|rule| rule.number);
        numbers.zip(self.rules.iter().copied()).collect()
    }
}
