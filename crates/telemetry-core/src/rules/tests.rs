//! What rules mean, as the table of it says, and what may be written.

use proptest::prelude::*;

use super::*;

const DAY: u64 = 86_400 * 1_000_000_000;

fn rule(json: &str) -> Rule {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"))
}

/// What these rules, as `ACTION rank GLOB`, say about a name; a rule that is off or over is left out.
#[track_caller]
fn decision(rules: &[&str], name: &str) -> String {
    let wire: Vec<_> = (1..)
        .zip(rules)
        .filter_map(|(number, text)| {
            let text = format!(r#"{{"id": "rule-{number}", {text}}}"#);
            rule(&text).to_wire(number, 10, DAY)
        })
        .collect();
    let (table, problems) = RuleTable::compile(&wire);
    assert_eq!(problems, []);
    match table.decide(name).decision {
        Decision::Off => "off".to_owned(),
        Decision::Dropped => "dropped".to_owned(),
        Decision::Kept { rate, limit: None } => format!("{rate}"),
        Decision::Kept {
            rate,
            limit: Some(limit),
        } => format!("{rate}, {}/s", limit.per_second),
    }
}

#[test]
fn the_table_of_conflicts_holds() {
    let all = r#""match": ["*"]"#;
    let with = |fields: &str| format!("{all}, {fields}");
    let check = |rules: &[&str], expected: &str| {
        let rules: Vec<_> = rules.iter().map(|rule| with(rule)).collect();
        for rules in [rules.clone(), rules.into_iter().rev().collect()] {
            let rules: Vec<_> = rules.iter().map(String::as_str).collect();
            assert_eq!(decision(&rules, "any.name"), expected, "{rules:?}");
        }
    };
    check(&[r#""drop": true"#, r#""keep": true"#], "dropped");
    check(&[r#""drop": true"#, r#""keep": true, "rank": 1"#], "1");
    check(&[r#""rate": 0.01"#, r#""rate": 0.1"#], "0.01");
    check(&[r#""rate": 0.5"#, r#""per_second": 10"#], "0.5, 10/s");
    check(
        &[r#""rate": 0.5"#, r#""per_second": 10, "rank": 1"#],
        "1, 10/s",
    );
    check(&[r#""rate": 0"#], "0");
    check(&[r#""per_second": 10"#, r#""per_second": 5"#], "1, 5/s");
    // The share of one of ten workers is 100.
    check(&[r#""budget": 1000"#, r#""per_second": 5"#], "1, 5/s");
    check(&[r#""budget": 1000"#, r#""per_second": 500"#], "1, 100/s");
    check(&[r#""off": true"#, r#""keep": true, "rank": 100"#], "off");
    check(
        &[r#""drop": true, "expires_ns": 1"#, r#""rate": 0.1"#],
        "0.1",
    );
    check(
        &[r#""drop": true, "enabled": false"#, r#""rate": 0.1"#],
        "0.1",
    );
    check(&[r#""drop": true, "enabled": false"#], "1");
    check(&[r#""per_second": 7"#, r#""per_second": 7"#], "1, 7/s");
    check(&[], "1");

    let by_name = [
        r#""match": ["*"], "rate": 0.01"#,
        r#""match": ["tool.*"], "rate": 0.1, "rank": 1"#,
    ];
    assert_eq!(decision(&by_name, "tool.execution.stop"), "0.1");
    assert_eq!(decision(&by_name, "session.start"), "0.01");
    let exceptions = [
        r#""match": ["*.exception"], "keep": true, "rank": 10"#,
        r#""match": ["*"], "rate": 0.01"#,
    ];
    assert_eq!(decision(&exceptions, "tool.execution.exception"), "1");
    assert_eq!(decision(&exceptions, "tool.execution.stop"), "0.01");
}

#[test]
fn a_glob_is_over_wire_names_and_event_names() {
    let check = |glob: &str, yes: &[&str], no: &[&str]| {
        let globs = NameGlobs::new(&[glob.to_owned()]).unwrap();
        let wire = crate::pattern::PatternSet::new(&wire_globs(glob), PATTERN_LIMITS).unwrap();
        for (names, expected) in [(yes, true), (no, false)] {
            for name in names {
                assert_eq!(globs.matches(name), expected, "{glob} {name}");
                assert_eq!(wire.matches(name), expected, "{glob} {name} as wire globs");
            }
        }
    };
    const PATTERN_LIMITS: crate::pattern::PatternLimits = crate::pattern::PatternLimits {
        max_patterns: 2,
        max_bytes: 256,
    };
    let tool = ["tool.execution.stop"];
    let call = ["python.call.stop"];
    for glob in [
        "tool.*",
        "snakepit.tool.*",
        "snakepit.python.tool.*",
        "tool.execution.stop",
    ] {
        check(glob, &tool, &call);
    }
    for glob in [
        "call.stop",
        "python.call.*",
        "snakepit.python.call.stop",
        "call.{start,stop}",
    ] {
        check(glob, &call, &tool);
    }
    for glob in ["*", "snakepit.*", "snakepit.python.*", "*.stop", "*s*"] {
        check(glob, &[tool[0], call[0]], &[]);
    }
    for glob in ["s*", "snakepit", "python.tool.*", "pyth"] {
        check(glob, &[], &tool);
    }
}

#[test]
fn a_target_covers_what_all_its_globs_cover() {
    let labels = BTreeMap::from([("zone".to_owned(), "a1".to_owned())]);
    let covers = |target: &str| {
        let text = format!(r#"{{"id": "a", "match": ["*"], "keep": true, "target": {target}}}"#);
        rule(&text).target.covers("gpu-1", "gpu", &labels)
    };
    assert!(covers("{}"));
    assert!(covers(
        r#"{"worker": "gpu-*", "pool": "gpu", "label": {"zone": "a?"}}"#
    ));
    assert!(!covers(r#"{"worker": "gpu-*", "pool": "cpu"}"#));
    assert!(!covers(r#"{"worker": "gpu-2"}"#));
    assert!(!covers(r#"{"label": {"zone": "b*"}}"#));
    assert!(!covers(r#"{"label": {"tier": "*"}}"#));
}

#[test]
fn the_written_form_comes_back_as_it_was() {
    let check = |text: &str| {
        let read = rule(text);
        let written = serde_json::to_string(&read).unwrap();
        assert_eq!(rule(&written), read, "{written}");
        written
    };
    let all = check(
        r#"{"id": "a", "description": "d", "target": {"pool": "p"}, "match": ["x.*"], "except": ["y"],
            "per_second": 5, "burst": 2, "rank": -3, "expires_ns": 7, "enabled": false, "count_labels": ["k"]}"#,
    );
    assert_eq!(
        all,
        r#"{"id":"a","description":"d","match":["x.*"],"except":["y"],"per_second":5.0,"burst":2.0,"rank":-3,"expires_ns":7,"enabled":false,"count_labels":["k"],"target":{"pool":"p"}}"#
    );
    for action in [
        "\"keep\": true",
        "\"drop\": true",
        "\"rate\": 0.5",
        "\"budget\": 9",
        "\"off\": true",
    ] {
        check(&format!(r#"{{"id": "a", "match": ["*"], {action}}}"#));
    }
    let mut timed = rule(r#"{"id": "a", "match": ["*"], "keep": true, "for": "10m"}"#);
    assert_eq!(timed.expiry, Some(Expiry::In(Duration::from_secs(600))));
    timed.fix_expiry(DAY);
    assert_eq!(timed.expiry, Some(Expiry::At(DAY + 600_000_000_000)));
    assert_eq!(
        timed.remaining(DAY + 599_000_000_000),
        Some(Duration::from_secs(1))
    );
    assert!(timed.to_wire(1, 1, DAY + 600_000_000_000).is_none());
}

#[test]
fn a_mistake_in_the_written_form_says_which_rule_and_field_and_what_is_allowed() {
    let check = |text: &str, expected: &str| {
        let error = serde_json::from_str::<Rule>(text).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    };
    check(
        r#"{"id": "a", "mach": ["*"], "keep": true}"#,
        "rule \"a\": mach: no such field; did you mean match?",
    );
    check(
        r#"{"id": "a", "xyzzy": 1, "keep": true}"#,
        "rule \"a\": xyzzy: no such field; allowed are id, ",
    );
    check(
        r#"{"id": "a", "match": ["*"], "keep": true, "rate": 0.1}"#,
        "rule \"a\": action: exactly one of keep, drop, rate, per_second, budget or off is allowed, found keep and rate",
    );
    check(
        r#"{"id": "a", "match": ["*"]}"#,
        "rule \"a\": action: exactly one of keep",
    );
    check(
        r#"{"id": "a", "match": ["*"], "keep": false}"#,
        "rule \"a\": keep: expected true",
    );
    check(
        r#"{"id": "a", "match": ["*"], "rate": "x"}"#,
        "rule \"a\": rate: invalid type: string \"x\", expected f64",
    );
    check(
        r#"{"id": "a", "match": ["*"], "rate": 1, "burst": 2}"#,
        "rule \"a\": burst: it is allowed with per_second only",
    );
    check(
        r#"{"id": "a", "match": ["*"], "rate": 1, "for": "soon"}"#,
        "rule \"a\": for: expected a time above zero: a number and ms,",
    );
    check(
        r#"{"id": "a", "match": ["*"], "rate": 1, "for": "1s", "expires_ns": 1}"#,
        "rule \"a\": expires_ns: only one of for",
    );
    check(
        r#"{"id": "a", "rate": 1}"#,
        "rule \"a\": match: it is missing",
    );
    check(
        r#"{"match": ["*"], "rate": 1}"#,
        "a rule: id: it is missing",
    );
    check(
        r#"{"id": "a", "match": ["*"], "keep": true, "target": {"pol": "x"}}"#,
        "rule \"a\": target: unknown field `pol`, expected one of `worker`, `pool`, `label`",
    );
}

#[test]
fn a_check_finds_all_problems() {
    let mut rules = vec![
        rule(
            r#"{"id": "Bad", "match": [], "rate": 1.5, "rank": 101, "except": ["[a"], "target": {"pool": "[x"}}"#,
        ),
        rule(r#"{"id": "twice", "match": ["*"], "per_second": 0, "burst": 0.5}"#),
        rule(
            r#"{"id": "twice", "match": ["*"], "budget": -1, "count_labels": ["a", "b", "c", ""]}"#,
        ),
        rule(r#"{"id": "off", "match": ["a.*"], "off": true}"#),
        rule(r#"{"id": "fine", "match": ["a.*"], "off": true, "match": ["*"]}"#),
    ];
    rules[3].description = "x".repeat(201);
    let problems = check(&rules).unwrap_err();
    let found: Vec<_> = problems
        .iter()
        .map(|it| (it.rule.as_str(), it.field.as_str()))
        .collect();
    assert_eq!(
        found,
        [
            ("Bad", "id"),
            ("Bad", "target.pool"),
            ("Bad", "rank"),
            ("Bad", "except"),
            ("Bad", "match"),
            ("Bad", "rate"),
            ("twice", "per_second"),
            ("twice", "burst"),
            ("twice", "count_labels"),
            ("twice", "count_labels"),
            ("twice", "budget"),
            ("twice", "id"),
            ("off", "description"),
            ("off", "off"),
        ]
    );
    assert_eq!(
        problems[5].to_string(),
        "rule \"Bad\": rate: 1.5 is not allowed; expected a number from 0 to 1"
    );
    assert_eq!(check(&rules[4..]), Ok(()));
}

#[test]
fn sets_within_the_limits_pass_and_larger_ones_do_not() {
    let many = |count: usize, globs: usize, glob: &str| -> Vec<Rule> {
        (0..count)
            .map(|index| Rule::new(format!("r{index}"), vec![glob; globs], RuleAction::Keep))
            .collect()
    };
    assert_eq!(check(&many(256, 4, "tool.*")), Ok(()));
    let refused = |rules: Vec<Rule>| -> Vec<String> {
        check(&rules)
            .unwrap_err()
            .iter()
            .map(ToString::to_string)
            .collect()
    };
    assert_eq!(
        refused(many(257, 1, "*")),
        ["rules: there are 257; at most 256 are allowed"]
    );
    assert_eq!(
        refused(many(256, 5, "*")),
        ["rules: the rules have 1280 globs; at most 1024 are allowed"]
    );
    let long = "x".repeat(200);
    let found = refused(many(10, 64, &long));
    assert!(
        found[0].contains(" bytes; at most 65536 are allowed"),
        "{found:?}"
    );
    assert!(refused(many(1, 65, "*"))[0].contains("a list of 65 patterns is too long; at most 64"));
    let mut other_pools = many(256, 5, "*");
    for rule in &mut other_pools {
        rule.target.pool = Some("one-of-many".to_owned());
    }
    assert_eq!(
        check(&other_pools),
        Ok(()),
        "no worker need get all of them"
    );
}

mod wire {
    use prost::Message;
    use telemetry_proto as proto;

    use super::super::*;
    use crate::control::{Control, ControlError};

    fn set() -> WorkerRules {
        let actions = [
            WireAction::Keep,
            WireAction::Drop,
            WireAction::Off,
            WireAction::Rate(0.0),
            WireAction::PerSecond {
                limit: 2.0,
                burst: None,
            },
            WireAction::PerSecond {
                limit: 2.0,
                burst: Some(9.0),
            },
            WireAction::Budget {
                per_second: 9.0,
                workers: 3,
                share: None,
            },
            WireAction::Budget {
                per_second: 9.0,
                workers: 3,
                share: Some(0.5),
            },
        ];
        let rules = (1..).zip(actions).map(|(number, action)| {
            let mut rule = WireRule::new(number, format!("r{number}"), ["*"], action);
            rule.rank = 3 - i32::try_from(number).unwrap();
            rule.expires_in = (number % 2 == 0).then(|| Duration::from_millis(1_500));
            rule.count_labels = vec!["k".to_owned()];
            rule.except = vec!["x".to_owned(), "a".to_owned()];
            rule
        });
        WorkerRules::new(7, rules.collect())
    }

    /// The set after the wire, with other bytes in it.
    fn read(change: impl FnOnce(&mut proto::TelemetryRules)) -> Result<WorkerRules, ControlError> {
        let mut message = Control::Rules(set()).to_proto();
        let Some(proto::telemetry_control::Control::Rules(rules)) = &mut message.control else {
            panic!("rules");
        };
        change(rules);
        match Control::from_proto(&message)? {
            Some(Control::Rules(rules)) => Ok(rules),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_set_survives_the_wire() {
        assert_eq!(read(|_| ()), Ok(set()));
    }

    #[test]
    fn a_rule_with_an_unknown_field_or_action_is_left_out_and_named() {
        let found = read(|message| {
            // Field 99, a number.
            message.rules[0].extend([0x98, 0x06, 0x01]);
            let mut rule = proto::TelemetryRule::decode(&message.rules[1][..]).unwrap();
            rule.action = None;
            message.rules[1] = rule.encode_to_vec();
        })
        .unwrap();
        assert_eq!(found.rules, set().rules[2..]);
        let problems: Vec<_> = found.problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            problems,
            [
                "rule \"r1\": field 99: this version does not know it",
                "rule \"r2\": action: there is none that this version knows",
            ]
        );
    }

    #[test]
    fn a_set_that_cannot_be_read_or_is_too_large_is_refused_whole() {
        let found = read(|message| message.rules[0].truncate(3)).unwrap_err();
        assert!(
            found.to_string().starts_with("a rule could not be read: "),
            "{found}"
        );
        let found = read(|message| {
            let one = message.rules[0].clone();
            message.rules.resize(257, one);
        });
        assert_eq!(
            found.unwrap_err().to_string(),
            "the rules have 257 rules; at most 256 are allowed"
        );
    }

    type Change<'a> = &'a dyn Fn(&mut Vec<WireRule>);

    #[test]
    fn a_fingerprint_is_of_the_meaning_and_of_no_order() {
        let print = |change: &dyn Fn(&mut Vec<WireRule>)| {
            let mut rules = set().rules;
            change(&mut rules);
            WorkerRules::new(1, rules).fingerprint
        };
        // Written once, for ever: managers and workers of other versions compare it.
        assert_eq!(print(&|_| ()), 0xab53_95f1_60cb_2625);
        let same: [Change<'_>; 5] = [
            &|rules| rules.reverse(),
            &|rules| rules[0].number = 99,
            &|rules| rules[0].expires_in = Some(Duration::from_secs(1)),
            &|rules| rules[0].except.reverse(),
            &|rules| rules[7].action = set().rules[6].action,
        ];
        for (index, change) in same.into_iter().enumerate() {
            assert_eq!(print(change), set().fingerprint, "{index}");
        }
        let other: [Change<'_>; 5] = [
            &|rules| drop(rules.pop()),
            &|rules| rules[0].rank = 99,
            &|rules| rules[0].action = WireAction::Drop,
            &|rules| rules[0].matches.push("b".to_owned()),
            &|rules| rules.push(rules[0].clone()),
        ];
        for (index, change) in other.into_iter().enumerate() {
            assert_ne!(print(change), set().fingerprint, "{index}");
        }
    }
}

/// A rule about some of few names, with actions and ranks that often meet.
fn any_rule() -> impl Strategy<Value = WireRule> {
    let action = prop_oneof![
        Just(WireAction::Keep),
        Just(WireAction::Drop),
        Just(WireAction::Rate(0.0)),
        Just(WireAction::Rate(0.25)),
        Just(WireAction::Rate(0.5)),
        Just(WireAction::PerSecond {
            limit: 2.0,
            burst: None
        }),
        Just(WireAction::PerSecond {
            limit: 2.0,
            burst: Some(9.0)
        }),
        Just(WireAction::Budget {
            per_second: 9.0,
            workers: 3,
            share: None
        }),
        Just(WireAction::Off),
    ];
    let glob = prop_oneof![
        Just("*"),
        Just("tool.*"),
        Just("*.stop"),
        Just("call.{start,stop}")
    ];
    let except = prop::option::of(Just("*.exception"));
    (action, -1_i32..2, glob, except, "[a-c]").prop_map(|(action, rank, glob, except, id)| {
        let mut rule = WireRule::new(1, id, [glob], action);
        rule.rank = rank;
        rule.except = except.into_iter().map(str::to_owned).collect();
        rule
    })
}

/// What is decided, and which actions decide it.
fn decided(rules: &[&WireRule]) -> (Decision, Option<String>, Option<String>) {
    let decided = Decided::of(rules);
    let id = |rule: Option<&WireRule>| rule.map(|rule| rule.id.clone());
    (decided.decision, id(decided.by), id(decided.limited_by))
}

proptest! {
    #[test]
    fn order_never_matters(
        (rules, shuffled) in prop::collection::vec(any_rule(), 0..9)
            .prop_flat_map(|rules| (Just(rules.clone()), Just(rules).prop_shuffle())),
    ) {
        let (rules, shuffled): (Vec<_>, Vec<_>) = (rules.iter().collect(), shuffled.iter().collect());
        prop_assert_eq!(decided(&rules), decided(&shuffled));
    }

    #[test]
    fn parts_may_be_decided_first(
        rules in prop::collection::vec(any_rule(), 0..9),
        at in 0_usize..9,
    ) {
        let rules: Vec<_> = rules.iter().collect();
        let (one, other) = rules.split_at(at.min(rules.len()));
        let winners = |rules: &[&WireRule]| {
            let decided = Decided::of(rules);
            decided.by.into_iter().chain(decided.limited_by).cloned().collect::<Vec<_>>()
        };
        let both: Vec<_> = winners(one).into_iter().chain(winners(other)).collect();
        prop_assert_eq!(decided(&both.iter().collect::<Vec<_>>()), decided(&rules));
    }

    #[test]
    fn a_rule_twice_is_as_once(rules in prop::collection::vec(any_rule(), 1..9), at in 0_usize..9) {
        let mut again = rules[at % rules.len()].clone();
        again.id = "z".to_owned();
        let once: Vec<_> = rules.iter().collect();
        let twice: Vec<_> = rules.iter().chain([&again]).collect();
        prop_assert_eq!(decided(&once), decided(&twice));
    }

    /// What the index of all globs finds is what each rule says by itself.
    #[test]
    fn a_table_finds_the_rules_that_are_about_a_name(
        globs in prop::collection::vec(
            prop::collection::vec(r"(snakepit\.)?(python\.)?[ab*?]{0,3}(\.[ab*]{1,3})?\.?[ab]{0,9}", 1..4),
            1..12,
        ),
        except in prop::option::of("[ab*]{1,3}"),
        wire_names in any::<bool>(),
        name in "(python\\.)?[ab]{1,2}(\\.[ab]{1,10})?",
    ) {
        let rules = (0..).zip(globs).map(|(number, globs)| {
            let mut rule = WireRule::new(number, format!("r{number}"), globs, WireAction::Keep);
            rule.except = except.clone().into_iter().collect();
            rule.wire_names = wire_names;
            rule
        });
        let (table, _problems) = RuleTable::compile(&rules.collect::<Vec<_>>());
        let is_about = |rule: &&WireRule| {
            let matches = |globs| NameGlobs::compile(globs, wire_names).unwrap().matches(&name);
            matches(&rule.matches) && !matches(&rule.except)
        };
        let expected: Vec<_> = table.rules().filter(is_about).collect();
        prop_assert_eq!(table.about(&name), expected);
    }

    /// What is seen at a glance of a pattern is never wrong.
    #[test]
    fn a_glance_at_the_ends_hides_no_match(
        glob in r"[ab*?]{0,6}(\[[ab]\]|\{a,b\}|\\a)?[ab*?]{0,12}",
        name in "[ab]{1,20}",
    ) {
        if let Ok(pattern) = Pattern::new(&glob) {
            let ends = crate::pattern::Ends::of(&name);
            prop_assert!(!pattern.matches(&name) || pattern.ends().may_be_of(ends));
        }
    }
}
