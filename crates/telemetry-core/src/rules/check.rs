//! What a rule may say; every problem is found, and says which rule, which field and what is allowed.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use super::names::NameGlobs;
use super::wire::{WireAction, WireRule, WorkerRules};
use super::{
    MAX_COUNT_LABELS, MAX_RANK, MAX_RULE_DESCRIPTION_BYTES, MAX_RULE_ID_BYTES, MAX_RULES, Rule,
    RuleTarget,
};
use crate::pattern::{Pattern, PatternError};

/// Most bytes of a metadata key to count by.
const MAX_COUNT_LABEL_BYTES: usize = 64;

/// What is wrong with a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[non_exhaustive]
pub struct RuleProblem {
    /// Its id; empty for what is wrong with the set as a whole.
    pub rule: String,
    /// Where in it.
    pub field: String,
    /// What is wrong and what is allowed.
    pub error: String,
}

impl RuleProblem {
    /// A problem of a rule.
    pub fn new(
        rule: impl Into<String>,
        field: impl Into<String>,
        error: impl fmt::Display,
    ) -> Self {
        Self {
            rule: rule.into(),
            field: field.into(),
            error: error.to_string(),
        }
    }
}

impl fmt::Display for RuleProblem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rule.as_str() {
            "" => write!(formatter, "{}: {}", self.field, self.error),
            id => write!(formatter, "rule {id:?}: {}: {}", self.field, self.error),
        }
    }
}

/// Checks a set of rules: each one, that their ids differ, and that they are no more than allowed.
///
/// Most globs are allowed for one worker, and which rules a worker gets is not known here; so they are
/// counted over those that are about all workers.
///
/// # Errors
///
/// All problems, in the order of the rules.
pub fn check(rules: &[Rule]) -> Result<(), Vec<RuleProblem>> {
    let mut problems = Vec::new();
    let mut seen = BTreeSet::new();
    for rule in rules {
        check_rule(rule, &mut problems);
        if !seen.insert(&rule.id) {
            let error = "another rule has this id; ids are unique";
            problems.push(RuleProblem::new(&rule.id, "id", error));
        }
    }
    if rules.len() > MAX_RULES {
        let error = format_args!("there are {}; at most {MAX_RULES} are allowed", rules.len());
        problems.push(RuleProblem::new("", "rules", error));
    }
    for only_all in [false, true] {
        let rules = rules
            .iter()
            .filter(|rule| !only_all || rule.target.is_all());
        let wire = WorkerRules::new(
            0,
            rules.take(MAX_RULES).map(|rule| rule.as_wire(1)).collect(),
        );
        let limit = if only_all {
            wire.check_globs()
        } else {
            wire.check_bytes()
        };
        if let Err(error) = limit {
            problems.push(RuleProblem::new("", "rules", error));
        }
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(problems)
    }
}

/// Adds what is wrong with one rule.
fn check_rule(rule: &Rule, problems: &mut Vec<RuleProblem>) {
    let mut wrong = |field: &str, error: &dyn fmt::Display| {
        problems.push(RuleProblem::new(&rule.id, field, error));
    };
    if !is_id(&rule.id) {
        wrong(
            "id",
            &format_args!(
                "expected a-z, 0-9, '.', '_' and '-', the first a letter or digit, at most \
                 {MAX_RULE_ID_BYTES} bytes"
            ),
        );
    }
    let bytes = rule.description.len();
    if bytes > MAX_RULE_DESCRIPTION_BYTES {
        let max = MAX_RULE_DESCRIPTION_BYTES;
        wrong(
            "description",
            &format_args!("it has {bytes} bytes; at most {max} are allowed"),
        );
    }
    check_target(&rule.target, &mut wrong);
    if rule.rank.unsigned_abs() > MAX_RANK.unsigned_abs() {
        let rank = rule.rank;
        wrong(
            "rank",
            &format_args!("{rank} is not allowed; expected -{MAX_RANK} to {MAX_RANK}"),
        );
    }
    let labels = rule.count_labels.len();
    if labels > MAX_COUNT_LABELS {
        let max = MAX_COUNT_LABELS;
        wrong(
            "count_labels",
            &format_args!("there are {labels}; at most {max} are allowed"),
        );
    }
    let fits = |key: &String| (1..=MAX_COUNT_LABEL_BYTES).contains(&key.len());
    if !rule.count_labels.iter().all(fits) {
        wrong(
            "count_labels",
            &format_args!("a key has 1 to {MAX_COUNT_LABEL_BYTES} bytes"),
        );
    }
    check_meaning(&rule.as_wire(1), &mut |field, error| wrong(field, error));
}

