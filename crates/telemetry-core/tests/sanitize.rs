//! The algebra of the sanitizer: whatever text comes, the result is visible, within limits and
//! stable.

use proptest::collection::vec;
use proptest::prelude::{Strategy, any, prop_oneof};
use proptest::sample::select;
use proptest::{prop_assert, prop_assert_eq, proptest};
use telemetry_core::catalog::{Limits, REDACTED, Redactor, Sanitizer, escape, truncate};

/// What must not come out, listed independently of the code under test.
const FORMAT_CONTROLS: [char; 14] = [
    '\u{061c}', '\u{200e}', '\u{200f}', '\u{2028}', '\u{2029}', '\u{202a}', '\u{202b}', '\u{202c}',
    '\u{202d}', '\u{202e}', '\u{2066}', '\u{2067}', '\u{2068}', '\u{2069}',
];

fn is_harmful(character: char) -> bool {
    // Unicode's category Cc is exactly C0, delete and C1.
    character.is_control() || FORMAT_CONTROLS.contains(&character)
}

/// Text in which harmful, wide and escape-like characters are common.
fn texts() -> impl Strategy<Value = String> {
    let character = prop_oneof![
        3 => any::<char>(),
        3 => proptest::char::range(' ', '~'),
        2 => proptest::char::range('\0', '\u{a0}'),
        2 => select(&FORMAT_CONTROLS[..]),
        1 => select(vec!['\\', 'u', '{', '}', '0', '\n', '\t']),
    ];
    vec(character, 0..60).prop_map(String::from_iter)
}

proptest! {
    #[test]
    fn escape_is_idempotent_and_leaves_nothing_harmful(text in texts()) {
        let once = escape(&text);
        prop_assert!(!once.contains(is_harmful));
        prop_assert_eq!(&escape(&once), &once);
    }

    #[test]
    fn escape_changes_only_what_is_harmful(text in texts()) {
        let expected: String = text
            .chars()
            .map(|character| match character {
                harmful if is_harmful(harmful) => format!("\\u{{{:04X}}}", u32::from(harmful)),
                other => other.to_string(),
            })
            .collect();
        prop_assert_eq!(escape(&text), expected);
    }

    #[test]
    fn a_value_is_within_limits_and_stable(text in texts(), value_bytes in 0_usize..120) {
        let mut limits = Limits::default();
limits.value_bytes = value_bytes;
        let sanitizer = Sanitizer::new(limits, Redactor::default());
        let once = sanitizer.value("command", &text);
        let whole = escape(&text);
        prop_assert!(once.text.len() <= value_bytes);
        prop_assert!(!once.text.contains(is_harmful));
        prop_assert!(whole.starts_with(&*once.text));
        prop_assert_eq!(once.truncated, once.text != whole);
        // Nothing is cut that would have fitted: an escape has eight bytes.
        prop_assert!(!once.truncated || once.text.len() + 8 > value_bytes);
        let twice = sanitizer.value("command", &once.text);
        prop_assert_eq!(&twice.text, &once.text);
        prop_assert!(!twice.truncated);
    }

    #[test]
    fn a_secret_leaves_no_trace(text in "[a-z0-9]{9,40}") {
        let sanitizer = Sanitizer::default();
        let once = sanitizer.value("db_password", &text);
        prop_assert_eq!(&*once.text, REDACTED);
        prop_assert_eq!(sanitizer.value("db_password", &once.text), once.clone());
    }

    #[test]
    fn truncate_takes_the_longest_beginning(text in texts(), max_bytes in 0_usize..250) {
        let head = truncate(&text, max_bytes);
        prop_assert!(head.len() <= max_bytes && text.starts_with(head));
        let next = text[head.len()..].chars().next();
        prop_assert!(next.is_none_or(|next| head.len() + next.len_utf8() > max_bytes));
    }

    #[test]
    fn a_word_is_judged_like_a_key_that_ends_behind_it(word in "[a-z]{1,18}", secret in "[a-z]{1,18}") {
        let redactor = Redactor::with_keys([secret.as_str(), "token", "api_key"]);
        for word in [word.as_str(), &secret, "token", "api", "apikey"] {
            let slowly = redactor.is_secret(&[word, "-"].concat());
            prop_assert_eq!(redactor.is_secret(word), slowly, "{}", word);
        }
        prop_assert!(redactor.is_secret(&secret));
    }

    #[test]
    fn any_key_can_be_judged(key in texts()) {
        let redactor = Redactor::default();
        let with_secret = [key.as_str(), "-password.", &key].concat();
        prop_assert!(redactor.is_secret(&with_secret), "{}", with_secret);
        prop_assert_eq!(redactor.is_secret(&key), redactor.is_secret(&[key.as_str(), "-"].concat()));
    }
}
