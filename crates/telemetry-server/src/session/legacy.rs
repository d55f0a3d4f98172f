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
            Control::Sampling(SamplingRule {
                rate,
                patterns: Vec::new(),
            }),
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
        let general = SamplingRule {
            rate: 0.5,
            patterns: Vec::new(),
        };
        let special = SamplingRule {
            rate: 0.0,
            patterns: vec!["tool.*".into()],
        };
        let policy = PolicySpec {
            enabled: false,
            sampling: vec![general.clone(), special.clone()],
            deny: vec!["python.*".into()],
            ..PolicySpec::default()
        };
        let legacy = legacy_controls(&policy);
        assert_eq!(legacy.controls[0], Control::Toggle { enabled: false });
        assert_eq!(legacy.controls[1], Control::Sampling(general));
        assert_eq!(legacy.unsupported, [special]);
    }

    #[test]
    fn a_policy_without_rules_resets_the_rate() {
        let legacy = legacy_controls(&PolicySpec::default());
        let all = SamplingRule {
            rate: 1.0,
            patterns: Vec::new(),
        };
        assert_eq!(legacy.controls[1], Control::Sampling(all));
    }
}