/// Adds what is wrong with a target.
fn check_target(target: &RuleTarget, wrong: &mut dyn FnMut(&str, &dyn fmt::Display)) {
    let mut check = |field: &str, glob: &str| {
        if let Err(error) = Pattern::new(glob) {
            wrong(field, &error);
        }
    };
    if let Some(glob) = &target.worker {
        check("target.worker", glob);
    }
    if let Some(glob) = &target.pool {
        check("target.pool", glob);
    }
    for (key, glob) in &target.label {
        check(&format!("target.label.{key}"), glob);
    }
}

/// The compiled globs of a rule that a worker was sent.
///
/// # Errors
///
/// The first thing that is wrong with it.
pub(super) fn check_wire_rule(rule: &WireRule) -> Result<(NameGlobs, NameGlobs), RuleProblem> {
    let mut first = None;
    let globs = check_meaning(rule, &mut |field, error| {
        first.get_or_insert_with(|| RuleProblem::new(&rule.id, field, error));
    });
    match first {
        Some(problem) => Err(problem),
        None => Ok(globs),
    }
}

/// Says what is wrong with the globs and the action of a rule, and compiles the globs.
fn check_meaning(
    rule: &WireRule,
    wrong: &mut dyn FnMut(&str, &dyn fmt::Display),
) -> (NameGlobs, NameGlobs) {
    let mut compile = |field: &str, globs: &[String]| {
        let compiled: Result<_, PatternError> = NameGlobs::compile(globs, rule.wire_names);
        compiled.unwrap_or_else(|error| {
            wrong(field, &error);
            NameGlobs::default()
        })
    };
    let globs = (
        compile("match", &rule.matches),
        compile("except", &rule.except),
    );
    if rule.matches.is_empty() {
        wrong("match", &"it is empty; write [\"*\"] for every event");
    }
    let above_zero = |number: f64| number.is_finite() && number > 0.0;
    match rule.action {
        // A range contains no NaN.
        WireAction::Rate(rate) if !(0.0..=1.0).contains(&rate) => wrong(
            "rate",
            &format_args!("{rate} is not allowed; expected a number from 0 to 1"),
        ),
        WireAction::PerSecond { limit, burst } => {
            if !above_zero(limit) {
                wrong(
                    "per_second",
                    &format_args!("{limit} is not allowed; expected a number above 0"),
                );
            }
            if let Some(burst) = burst.filter(|burst| !(burst.is_finite() && *burst >= 1.0)) {
                wrong(
                    "burst",
                    &format_args!("{burst} is not allowed; expected a number of 1 or more"),
                );
            }
        }
        WireAction::Budget { per_second, .. } if !above_zero(per_second) => wrong(
            "budget",
            &format_args!("{per_second} is not allowed; expected a number above 0"),
        ),
        WireAction::Off if rule.matches != ["*"] || !rule.except.is_empty() => wrong(
            "off",
            &"it is about a whole worker: match must be [\"*\"], without except",
        ),
        _ => {}
    }
    globs
}

fn is_id(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let allowed = |byte: u8| plain(byte) || b"._-".contains(&byte);
    id.len() <= MAX_RULE_ID_BYTES && id.bytes().next().is_some_and(plain) && id.bytes().all(allowed)
}
