//! What a stock worker can be told of a policy.
//!
//! It knows toggle, sampling and filter, and ignores the patterns of a sampling control: a rule with
//! patterns would change the rate of everything. It is told the highest rate that any event has; what is
//! too much then, the manager refuses when it arrives.

use telemetry_core::{emit::SamplingRule, wire::Control};

use super::rest::approximation;
use crate::desired::Wanted;
use crate::dispatch::Dispatcher;

/// What to tell it, in order: always the whole state, so that nothing of an earlier policy stays. And the
/// sampling rules that it cannot be told.
pub(super) fn legacy_controls(
    wanted: &Wanted,
    dispatcher: &Dispatcher,
) -> ([Control; 3], Vec<SamplingRule>) {
    let told = approximation(wanted, dispatcher);
    let sampling = wanted.spec.sampling.iter();
    let unsupported = sampling.filter(|rule| !rule.patterns.is_empty());
    let controls = [
        Control::Toggle {
            enabled: told.policy.enabled,
        },
        Control::Sampling(SamplingRule::of_all(told.highest)),
        Control::Filter {
            allow: told.policy.allow,
            deny: told.policy.deny,
        },
    ];
    (controls, unsupported.cloned().collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use telemetry_core::{Source, SystemClock, catalog::Catalog, emit::PolicySpec};

    use super::*;

    fn told(policy: PolicySpec) -> ([Control; 3], Vec<SamplingRule>) {
        let clock = Arc::new(SystemClock::new());
        let catalog = Arc::clone(Catalog::builtin());
        let dispatcher = Dispatcher::new(catalog, Source::of_node("n"), clock);
        let wanted = Wanted {
            spec: Arc::new(policy),
            rules: Vec::new(),
        };
        legacy_controls(&wanted, &dispatcher)
    }

    #[test]
    fn a_rule_with_patterns_is_reported_and_the_highest_rate_is_sent() {
        let general = SamplingRule::of_all(0.25);
        let special = [
            SamplingRule::new(0.5, ["tool.*"]),
            SamplingRule::new(0.0, ["python.*"]),
        ];
        let mut policy = PolicySpec::default();
        policy.enabled = true;
        policy.sampling = vec![general, special[0].clone(), special[1].clone()];
        policy.deny = vec!["python.*".into()];
        let (controls, unsupported) = told(policy);
        assert_eq!(controls[0], Control::Toggle { enabled: true });
        let highest = SamplingRule::of_all(0.5);
        assert_eq!(controls[1], Control::Sampling(highest));
        let (allow, deny) = (Vec::new(), vec!["python.*".to_owned()]);
        assert_eq!(controls[2], Control::Filter { allow, deny });
        assert_eq!(unsupported, special);
    }

    #[test]
    fn a_policy_without_rules_resets_the_rate() {
        let all = SamplingRule::of_all(1.0);
        assert_eq!(told(PolicySpec::default()).0[1], Control::Sampling(all));
    }
}
