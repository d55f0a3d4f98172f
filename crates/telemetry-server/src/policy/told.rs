//! What a worker can be told of rules that does not know them.
//!
//! Our older workers take a list of rates and two lists of globs; stock workers take one rate for all
//! events and a list of globs to drop. What they cannot be told is left to them, never taken away: the
//! manager refuses it when it arrives ([`Enforcer`](super::Enforcer)), so that handlers see the same.

use telemetry_core::catalog::Pattern;
use telemetry_core::emit::{PolicySpec, SamplingRule};
use telemetry_core::rules::{Decision, RuleTable};

/// A name that no catalog has: what is said of it is said of all that are not known.
const UNLISTED: &str = "0";
/// Most globs in a list, and most rates.
const MAX_LIST: usize = 64;

/// The next best to a set of rules.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Approximation {
    /// For our older workers: revision 0, to be set by who sends it.
    pub(crate) policy: PolicySpec,
    /// For stock workers: the highest rate of any name.
    pub(crate) highest: f64,
}

/// Puts rules in the words of old, given the names that are known.
pub(crate) fn approximate<'n>(
    table: &RuleTable,
    names: impl IntoIterator<Item = &'n str>,
) -> Approximation {
    let mut policy = PolicySpec::default();
    policy.enabled = !table.is_off();
    let mut shares: Vec<(f64, Vec<String>)> = Vec::new();
    let mut dropped = Vec::new();
    let mut numbers_about = Vec::new();
    for name in names {
        numbers_about.extend(table.about(name).iter().map(|rule| rule.number));
        match table.decide(name).decision {
            Decision::Kept { rate, .. } => match shares.iter_mut().find(|(it, _)| *it == rate) {
                Some((_, names)) => names.push(name.to_owned()),
                None => shares.push((rate, vec![name.to_owned()])),
            },
            _ => dropped.push(name.to_owned()),
        }
    }
    // What is only about names that are not known, or about any of a form, may be about any that come.
    let is_open = |globs: &[String]| globs.iter().any(|glob| !Pattern::is_exact(glob));
    let strangers = table
        .rules()
        .filter(|rule| is_open(&rule.matches) || !numbers_about.contains(&rule.number));
    let strangers = strangers.filter_map(|rule| match rule.action {
        telemetry_core::rules::WireAction::Drop => None,
        telemetry_core::rules::WireAction::Rate(rate) => Some(rate),
        _ => Some(1.0),
    });
    let stranger = strangers.reduce(f64::max);
    let unlisted = match table.decide(UNLISTED).decision {
        Decision::Kept { rate, .. } => Some(rate),
        _ => None,
    };
    let base = unlisted.into_iter().chain(stranger).reduce(f64::max);
    let highest = shares
        .iter()
        .map(|(rate, _)| *rate)
        .chain(base)
        .reduce(f64::max);
    match base {
        Some(_) => {
            dropped.truncate(MAX_LIST);
            policy.deny = dropped;
        }
        None => {
            let kept: Vec<_> = shares
                .iter()
                .flat_map(|(_, names)| names)
                .cloned()
                .collect();
            match kept.len() {
                0 => policy.deny = vec!["*".to_owned()],
                1..=MAX_LIST => policy.allow = kept,
                _ => {}
            }
        }
    }
    let base = base.or(highest).unwrap_or(1.0);
    shares.retain(|(rate, _)| *rate != base);
    let lists = shares.iter().flat_map(|(rate, names)| {
        let lists = names.chunks(MAX_LIST);
        lists.map(|names| SamplingRule::new(*rate, names.iter().cloned()))
    });
    policy.sampling.push(SamplingRule::of_all(base));
    policy.sampling.extend(lists);
    let highest = highest.unwrap_or(1.0);
    if policy.sampling.len() > MAX_LIST {
        policy.sampling = vec![SamplingRule::of_all(highest)];
    }
    if policy.sampling == [SamplingRule::of_all(1.0)] {
        policy.sampling.clear();
    }
    Approximation { policy, highest }
}

#[cfg(test)]
mod tests {
    use telemetry_core::rules::{WireAction, WireRule};

    use super::*;

    const NAMES: [&str; 4] = ["tool.start", "tool.stop", "python.call", "web.request"];

    #[track_caller]
    fn of(rules: Vec<WireRule>) -> Approximation {
        let (table, problems) = RuleTable::compile(&rules);
        assert_eq!(problems, []);
        approximate(&table, NAMES)
    }

    fn rule(number: u32, glob: &str, action: WireAction) -> WireRule {
        WireRule::new(number, format!("r{number}"), [glob], action)
    }

    #[test]
    fn no_rules_are_no_policy() {
        let told = of(vec![]);
        assert_eq!((told.policy, told.highest), (PolicySpec::default(), 1.0));
    }

    #[test]
    fn each_name_gets_its_rate_and_a_stock_worker_the_highest() {
        let mut exact = rule(2, "tool.*", WireAction::Rate(0.5));
        exact.rank = 1;
        let told = of(vec![rule(1, "*", WireAction::Rate(0.01)), exact]);
        assert_eq!(told.highest, 0.5);
        assert_eq!(
            told.policy.sampling,
            [
                SamplingRule::of_all(0.5),
                SamplingRule::new(0.01, ["python.call", "web.request"])
            ]
        );
    }

    #[test]
    fn what_is_dropped_is_denied_by_name() {
        let told = of(vec![rule(1, "tool.*", WireAction::Drop)]);
        assert_eq!(told.policy.deny, ["tool.start", "tool.stop"]);
        assert!(told.policy.allow.is_empty() && told.highest == 1.0);
        let told = of(vec![rule(1, "*", WireAction::Drop)]);
        assert_eq!(told.policy.deny, ["*"]);
        let mut kept = rule(2, "web.*", WireAction::Keep);
        kept.rank = 1;
        let told = of(vec![rule(1, "*", WireAction::Drop), kept]);
        // Others that begin so may come.
        assert!(told.policy.allow.is_empty());
        assert_eq!(told.policy.deny, ["tool.start", "tool.stop", "python.call"]);
    }

    #[test]
    fn a_rule_about_names_that_are_not_known_keeps_them_possible() {
        let mut own = rule(2, "mine.*", WireAction::Keep);
        own.rank = 1;
        let told = of(vec![rule(1, "*", WireAction::Rate(0.01)), own.clone()]);
        assert_eq!(told.highest, 1.0);
        let told = of(vec![rule(1, "*", WireAction::Drop), own]);
        assert!(told.policy.allow.is_empty(), "{told:?}");
    }

    #[test]
    fn a_limit_is_left_to_the_manager() {
        let limit = WireAction::PerSecond {
            limit: 5.0,
            burst: None,
        };
        let told = of(vec![rule(1, "*", limit)]);
        assert_eq!((told.policy, told.highest), (PolicySpec::default(), 1.0));
    }
}
