//! Rules: what a person wants to become of which events of which workers.
//!
//! A [`Rule`] is what people write and a manager keeps; a [`WireRule`] is what one worker gets of it. Order
//! never means anything: of the rules about an event only those of the highest rank count, and of these
//! the strictest (`decide.rs`). This room counts nothing and knows no clock; what a worker does with the
//! decision is the policy's.

mod check;
mod decide;
mod index;
mod names;
mod wire;
mod written;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::pattern::Pattern;

pub use check::{RuleProblem, check};
pub use decide::{Decided, Decision, RateLimit, RuleTable};
pub use names::{NameGlobs, wire_globs};
pub use wire::{RulesError, WireAction, WireRule, WorkerRules};

/// Most rules in a set.
pub const MAX_RULES: usize = 256;
/// Most bytes of a set of rules as it travels.
pub const MAX_RULES_BYTES: usize = 64 * 1024;
/// Most globs in each of the two lists of a rule.
pub const MAX_RULE_GLOBS: usize = 64;
/// Most globs in all rules for one worker.
pub const MAX_WORKER_GLOBS: usize = 1_024;
/// Most bytes of the id of a rule.
pub const MAX_RULE_ID_BYTES: usize = 64;
/// Most bytes of the description of a rule.
pub const MAX_RULE_DESCRIPTION_BYTES: usize = 200;
/// The highest rank of a rule that a person writes; the lowest is as far below zero.
pub const MAX_RANK: i32 = 100;
/// Most metadata keys by which the events of a rule are counted.
pub const MAX_COUNT_LABELS: usize = 3;

/// One entry of a policy.
///
/// Its written form, in TOML and JSON, is flat and has one key for its action:
///
/// ```
/// use telemetry_core::rules::{Rule, RuleAction};
///
/// let rule: Rule = serde_json::from_str(
///     r#"{"id": "slow", "match": ["tool.*"], "except": ["*.exception"], "rate": 0.1, "for": "10m"}"#,
/// )?;
/// assert_eq!(rule.action, RuleAction::Rate(0.1));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Rule {
    /// Its name: `[a-z0-9][a-z0-9._-]*`, at most [`MAX_RULE_ID_BYTES`].
    pub id: String,
    /// What it is for; at most [`MAX_RULE_DESCRIPTION_BYTES`].
    pub description: String,
    /// The workers that it is about.
    pub target: RuleTarget,
    /// Globs of the events that it is about: 1 to [`MAX_RULE_GLOBS`]. Over wire names or event names, with or
    /// without the prefix of the latter.
    pub matches: Vec<String>,
    /// Globs of the events that it is not about after all: at most [`MAX_RULE_GLOBS`].
    pub except: Vec<String>,
    /// What becomes of these events.
    pub action: RuleAction,
    /// Of the rules about an event only those of the highest rank count; -[`MAX_RANK`] to [`MAX_RANK`].
    pub rank: i32,
    /// When it ends by itself, if it does.
    pub expiry: Option<Expiry>,
    /// Whether it is in force; one that is not is as if absent.
    pub enabled: bool,
    /// Metadata keys by whose values its events are counted: at most [`MAX_COUNT_LABELS`].
    pub count_labels: Vec<String>,
}

/// The workers that a rule is about: those that all given globs cover. The default is all workers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RuleTarget {
    /// Glob of ids of workers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// Glob of names of pools.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// Globs of the values of labels; a worker without such a label is not covered.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub label: BTreeMap<String, String>,
}

/// What becomes of the events that a rule is about.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum RuleAction {
    /// They are kept.
    Keep,
    /// They are dropped.
    Drop,
    /// They are kept with this probability, from 0 to 1.
    Rate(f64),
    /// So many a second are kept, by each worker.
    PerSecond {
        /// Events a second, above 0.
        limit: f64,
        /// How many may come at once, 1 or more; by default what comes in a second.
        burst: Option<f64>,
    },
    /// So many a second are kept by all the workers together, above 0.
    Budget(f64),
    /// These workers emit nothing at all.
    Off,
}

