//! The set of all rules: those of the file and those that are live, each with its number.
//!
//! A number is what workers count a rule under. It stays with the id as long as there is a rule of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use telemetry_core::catalog::nearest;
use telemetry_core::rules::{Expiry, NameGlobs, Rule, RuleAction, RuleProblem, check};

use super::{PolicyCheck, RuleInfo, RuleOrigin};
use crate::identity::{Labels, WorkerId};

/// Most globs that are warned of at once.
const MAX_WARNINGS: usize = 64;
/// The first number of a rule; those below are for the controls of old.
const FIRST_NUMBER: u32 = 1_000;

/// A rule of the set.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Numbered {
    /// What workers count it under.
    pub(crate) number: u32,
    pub(crate) rule: Rule,
    pub(crate) origin: RuleOrigin,
}

/// All rules, sorted by id.
#[derive(Debug, Clone)]
pub(crate) struct RuleSet {
    rules: Vec<Arc<Numbered>>,
    next_number: u32,
}

impl Default for RuleSet {
    fn default() -> Self {
        Self {
            rules: Vec::new(),
            next_number: FIRST_NUMBER,
        }
    }
}

impl RuleSet {
    /// The rules.
    pub(crate) fn rules(&self) -> &[Arc<Numbered>] {
        &self.rules
    }

    /// The rules of this origin.
    pub(crate) fn of(&self, origin: RuleOrigin) -> impl Iterator<Item = &Rule> {
        let rules = self.rules.iter().filter(move |it| it.origin == origin);
        rules.map(|it| &it.rule)
    }

    /// The same set with these live rules in place of those it has.
    pub(crate) fn with(&self, origin: RuleOrigin, rules: Vec<Rule>) -> Self {
        let mut next_number = self.next_number;
        let mut number = |id: &str| {
            let known = self.rules.iter().find(|it| it.rule.id == id);
            known.map_or_else(
                || {
                    next_number += 1;
                    next_number - 1
                },
                |it| it.number,
            )
        };
        let others = self.rules.iter().filter(|it| it.origin != origin).cloned();
        let new = rules.into_iter().map(|rule| {
            Arc::new(Numbered {
                number: number(&rule.id),
                rule,
                origin,
            })
        });
        let mut rules: Vec<_> = new.collect();
        rules.extend(others);
        rules.sort_by(|a, b| a.rule.id.cmp(&b.rule.id));
        Self { rules, next_number }
    }

    /// Those that are in force and about this worker.
    pub(crate) fn covering(
        &self,
        worker: &WorkerId,
        pool: Option<&str>,
        labels: &Labels,
    ) -> Vec<Arc<Numbered>> {
        let (worker, pool) = (worker.as_str(), pool.unwrap_or(""));
        let is_about = |it: &&Arc<Numbered>| {
            let rule = &it.rule;
            rule.enabled && (rule.target.is_all() || rule.target.covers(worker, pool, labels))
        };
        self.rules.iter().filter(is_about).cloned().collect()
    }

    /// What is wrong with these rules of one origin beside those of the other one, all of it.
    pub(crate) fn problems(&self, origin: RuleOrigin, rules: &[Rule]) -> Vec<RuleProblem> {
        let others: Vec<&Rule> = self
            .rules
            .iter()
            .filter(|it| it.origin != origin)
            .map(|it| &it.rule)
            .collect();
        let mut problems = Vec::new();
        let (mut fresh, mut whole) = (Vec::new(), Vec::new());
        for rule in rules {
            if others.iter().any(|other| other.id == rule.id) {
                problems.push(problem(
                    rule,
                    "id",
                    "a rule of the configuration file and a live one may not have one id; give one of \
                     them another id",
                ));
            } else {
                fresh.push(rule.clone());
            }
            if matches!(rule.action, RuleAction::Budget(_)) {
                problems.push(problem(
                    rule,
                    "budget",
                    "budgets are not shared out by this version; use per_second, which is for each worker",
                ));
            }
        }
        whole.extend(others.into_iter().cloned());
        whole.append(&mut fresh);
        problems.extend(check(&whole).err().unwrap_or_default());
        problems
    }

    /// What would be changed by these live rules.
    pub(crate) fn difference(&self, live: &[Rule]) -> PolicyCheck {
        let before: BTreeMap<&str, &Rule> = self
            .of(RuleOrigin::Live)
            .map(|rule| (rule.id.as_str(), rule))
            .collect();
        let id = |rule: &Rule| rule.id.clone();
        let is_new = |rule: &&Rule| !before.contains_key(rule.id.as_str());
        let is_other = |rule: &&Rule| {
            let there = before.get(rule.id.as_str());
            there.is_some_and(|there| *there != *rule)
        };
        PolicyCheck {
            added: live.iter().filter(is_new).map(id).collect(),
            changed: live.iter().filter(is_other).map(id).collect(),
            removed: before
                .keys()
                .filter(|there| live.iter().all(|rule| rule.id != **there))
                .map(|id| (*id).to_owned())
                .collect(),
            ..PolicyCheck::default()
        }
    }

    /// When the next of them ends by itself, Unix nanoseconds.
    pub(crate) fn next_end(&self) -> Option<u64> {
        self.rules.iter().filter_map(|it| end(&it.rule)).min()
    }

    /// The same without those that have ended by `now`, Unix nanoseconds.
    pub(crate) fn without_ended(&self, now: u64) -> Self {
        let mut set = self.clone();
        set.rules
            .retain(|it| end(&it.rule).is_none_or(|end| end > now));
        set
    }

    /// The rules for operators.
    pub(crate) fn infos(&self) -> Vec<RuleInfo> {
        let info = |it: &Arc<Numbered>| RuleInfo {
            rule: it.rule.clone(),
            origin: it.origin,
        };
        self.rules.iter().map(info).collect()
    }

    /// A hash of all rules.
    pub(crate) fn fingerprint(&self) -> u64 {
        let texts = self.rules.iter().map(|it| {
            let text = serde_json::to_vec(&it.rule).unwrap_or_default();
            fnv(&text)
        });
        texts.fold(self.rules.len() as u64, |sum, hash| {
            sum.rotate_left(5) ^ hash
        })
    }
}

/// Says of every glob that matches none of the names that it does so, with the nearest name.
pub(crate) fn unknown_names(rules: &[Rule], names: &[String]) -> Vec<RuleProblem> {
    let mut warnings = Vec::new();
    for rule in rules {
        for (field, globs) in [("match", &rule.matches), ("except", &rule.except)] {
            for glob in globs {
                let Ok(one) = NameGlobs::new(std::slice::from_ref(glob)) else {
                    continue;
                };
                if names.iter().any(|name| one.matches(name)) {
                    continue;
                }
                let meant = nearest(glob, names.iter().map(String::as_str));
                let meant =
                    meant.map_or_else(String::new, |name| format!("; did you mean {name}?"));
                let text = format!("{glob:?} matches no event that is known so far{meant}");
                warnings.push(problem(rule, field, &text));
                if warnings.len() >= MAX_WARNINGS {
                    return warnings;
                }
            }
        }
    }
    warnings
}

/// When a rule ends by itself.
fn end(rule: &Rule) -> Option<u64> {
    match rule.expiry {
        Some(Expiry::At(end)) => Some(end),
        _ => None,
    }
}

fn problem(rule: &Rule, field: &str, error: &str) -> RuleProblem {
    RuleProblem::new(&rule.id, field, error)
}

/// FNV-1a.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
