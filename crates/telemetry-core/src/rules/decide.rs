//! What the rules about one name add up to.
//!
//! Any `off` wins. Else only the highest rank counts; in it any `drop`, then the least rate, then the least
//! limit; of equals the one with the first id. So the sum is the same in any order, of parts, and with a rule
//! twice.

use std::sync::Arc;

use super::check::{RuleProblem, check_wire_rule};
use super::index::{GlobIndex, matching};
use super::names::{NameGlobs, Probe};
use super::wire::{WireAction, WireRule};

/// What becomes of the events of one name.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Decision {
    /// Nothing is emitted, of any name.
    Off,
    /// They are dropped.
    Dropped,
    /// They are kept.
    Kept {
        /// With this probability; 0 keeps none.
        rate: f64,
        /// Of these no more than the limit says.
        limit: Option<RateLimit>,
    },
}

/// How many events a second are kept.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct RateLimit {
    /// Events a second.
    pub per_second: f64,
    /// How many may come at once.
    pub burst: f64,
}

impl RateLimit {
    /// So many events a second, and so many at once.
    #[must_use]
    pub const fn new(per_second: f64, burst: f64) -> Self {
        Self { per_second, burst }
    }
}

/// A decision, and the rules that made it.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Decided<'r> {
    /// What becomes of the events.
    pub decision: Decision,
    /// The rule that says off, drop or the rate; none if there is none, or only a limit.
    pub by: Option<&'r WireRule>,
    /// The rule that says the limit.
    pub limited_by: Option<&'r WireRule>,
}

impl<'r> Decided<'r> {
    /// What the rules that are about one name add up to.
    #[must_use]
    pub fn of(rules: &[&'r WireRule]) -> Self {
        let said = |rules: &[&'r WireRule], action| {
            let said = rules.iter().filter(|rule| rule.action == action);
            said.copied().min_by(|a, b| a.id.cmp(&b.id))
        };
        let ended = |decision, by| Self {
            decision,
            by: Some(by),
            limited_by: None,
        };
        if let Some(off) = said(rules, WireAction::Off) {
            return ended(Decision::Off, off);
        }
        let highest = rules.iter().map(|rule| rule.rank).max();
        let highest = rules.iter().filter(|rule| Some(rule.rank) == highest);
        let rules: Vec<_> = highest.copied().collect();
        if let Some(drop) = said(&rules, WireAction::Drop) {
            return ended(Decision::Dropped, drop);
        }
        let rates = rules.iter().filter_map(|rule| Some((rule.rate()?, *rule)));
        let least = rates
            .min_by(|(a, rule), (b, other)| a.total_cmp(b).then_with(|| rule.id.cmp(&other.id)));
        let limits = rules.iter().filter_map(|rule| Some((rule.limit()?, *rule)));
        let limit = limits.min_by(|(a, rule), (b, other)| {
            let by_rate = a.per_second.total_cmp(&b.per_second);
            let by_burst = by_rate.then(a.burst.total_cmp(&b.burst));
            by_burst.then_with(|| rule.id.cmp(&other.id))
        });
        Self {
            decision: Decision::Kept {
                rate: least.map_or(1.0, |(rate, _)| rate),
                limit: limit.map(|(limit, _)| limit),
            },
            by: least.map(|(_, rule)| rule),
            limited_by: limit.map(|(_, rule)| rule),
        }
    }
}

/// The compiled rules of one worker.
#[derive(Debug, Clone, Default)]
pub struct RuleTable {
    /// All of them.
    rules: Vec<Compiled>,
    /// Their globs.
    index: Arc<GlobIndex>,
}

/// One rule with its globs.
#[derive(Debug, Clone)]
struct Compiled {
    /// What it says.
    rule: WireRule,
    /// The events that it is about, and those that it is not about after all.
    globs: Arc<(NameGlobs, NameGlobs)>,
    /// Whether it has ended by itself.
    has_ended: bool,
}

impl RuleTable {
    /// Compiles rules. Those that break the rules for rules are left out and said to be a problem.
    #[must_use]
    pub fn compile(rules: &[WireRule]) -> (Self, Vec<RuleProblem>) {
        let mut compiled = Vec::new();
        let mut index = GlobIndex::default();
        let mut problems = Vec::new();
        for rule in rules {
            match (check_wire_rule(rule), u16::try_from(compiled.len())) {
                (Ok(globs), Ok(place)) => {
                    index.add(place, &globs.0);
                    compiled.push(Compiled {
                        rule: rule.clone(),
                        globs: Arc::new(globs),
                        has_ended: false,
                    });
                }
                (Err(problem), _) => problems.push(problem),
                (Ok(_), Err(_)) => {
                    problems.push(RuleProblem::new(&rule.id, "rule", "there are too many"));
                }
            }
        }
        let table = Self {
            rules: compiled,
            index: Arc::new(index),
        };
        (table, problems)
    }

