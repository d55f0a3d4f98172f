//! What a stock worker can be told of a policy.
//!
//! It knows toggle, sampling and filter, and ignores the patterns of a sampling control: a rule with
//! patterns would change the rate of everything. Such rules are not sent but reported.

use telemetry_core::{
    emit::{PolicySpec, SamplingRule},
    wire::Control,
};

/// A policy in the words of a stock worker.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LegacyControls {
    /// What to send, in order. Always the whole state, so that nothing of an earlier policy stays.
    pub(super) controls: [Control; 3],
    /// Rules that cannot be sent.
    pub(super) unsupported: Vec<SamplingRule>,
}

/// Translates a policy.
pub(super) fn legacy_controls(policy: &PolicySpec) -> LegacyControls {
    let (general, unsupported): (Vec<_>, Vec<_>) = policy
        .sampling
        .iter()
        .cloned()
        .partition(|rule| rule.patterns.is_empty());
    let rate = general.last().map_or(1.0, |rule| rule.rate);
    LegacyControls {
        controls: [
            Control::Toggle {
                enabled: policy.enabled,
            },
            Control::Sampling(SamplingRule::of_all(rate)),
            Control::Filter {
                allow: policy.allow.clone(),
                deny: policy.deny.clone(),
            },
        ],
        unsupported,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_with_patterns_is_reported_and_not_sent() {
        let general = SamplingRule::of_all(0.5);
        let special = SamplingRule::new(0.0, ["tool.*"]);
        let mut policy = PolicySpec::default();
        policy.enabled = false;
        policy.sampling = vec![general.clone(), special.clone()];
        policy.deny = vec!["python.*".into()];
        let legacy = legacy_controls(&policy);
        assert_eq!(legacy.controls[0], Control::Toggle { enabled: false });
        assert_eq!(legacy.controls[1], Control::Sampling(general));
        assert_eq!(legacy.unsupported, [special]);
    }

    #[test]
    fn a_policy_without_rules_resets_the_rate() {
        let legacy = legacy_controls(&PolicySpec::default());
        let all = SamplingRule::of_all(1.0);
        assert_eq!(legacy.controls[1], Control::Sampling(all));
    }
}