/// When a rule ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// So long after it comes into force, as people write it.
    In(Duration),
    /// At this time, Unix nanoseconds, as a manager keeps it.
    At(u64),
}

impl Rule {
    /// A rule for all workers that is in force for ever.
    pub fn new(
        id: impl Into<String>,
        matches: impl IntoIterator<Item = impl Into<String>>,
        action: RuleAction,
    ) -> Self {
        Self {
            id: id.into(),
            description: String::new(),
            target: RuleTarget::default(),
            matches: matches.into_iter().map(Into::into).collect(),
            except: Vec::new(),
            action,
            rank: 0,
            expiry: None,
            enabled: true,
            count_labels: Vec::new(),
        }
    }

    /// Makes its end a point in time, as of `now`, Unix nanoseconds. One that is already stays.
    pub fn fix_expiry(&mut self, now: u64) {
        if let Some(Expiry::In(after)) = self.expiry {
            let after = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
            self.expiry = Some(Expiry::At(now.saturating_add(after)));
        }
    }

    /// How long it is in force from `now` on, Unix nanoseconds: `None` for ever, zero if it has ended.
    #[must_use]
    pub fn remaining(&self, now: u64) -> Option<Duration> {
        self.expiry.map(|expiry| match expiry {
            Expiry::In(after) => after,
            Expiry::At(end) => Duration::from_nanos(end.saturating_sub(now)),
        })
    }

    /// What a worker gets of it at `now`, Unix nanoseconds: nothing of one that is disabled or has ended.
    /// `workers` share its budget, if it has one; each has an equal part at first.
    #[must_use]
    pub fn to_wire(&self, number: u32, workers: u32, now: u64) -> Option<WireRule> {
        let remaining = self.remaining(now);
        if !self.enabled || remaining.is_some_and(|left| left.is_zero()) {
            return None;
        }
        let mut rule = self.as_wire(workers);
        rule.number = number;
        rule.expires_in = remaining;
        Some(rule)
    }

    /// What it is on the wire, for ever.
    fn as_wire(&self, workers: u32) -> WireRule {
        let action = self.to_wire_action(workers);
        let mut rule = WireRule::new(0, &self.id, self.matches.clone(), action);
        rule.except.clone_from(&self.except);
        rule.rank = self.rank;
        rule.count_labels.clone_from(&self.count_labels);
        rule
    }

    fn to_wire_action(&self, workers: u32) -> WireAction {
        match self.action {
            RuleAction::Keep => WireAction::Keep,
            RuleAction::Drop => WireAction::Drop,
            RuleAction::Rate(rate) => WireAction::Rate(rate),
            RuleAction::PerSecond { limit, burst } => WireAction::PerSecond { limit, burst },
            RuleAction::Budget(per_second) => WireAction::Budget {
                per_second,
                workers: workers.max(1),
                share: None,
            },
            RuleAction::Off => WireAction::Off,
        }
    }
}

impl RuleTarget {
    /// Whether a worker of a pool with these labels is one of them. A glob that is not valid covers nothing.
    #[must_use]
    pub fn covers(&self, worker: &str, pool: &str, labels: &BTreeMap<String, String>) -> bool {
        let covers =
            |glob: &str, text: &str| Pattern::new(glob).is_ok_and(|pattern| pattern.matches(text));
        let given =
            |glob: &Option<String>, text| glob.as_deref().is_none_or(|glob| covers(glob, text));
        given(&self.worker, worker)
            && given(&self.pool, pool)
            && self
                .label
                .iter()
                .all(|(key, glob)| labels.get(key).is_some_and(|value| covers(glob, value)))
    }

    /// Whether it is all workers, whatever they are called.
    #[must_use]
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }
}

impl RuleAction {
    /// Its key in the written form.
    #[must_use]
    pub const fn key(&self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Drop => "drop",
            Self::Rate(_) => "rate",
            Self::PerSecond { .. } => "per_second",
            Self::Budget(_) => "budget",
            Self::Off => "off",
        }
    }
}