    /// What becomes of the events of this wire name.
    #[must_use]
    pub fn decide(&self, wire_name: &str) -> Decided<'_> {
        Decided::of(&self.about(wire_name))
    }

    /// The rules in force that are about this wire name, in their order in the table.
    #[must_use]
    pub fn about(&self, wire_name: &str) -> Vec<&WireRule> {
        if self.rules.is_empty() {
            return Vec::new();
        }
        self.of(&self.places(wire_name))
    }

    /// Where in the table the rules stand that are about this wire name; also those that have ended.
    pub(crate) fn places(&self, wire_name: &str) -> Box<[u16]> {
        let probe = Probe::new(wire_name);
        let globs = |place: u16| Some(&*self.rules.get(usize::from(place))?.globs);
        let matching = matching(&self.index, &probe, |place| Some(&globs(place)?.0));
        let is_excepted = |place: u16| globs(place).is_some_and(|globs| globs.1.covers(&probe));
        let about = matching.into_iter().filter(|place| !is_excepted(*place));
        about.collect()
    }

    /// The rules in force at these places.
    pub(crate) fn of(&self, places: &[u16]) -> Vec<&WireRule> {
        let rules = places
            .iter()
            .filter_map(|place| self.rules.get(usize::from(*place)));
        let rules = rules.filter(|compiled| !compiled.has_ended);
        rules.map(|compiled| &compiled.rule).collect()
    }

    /// Whether a rule says that nothing is emitted.
    #[must_use]
    pub fn is_off(&self) -> bool {
        let mut rules = self.rules.iter().filter(|compiled| !compiled.has_ended);
        rules.any(|compiled| compiled.rule.action == WireAction::Off)
    }

    /// All rules, those included that have ended.
    pub fn rules(&self) -> impl Iterator<Item = &WireRule> {
        self.rules.iter().map(|compiled| &compiled.rule)
    }

    /// Whether it has no rules.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Ends the rules of which `has_ended` says so.
    pub(crate) fn end(&mut self, has_ended: impl Fn(&WireRule) -> bool) {
        for compiled in &mut self.rules {
            compiled.has_ended |= has_ended(&compiled.rule);
        }
    }

    /// Changes what this worker has of budgets: for the numbers for which `share` has an answer.
    pub(crate) fn set_shares(&mut self, share: impl Fn(u32) -> Option<Option<f64>>) {
        for compiled in &mut self.rules {
            if let WireAction::Budget { share: own, .. } = &mut compiled.rule.action
                && let Some(share) = share(compiled.rule.number)
            {
                *own = share.filter(|share| share.is_finite() && *share > 0.0);
            }
        }
    }
}

impl WireRule {
    /// The probability with which it has events kept; none if it says nothing of that.
    fn rate(&self) -> Option<f64> {
        match self.action {
            WireAction::Keep => Some(1.0),
            WireAction::Rate(rate) => Some(rate),
            _ => None,
        }
    }

    /// How many events a second it has kept; none if it says nothing of that.
    #[must_use]
    pub fn limit(&self) -> Option<RateLimit> {
        let (per_second, burst) = match self.action {
            WireAction::PerSecond { limit, burst } => (limit, burst),
            WireAction::Budget {
                per_second,
                workers,
                share,
            } => (
                share.unwrap_or(per_second / f64::from(workers.max(1))),
                None,
            ),
            _ => return None,
        };
        Some(RateLimit {
            per_second,
            burst: burst.unwrap_or(per_second).max(1.0),
        })
    }
}
