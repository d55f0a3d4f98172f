//! The controls of old as rules, at ranks that no person can write.

use super::PolicySpec;
use crate::rules::{WireAction, WireRule};

/// Rank of the filter lists: above every rule of a person.
const FILTER_RANK: i32 = 1_000;
/// Rank of the first sampling rule: below every rule of a person.
const SAMPLING_RANK: i32 = -1_000;
/// What stands for every name.
const ALL: &str = "*";

impl PolicySpec {
    /// The rules that mean the same, numbered from `first` on: toggled off is `off`, a list drops at rank 1000,
    /// and the sampling rule at place `i` keeps its rate at rank `i - 1000`.
    #[must_use]
    pub fn to_rules(&self, first: u32) -> Vec<WireRule> {
        let mut rules = Vec::new();
        let mut add = |id: String, matches: &[String], action, rank| {
            let matches: Vec<_> = match matches {
                [] => vec![ALL.to_owned()],
                some => some.to_vec(),
            };
            let mut rule = WireRule::new(0, id, matches, action);
            rule.rank = rank;
            rule.wire_names = true;
            rules.push(rule);
        };
        if !self.enabled {
            add(
                "control.toggle".to_owned(),
                &[],
                WireAction::Off,
                FILTER_RANK,
            );
        }
        if !self.deny.is_empty() {
            add(
                "control.deny".to_owned(),
                &self.deny,
                WireAction::Drop,
                FILTER_RANK,
            );
        }
        if !self.allow.is_empty() {
            add(
                "control.allow".to_owned(),
                &[],
                WireAction::Drop,
                FILTER_RANK,
            );
        }
        for (rank, rule) in (SAMPLING_RANK..).zip(&self.sampling) {
            let id = format!("control.sampling.{}", rank - SAMPLING_RANK);
            add(id, &rule.patterns, WireAction::Rate(rule.rate), rank);
        }
        let except = |rule: &&mut WireRule| rule.id == "control.allow";
        if let Some(allow) = rules.iter_mut().find(except) {
            allow.except.clone_from(&self.allow);
        }
        for (number, rule) in (first..).zip(&mut rules) {
            rule.number = number;
        }
        rules
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::control::SamplingRule;
    use crate::policy::{Policy, Threshold};
    use crate::rules::{Decision, RuleTable};

    fn globs(max: usize) -> impl Strategy<Value = Vec<String>> {
        let glob = prop_oneof![
            Just("*".to_owned()),
            Just("tool.*".to_owned()),
            Just("python.*".to_owned()),
            Just("call.*".to_owned()),
            Just("snakepit.*".to_owned()),
            Just("*.{start,stop}".to_owned()),
            "[a-c]{1,2}(\\.[a-c*]{1,2}){0,2}",
        ];
        prop::collection::vec(glob, 0..max)
    }

    fn specs() -> impl Strategy<Value = PolicySpec> {
        let rates = prop_oneof![Just(0.0), Just(0.25), Just(0.5), Just(1.0)];
        let sampling = prop::collection::vec((rates, globs(3)), 0..6);
        let enabled = prop::bool::weighted(0.9);
        (enabled, sampling, globs(4), globs(4)).prop_map(|(enabled, sampling, allow, deny)| {
            let sampling = sampling.into_iter();
            PolicySpec {
                enabled,
                sampling: sampling
                    .map(|(rate, globs)| SamplingRule::new(rate, globs))
                    .collect(),
                allow,
                deny,
                ..PolicySpec::default()
            }
        })
    }

    proptest! {
        #[test]
        fn the_controls_of_old_mean_the_same_as_their_rules(
            spec in specs(),
            name in "(python\\.|snakepit\\.)?(tool|call|[a-c]{1,2})(\\.(start|stop|[a-c]{1,2})){0,2}",
        ) {
            let (table, problems) = RuleTable::compile(&spec.to_rules(1));
            prop_assert_eq!(problems, []);
            let threshold = match table.decide(&name).decision {
                Decision::Off => Threshold::OFF,
                Decision::Dropped => Threshold::FILTERED,
                Decision::Kept { rate, .. } => Threshold::from_rate(rate),
            };
            prop_assert_eq!(threshold, Policy::compile(&spec).unwrap().threshold(&name));
        }
    }

    #[test]
    fn a_policy_of_the_largest_size_is_within_the_limits() {
        let most = vec!["a.*".to_owned(); 64];
        let spec = PolicySpec {
            enabled: false,
            sampling: vec![SamplingRule::new(0.5, most.clone()); 64],
            allow: most.clone(),
            deny: most,
            ..PolicySpec::default()
        };
        let rules = spec.to_rules(1);
        assert_eq!(
            (rules.len(), rules[66].rank, rules[66].number),
            (67, -937, 67)
        );
        let set = crate::rules::WorkerRules::new(1, rules);
        assert_eq!(set.check_limits(), Ok(()));
    }
}
