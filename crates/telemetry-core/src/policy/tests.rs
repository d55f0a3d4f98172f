//! What lists and rates add up to.

use super::*;
use crate::control::SamplingRule;

fn texts(patterns: &[&str]) -> Vec<String> {
    patterns.iter().map(|&pattern| pattern.to_owned()).collect()
}

fn rule(rate: f64, patterns: &[&str]) -> SamplingRule {
    SamplingRule {
        rate,
        patterns: texts(patterns),
    }
}

#[track_caller]
fn check(spec: PolicySpec, expected: &[(&str, Threshold)]) {
    let policy = Policy::compile(&spec).unwrap();
    assert_eq!(policy.spec(), &spec);
    for (name, threshold) in expected {
        assert_eq!(policy.threshold(name), *threshold, "{name}");
    }
}

#[test]
fn default_keeps_all() {
    assert_eq!(Policy::default().threshold("any.name"), Threshold::KEEP);
    check(PolicySpec::default(), &[("any.name", Threshold::KEEP)]);
}

#[test]
fn off_wins_over_everything() {
    let spec = PolicySpec {
        enabled: false,
        deny: texts(&["*"]),
        ..PolicySpec::default()
    };
    check(spec, &[("a", Threshold::OFF)]);
}

#[test]
fn deny_wins_over_allow() {
    let (keep, filtered) = (Threshold::KEEP, Threshold::FILTERED);
    check(
        PolicySpec {
            allow: texts(&["python.*"]),
            deny: texts(&["*.start"]),
            ..PolicySpec::default()
        },
        &[
            ("python.call.stop", keep),
            ("python.call.start", filtered),
            ("tool.call.stop", filtered),
        ],
    );
    check(
        PolicySpec {
            deny: texts(&["a.*"]),
            ..PolicySpec::default()
        },
        &[("a.b", filtered), ("b.a", keep)],
    );
}

#[test]
fn the_last_matching_rule_counts() {
    let sampling = vec![
        rule(0.5, &[]),
        rule(0.25, &["a.*"]),
        rule(0.0, &["*.x"]),
        rule(1.0, &["a.b.*"]),
    ];
    check(
        PolicySpec {
            sampling,
            ..PolicySpec::default()
        },
        &[
            ("c", Threshold::from_rate(0.5)),
            ("a.c", Threshold::from_rate(0.25)),
            ("a.x", Threshold::NEVER),
            ("a.b.x", Threshold::KEEP),
        ],
    );
}

#[test]
fn an_invalid_spec_does_not_compile() {
    let bad_rate = PolicySpec {
        sampling: vec![rule(1.5, &[])],
        ..PolicySpec::default()
    };
    assert_eq!(
        Policy::compile(&bad_rate).unwrap_err(),
        ControlError::Rate { rate: 1.5 }
    );
    let bad_glob = PolicySpec {
        allow: texts(&["[a"]),
        ..PolicySpec::default()
    };
    assert!(matches!(
        Policy::compile(&bad_glob),
        Err(ControlError::Pattern(_))
    ));
    let rules = PolicySpec {
        sampling: vec![rule(1.0, &[]); 65],
        ..PolicySpec::default()
    };
    assert!(matches!(
        Policy::compile(&rules),
        Err(ControlError::TooManyRules { .. })
    ));
}

#[test]
fn fixed_answers_never_draw() {
    let never = || -> u64 { panic!("drawn") };
    assert_eq!(Threshold::KEEP.decide(never), Verdict::Keep);
    assert_eq!(Threshold::OFF.decide(never), Verdict::Off);
    assert_eq!(Threshold::FILTERED.decide(never), Verdict::Filtered);
    assert_eq!(Threshold::from_rate(0.0).decide(never), Verdict::SampledOut);
    assert_eq!(Threshold::from_rate(1.0).decide(never), Verdict::Keep);
}

#[test]
fn an_event_is_kept_if_its_draw_is_below_the_threshold() {
    let half = Threshold::from_rate(0.5);
    assert_eq!(half.to_raw(), 1 << 63);
    assert_eq!(half.decide(|| (1 << 63) - 1), Verdict::Keep);
    assert_eq!(half.decide(|| 1 << 63), Verdict::SampledOut);
}

#[test]
fn rates_survive_and_do_not_meet_reserved_words() {
    for rate in [0.0, 0.001, 0.1, 0.25, 0.5, 1.0 - f64::EPSILON, 1.0] {
        assert_eq!(Threshold::from_rate(rate).rate(), rate);
    }
    for rate in [f64::MIN_POSITIVE, 1e-19, 1e-20] {
        let threshold = Threshold::from_rate(rate);
        assert!(threshold.to_raw() >= 3 && threshold.rate() > 0.0, "{rate}");
    }
    assert_eq!(Threshold::from_rate(f64::NAN), Threshold::NEVER);
    assert_eq!(Threshold::from_rate(-1.0), Threshold::NEVER);
    assert_eq!(Threshold::from_rate(2.0), Threshold::KEEP);
    assert_eq!(
        (Threshold::OFF.rate(), Threshold::FILTERED.rate()),
        (0.0, 0.0)
    );
}
