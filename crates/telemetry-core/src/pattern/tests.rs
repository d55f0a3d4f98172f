//! Facts about globs that properties would not spell out, and what is refused.

use super::*;

#[track_caller]
fn check(pattern: &str, matching: &[&str], other: &[&str]) {
    let one = Pattern::new(pattern).unwrap();
    let set = PatternSet::new(&[pattern.to_owned()], PatternLimits::default()).unwrap();
    for name in matching {
        assert!(one.matches(name), "{pattern} should match {name}");
        assert!(set.matches(name), "a set of {pattern} should match {name}");
    }
    for name in other {
        assert!(!one.matches(name), "{pattern} should not match {name}");
        assert!(
            !set.matches(name),
            "a set of {pattern} should not match {name}"
        );
    }
}

#[test]
fn star_crosses_dots() {
    check("*", &["a", "a.b.c"], &[]);
    check(
        "python.*",
        &["python.call", "python.call.stop"],
        &["python", "xpython.call"],
    );
    check(
        "*.stop",
        &["call.stop", "python.call.stop"],
        &["stop", "call.stopped"],
    );
    check("a.*.z", &["a.b.z", "a.b.c.z"], &["a.z"]);
    check("a.**.z", &["a.b.z", "a.b.c.z"], &["a.z"]);
}

#[test]
fn exact_names_respect_case_and_cover_the_whole() {
    check(
        "tool.call",
        &["tool.call"],
        &["Tool.call", "tool.call.stop", "my.tool.call"],
    );
}

#[test]
fn classes_alternates_and_escapes() {
    check("a?c", &["abc", "a.c"], &["ac", "abbc"]);
    check("a[bc]d", &["abd", "acd"], &["aed"]);
    check("a[!b-d]e", &["aae"], &["abe", "ace", "ade"]);
    check("{a,b}.stop", &["a.stop", "b.stop"], &["c.stop"]);
    check("a{,.b}", &["a", "a.b"], &["a."]);
    check("{\\,**}", &[",a"], &["/a", "a"]);
    check("a\\*", &["a*"], &["ab"]);
}

#[test]
fn edges_of_classes_and_groups() {
    check("[]a]", &["]", "a"], &["b"]);
    check("[!]a]", &["b"], &["]", "a"]);
    check("[^a]", &["b", "^"], &["a"]);
    check("[a-]", &["a", "-"], &["b"]);
    check("[-a]", &["a", "-"], &["b"]);
    check("[a-b-d]", &["c"], &["e", "-"]);
    check("[\\]x", &["\\x"], &["x"]);
    check("{a,b*}*", &["a", "ax", "b", "bxx"], &["c"]);
    check("{a,{b,}c}d", &["ad", "bcd", "cd"], &["d", "bd"]);
    check("{}a{b}", &["ab"], &["a"]);
    check("a,b?", &["a,bc"], &["a", "b"]);
}

#[test]
fn what_is_wrong_is_said_in_words() {
    let problem = |pattern: &str| match Pattern::new(pattern) {
        Err(PatternError::Syntax { problem, .. }) => problem,
        other => panic!("{pattern}: {other:?}"),
    };
    assert_eq!(problem("[z-a]"), "invalid range; 'z' > 'a'");
    assert_eq!(problem("[]"), "unclosed character class; missing ']'");
    assert_eq!(problem("a\\"), "dangling '\\'");
    assert!(problem("a}").starts_with("unopened alternate group; missing '{'"));
    assert!(problem("{{a}").starts_with("unclosed alternate group; missing '}'"));
}

#[test]
fn any_pattern_of_a_set_matches() {
    let set = PatternSet::new(&["a.*".into(), "b".into()], PatternLimits::default()).unwrap();
    assert!(set.matches("a.x") && set.matches("b") && !set.matches("c"));
    assert!(!PatternSet::default().matches("a"));
    assert!(PatternSet::default().is_empty());
}

#[test]
fn refusals_name_pattern_place_and_problem() {
    let refused = |patterns: &[&str]| {
        let patterns: Vec<String> = patterns.iter().map(|&pattern| pattern.into()).collect();
        PatternSet::new(&patterns, PatternLimits::default()).unwrap_err()
    };
    let error = refused(&["a", "b[c"]);
    assert!(
        matches!(&error, PatternError::Syntax { pattern, position: 2, .. } if pattern == "b[c")
    );
    let text = error.to_string();
    assert!(
        text.contains("pattern 2") && text.contains("b[c") && text.contains("class"),
        "{text}"
    );
    for broken in ["{a", "a}", "a\\", "[z-a]"] {
        assert!(
            matches!(refused(&[broken]), PatternError::Syntax { position: 1, .. }),
            "{broken}"
        );
        assert!(Pattern::new(broken).is_err(), "{broken}");
    }
    assert_eq!(
        refused(&["a", "b", ""]),
        PatternError::Empty { position: 3 }
    );
    assert_eq!(
        refused(&["a"; 65]),
        PatternError::TooMany { count: 65, max: 64 }
    );
    let long = refused(&[&"x".repeat(257)]);
    assert!(matches!(
        long,
        PatternError::TooLong {
            position: 1,
            bytes: 257,
            max: 256,
            ..
        }
    ));
}

#[test]
fn pathological_patterns_stay_cheap() {
    let nested = format!("{}a{}", "{".repeat(127), "}".repeat(127));
    let starred = "*a".repeat(128);
    let alternates = "{a,b}".repeat(51);
    let patterns = [vec![nested; 21], vec![starred; 21], vec![alternates; 22]].concat();
    // Accepted or refused, both are fine; hanging or overflowing the stack is not.
    if let Ok(set) = PatternSet::new(&patterns, PatternLimits::default()) {
        assert!(!set.matches(&"b".repeat(500)));
    }
}

#[test]
fn a_list_is_split_at_its_commas_and_not_within_braces() {
    let split = |list| Pattern::split_list(list).collect::<Vec<_>>();
    assert_eq!(split("a.*, b.{c,d} ,,e"), ["a.*", "b.{c,d}", "e"]);
    assert_eq!(split(""), Vec::<&str>::new());
    assert_eq!(split("tool.[a,b]*,x"), ["tool.[a,b]*", "x"]);
    assert_eq!(split("[],]a],[!],]b,[^,]"), ["[],]a]", "[!],]b", "[^,]"]);
    assert_eq!(split(r"a\,b,c"), [r"a\,b", "c"]);
    // What is no class swallows what follows, and is refused as a whole.
    assert_eq!(split("[a,b"), ["[a,b"]);
    assert!(Pattern::is_exact("a.b") && !Pattern::is_exact("a.{b,c}"));
}
