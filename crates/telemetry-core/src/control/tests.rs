//! Facts about controls: what each does to a policy, what is refused, and the way over the wire.

use super::*;

fn texts(patterns: &[&str]) -> Vec<String> {
    patterns.iter().map(|&pattern| pattern.to_owned()).collect()
}

fn rule(rate: f64, patterns: &[&str]) -> SamplingRule {
    SamplingRule {
        rate,
        patterns: texts(patterns),
    }
}

fn filter(allow: &[&str], deny: &[&str]) -> Control {
    Control::Filter {
        allow: texts(allow),
        deny: texts(deny),
    }
}

fn after(controls: &[Control]) -> PolicySpec {
    controls
        .iter()
        .fold(PolicySpec::default(), |spec, control| {
            spec.apply(control).unwrap()
        })
}

#[test]
fn toggle_keeps_the_rest() {
    let sampled = after(&[Control::Sampling(rule(0.5, &["a"])), filter(&["a"], &["b"])]);
    let muted = sampled.apply(&Control::Toggle { enabled: false }).unwrap();
    assert_eq!(
        muted,
        PolicySpec {
            enabled: false,
            ..sampled.clone()
        }
    );
    assert_eq!(
        muted.apply(&Control::Toggle { enabled: true }).unwrap(),
        sampled
    );
}

#[test]
fn filter_replaces_both_lists() {
    let spec = after(&[filter(&["a"], &["b"]), filter(&[], &["c"])]);
    assert_eq!((spec.allow, spec.deny), (vec![], texts(&["c"])));
    assert_eq!(
        after(&[filter(&["a"], &["b"]), filter(&[], &[])]),
        PolicySpec::default()
    );
}

#[test]
fn the_same_patterns_replace_the_older_rule_and_move_to_the_end() {
    let spec = after(&[
        Control::Sampling(rule(0.1, &["a"])),
        Control::Sampling(rule(0.2, &["b"])),
        Control::Sampling(rule(0.3, &["a"])),
    ]);
    assert_eq!(spec.sampling, [rule(0.2, &["b"]), rule(0.3, &["a"])]);
}

#[test]
fn a_rule_without_patterns_supersedes_all_earlier_ones() {
    let spec = after(&[
        Control::Sampling(rule(0.1, &["a"])),
        Control::Sampling(rule(0.2, &[])),
        Control::Sampling(rule(0.3, &["b"])),
    ]);
    assert_eq!(spec.sampling, [rule(0.2, &[]), rule(0.3, &["b"])]);
}

#[test]
fn rates_outside_zero_to_one_are_refused() {
    for rate in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.1, 1.000_1] {
        let spec = PolicySpec::default();
        let error = spec.apply(&Control::Sampling(rule(rate, &[]))).unwrap_err();
        assert!(matches!(error, ControlError::Rate { .. }), "{error}");
        let text = error.to_string();
        assert!(
            text.contains(&rate.to_string()) && text.contains("0 to 1"),
            "{text}"
        );
        let whole = PolicySpec {
            sampling: vec![rule(rate, &[])],
            ..spec
        };
        assert!(whole.validate().is_err());
    }
    for rate in [0.0, -0.0, 1.0] {
        assert!(
            PolicySpec::default()
                .apply(&Control::Sampling(rule(rate, &[])))
                .is_ok()
        );
    }
}

#[test]
fn bad_patterns_are_refused_with_list_and_place() {
    let spec = after(&[Control::Sampling(rule(0.5, &["a"]))]);
    for (control, list) in [
        (filter(&["a", "{b"], &[]), "allow list: pattern 2"),
        (filter(&[], &["{b"]), "deny list: pattern 1"),
        (
            Control::Sampling(rule(0.5, &["a", "b", "{c"])),
            "sampling rule 2: pattern 3",
        ),
        (
            Control::Policy(PolicySpec {
                deny: texts(&["{a"]),
                ..PolicySpec::default()
            }),
            "deny list: pattern 1",
        ),
    ] {
        let text = spec.apply(&control).unwrap_err().to_string();
        assert!(text.starts_with(list) && text.contains('{'), "{text}");
    }
}

#[test]
fn rules_are_bounded_and_repetition_does_not_reach_the_bound() {
    let mut spec = PolicySpec::default();
    for index in 0..MAX_SAMPLING_RULES {
        let control = Control::Sampling(rule(0.5, &[&format!("a{index}")]));
        spec = spec.apply(&control).unwrap().apply(&control).unwrap();
    }
    assert_eq!(
        spec.apply(&Control::Sampling(rule(0.5, &["b"]))),
        Err(ControlError::TooManyRules { count: 65, max: 64 })
    );
    assert!(spec.apply(&Control::Sampling(rule(0.1, &["a0"]))).is_ok());
    assert!(spec.apply(&Control::Sampling(rule(0.1, &[]))).is_ok());
}

