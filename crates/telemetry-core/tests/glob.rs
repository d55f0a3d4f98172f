//! Glob matching against an oracle that knows nothing of automata: pattern trees are rendered to
//! text for the compiler under test, and matched by plain backtracking here.

use proptest::collection::vec;
use proptest::prelude::{Strategy, any, prop_oneof};
use proptest::sample::select;
use proptest::{prop_assert_eq, proptest};
use telemetry_core::catalog::{EventName, Pattern, PatternLimits, PatternSet};

/// One piece of a pattern.
#[derive(Debug, Clone)]
enum Piece {
    Literal(char),
    Escaped(char),
    AnyOne,
    AnyRun,
    Class {
        negated: bool,
        members: Vec<char>,
    },
    Range {
        negated: bool,
        first: char,
        last: char,
    },
    Alternates(Vec<Vec<Piece>>),
}

fn render(pieces: &[Piece]) -> String {
    let mark = |negated: &bool| if *negated { "!" } else { "" };
    let mut text = String::new();
    for piece in pieces {
        match piece {
            Piece::Literal(character) => text.push(*character),
            Piece::Escaped(character) => text.extend(['\\', *character]),
            Piece::AnyOne => text.push('?'),
            Piece::AnyRun => text.push('*'),
            Piece::Class { negated, members } => {
                text.push_str(&format!(
                    "[{}{}]",
                    mark(negated),
                    String::from_iter(members)
                ));
            }
            Piece::Range {
                negated,
                first,
                last,
            } => {
                text.push_str(&format!("[{}{first}-{last}]", mark(negated)));
            }
            Piece::Alternates(branches) => {
                let branches: Vec<_> = branches.iter().map(|branch| render(branch)).collect();
                text.push_str(&format!("{{{}}}", branches.join(",")));
            }
        }
    }
    text
}

/// Whether `pieces` and then `rest` can cover all of `name`.
fn covers(pieces: &[Piece], rest: &dyn Fn(&str) -> bool, name: &str) -> bool {
    let Some((piece, pieces)) = pieces.split_first() else {
        return rest(name);
    };
    let after_one = |accept: &dyn Fn(char) -> bool| {
        let mut characters = name.chars();
        characters.next().is_some_and(accept) && covers(pieces, rest, characters.as_str())
    };
    match piece {
        Piece::Literal(character) | Piece::Escaped(character) => {
            after_one(&|found| found == *character)
        }
        Piece::AnyOne => after_one(&|_| true),
        Piece::AnyRun => (0..=name.len()).any(|skipped| covers(pieces, rest, &name[skipped..])),
        Piece::Class { negated, members } => {
            after_one(&|found| members.contains(&found) != *negated)
        }
        Piece::Range {
            negated,
            first,
            last,
        } => after_one(&|found| (*first..=*last).contains(&found) != *negated),
        Piece::Alternates(branches) => branches
            .iter()
            .any(|branch| covers(branch, &|name| covers(pieces, rest, name), name)),
    }
}

fn oracle(pieces: &[Piece], name: &str) -> bool {
    covers(pieces, &str::is_empty, name)
}

/// Names of few letters, so that chance matches are common.
fn names() -> impl Strategy<Value = String> {
    "[abc]{1,2}(\\.[abc]{1,2}){0,3}"
}

fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    let letters = || select(vec!['a', 'b', 'c', '.']);
    let leaf = prop_oneof![
        6 => letters().prop_map(Piece::Literal),
        1 => select(vec!['a', '.', '*', ',', '{', '\\']).prop_map(Piece::Escaped),
        2 => any::<()>().prop_map(|()| Piece::AnyOne),
        4 => any::<()>().prop_map(|()| Piece::AnyRun),
        1 => (any::<bool>(), vec(letters(), 1..4))
            .prop_map(|(negated, members)| Piece::Class { negated, members }),
        1 => (any::<bool>(), select(vec![('a', 'b'), ('b', 'c'), ('-', '.')]))
            .prop_map(|(negated, (first, last))| Piece::Range { negated, first, last }),
    ];
    let piece = leaf.prop_recursive(2, 12, 3, |inner| {
        vec(vec(inner, 0..3), 1..4).prop_map(Piece::Alternates)
    });
    vec(piece, 1..6)
}

proptest! {
    #[test]
    fn a_pattern_matches_as_backtracking_does(pieces in pieces(), names in vec(names(), 8)) {
        let text = render(&pieces);
        let pattern = Pattern::new(&text).unwrap();
        for name in names {
            prop_assert_eq!(pattern.matches(&name), oracle(&pieces, &name), "{} on {}", text, name);
        }
    }

    #[test]
    fn a_set_matches_if_any_pattern_does(
        patterns in vec(pieces(), 0..6),
        names in vec(names(), 8),
    ) {
        let texts: Vec<String> = patterns.iter().map(|pieces| render(pieces)).collect();
        let set = PatternSet::new(&texts, PatternLimits::default()).unwrap();
        for name in names {
            let expected = patterns.iter().any(|pieces| oracle(pieces, &name));
            prop_assert_eq!(set.matches(&name), expected, "{:?} on {}", texts, name);
        }
    }

    #[test]
    fn any_text_compiles_or_is_refused(text in "[a.*?{},\\\\\\[\\]!\\-é/]{0,40}", name in names()) {
        let one = Pattern::new(&text);
        let set = PatternSet::new(std::slice::from_ref(&text), PatternLimits::default());
        prop_assert_eq!(one.is_ok(), set.is_ok(), "{}", text);
        if let (Ok(one), Ok(set)) = (one, set) {
            prop_assert_eq!(one.matches(&name), set.matches(&name), "{} on {}", text, name);
        }
    }

    #[test]
    fn a_name_as_pattern_matches_itself_only(name in names(), other in names()) {
        let pattern = Pattern::new(&name).unwrap();
        assert!(EventName::new(&name).is_ok() && pattern.matches(&name));
        prop_assert_eq!(pattern.matches(&other), name == other);
    }
}

#[test]
fn the_oracle_sees_both_answers() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let mut draw = || {
        let case = (pieces(), names()).new_tree(&mut runner).unwrap().current();
        oracle(&case.0, &case.1)
    };
    let matches = (0..2_000).filter(|_| draw()).count();
    assert!((100..1_900).contains(&matches), "{matches} of 2000");
}
