//! What the rules about one name add up to.
//!
//! Any `off` wins. Else only the highest rank counts; in it any `drop`, then the least rate, then the least
//! limit; of equals the one with the first id. So the sum is the same in any order, of parts, and with a rule
//! twice.

use super::check::{RuleProblem, check_wire_rule};
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
    /// Those that are in force.
    rules: Vec<Compiled>,
}

/// One rule with its globs.
#[derive(Debug, Clone)]
struct Compiled {
    /// What it says.
    rule: WireRule,
    /// The events that it is about.
    matches: NameGlobs,
    /// Those that it is not about after all.
    except: NameGlobs,
}

impl RuleTable {
    /// Compiles rules. Those that break the rules for rules are left out and said to be a problem.
    #[must_use]
    pub fn compile(rules: &[WireRule]) -> (Self, Vec<RuleProblem>) {
        let mut table = Self::default();
        let mut problems = Vec::new();
        for rule in rules {
            match check_wire_rule(rule) {
                Ok((matches, except)) => table.rules.push(Compiled {
                    rule: rule.clone(),
                    matches,
                    except,
                }),
                Err(problem) => problems.push(problem),
            }
        }
        (table, problems)
    }

    /// What becomes of the events of this wire name.
    #[must_use]
    pub fn decide(&self, wire_name: &str) -> Decided<'_> {
        Decided::of(&self.about(wire_name))
    }

    /// The rules that are about this wire name, in their order in the table.
    #[must_use]
    pub fn about(&self, wire_name: &str) -> Vec<&WireRule> {
        let probe = Probe::new(wire_name);
        let about = |compiled: &&Compiled| {
            compiled.matches.covers(&probe) && !compiled.except.covers(&probe)
        };
        let rules = self.rules.iter().filter(about);
        rules.map(|compiled| &compiled.rule).collect()
    }

    /// Whether a rule says that nothing is emitted.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.rules().any(|rule| rule.action == WireAction::Off)
    }

    /// The rules, as many as are in force.
    pub fn rules(&self) -> impl Iterator<Item = &WireRule> {
        self.rules.iter().map(|compiled| &compiled.rule)
    }

    /// Leaves only those that `is_in_force` says.
    pub fn retain(&mut self, mut is_in_force: impl FnMut(&WireRule) -> bool) {
        self.rules.retain(|compiled| is_in_force(&compiled.rule));
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