#[test]
fn a_whole_policy_replaces_everything_and_hello_nothing() {
    let before = after(&[Control::Toggle { enabled: false }, filter(&["a"], &[])]);
    let spec = PolicySpec {
        revision: 7,
        deny: texts(&["x.*"]),
        ..PolicySpec::default()
    };
    assert_eq!(before.apply(&Control::Policy(spec.clone())), Ok(spec));
    let hello = Control::Hello(Greeting::default());
    assert_eq!(before.apply(&hello), Ok(before));
}

#[test]
fn legacy_rates_are_clamped_and_nan_is_void() {
    let clamped = |rate| Control::Sampling(rule(rate, &["a"])).clamp_legacy();
    assert_eq!(clamped(7.0), Some(Control::Sampling(rule(1.0, &["a"]))));
    assert_eq!(
        clamped(f64::NEG_INFINITY),
        Some(Control::Sampling(rule(0.0, &["a"])))
    );
    assert_eq!(clamped(0.25), Some(Control::Sampling(rule(0.25, &["a"]))));
    assert_eq!(clamped(f64::NAN), None);
    let toggle = Control::Toggle { enabled: false };
    assert_eq!(toggle.clone().clamp_legacy(), Some(toggle));
}

#[test]
fn every_control_survives_the_wire() {
    use prost::Message;

    let spec = PolicySpec {
        revision: u64::MAX,
        enabled: false,
        sampling: vec![rule(0.5, &[]), rule(0.0, &["a.*", "b"])],
        allow: texts(&["a"]),
        deny: texts(&["b"]),
    };
    for control in [
        Control::Toggle { enabled: true },
        Control::Toggle { enabled: false },
        Control::Sampling(rule(0.25, &["a", "b.*"])),
        filter(&["a"], &["b"]),
        filter(&[], &[]),
        Control::Policy(spec),
        Control::Policy(PolicySpec::default()),
        Control::Hello(Greeting {
            manager_id: "manager-1".into(),
            protocol_revision: 1,
            ..Greeting::default()
        }),
        Control::Hello(Greeting {
            manager_id: "manager-2".into(),
            protocol_revision: 2,
            acknowledges: true,
            epoch: 7,
            position: Some(Position {
                incarnation_id: "ab".into(),
                handled: 9,
                acknowledged: 8,
            }),
        }),
        Control::Acknowledge { sequence: u64::MAX },
        Control::Goodbye,
        Control::Drain,
        Control::Rejected(vec![
            RejectedName::new("a.stpo".into(), Some("a.stop".into())),
            RejectedName::new("b".into(), None),
        ]),
    ] {
        let bytes = control.to_proto().encode_to_vec();
        let message = proto::TelemetryControl::decode(&bytes[..]).unwrap();
        assert_eq!(Control::from_proto(&message), Ok(Some(control)));
    }
}

#[test]
fn an_empty_or_unknown_control_is_none() {
    use prost::Message;

    assert_eq!(
        Control::from_proto(&proto::TelemetryControl::default()),
        Ok(None)
    );
    // Member 2000 of a later version: tag (2000 << 3) | 2 and an empty message.
    let message = proto::TelemetryControl::decode(&[0x82, 0x7d, 0x00][..]).unwrap();
    assert_eq!(Control::from_proto(&message), Ok(None));
}

#[test]
fn oversize_messages_are_refused_before_they_are_copied() {
    let patterns = vec!["a".to_owned(); 100_000];
    let filter = Control::Filter {
        allow: patterns,
        deny: vec![],
    }
    .to_proto();
    assert!(matches!(
        Control::from_proto(&filter),
        Err(ControlError::Pattern(_))
    ));
    let spec = PolicySpec {
        sampling: vec![rule(0.5, &[]); 65],
        ..PolicySpec::default()
    };
    assert_eq!(
        Control::from_proto(&Control::Policy(spec).to_proto()),
        Err(ControlError::TooManyRules { count: 65, max: 64 })
    );
    let long = Control::Sampling(SamplingRule {
        rate: 1.0,
        patterns: vec!["x".repeat(1 << 20)],
    });
    let error = Control::from_proto(&long.to_proto()).unwrap_err();
    assert!(error.to_string().len() < 300, "{error}");
}
