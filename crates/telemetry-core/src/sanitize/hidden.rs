//! Secrets within free text, as in the message of an exception: `password=…`, `Bearer …`, a URL with
//! credentials, a key of a cloud, a private key.
//!
//! A best effort: what looks like a secret is hidden, what does not stays. One pass over the text without
//! going back, so it takes time by its length only. Whoever calls bounds that.

use std::borrow::Cow;

use super::redact::{REDACTED, Redactor};

/// Words that introduce a secret: schemes of HTTP.
const SCHEMES: &[&str] = &["basic", "bearer", "digest", "token"];

/// Beginnings of keys that services give out, and how long a key is at least.
const ISSUED: &[(&str, usize)] = &[
    ("AIza", 35),
    ("eyJ", 30),
    ("ghp_", 20),
    ("gho_", 20),
    ("ghu_", 20),
    ("ghs_", 20),
    ("ghr_", 20),
    ("github_pat_", 30),
    ("glpat-", 20),
    ("hf_", 30),
    ("npm_", 30),
    ("pypi-", 40),
    ("rk_live_", 20),
    ("sk-", 20),
    ("sk_live_", 20),
    ("xapp-", 20),
    ("xoxa-", 20),
    ("xoxb-", 20),
    ("xoxp-", 20),
    ("xoxs-", 20),
    ("ya29.", 20),
];

/// Beginnings of the names of keys of AWS, which have twenty capitals and digits.
const AWS: &[&str] = &["AKIA", "ASIA", "ABIA", "ACCA"];

/// Stands at the begin and at the end of a private key as text.
const PRIVATE_KEY: &str = "PRIVATE KEY-----";

/// What the next word is, by those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Any word.
    Free,
    /// It may be an `=` that makes the word after it a secret: the one before is named like one.
    Named,
    /// A secret.
    Secret,
    /// A secret if it looks like one: a scheme of HTTP stands before it.
    Introduced,
    /// It goes on with a secret until this quote.
    Quoted(char),
}

impl Redactor {
    /// The text with [`REDACTED`] in place of what looks like a secret: what stands behind the name of
    /// one ([`is_secret`](Self::is_secret)) and `=` or `:`, the token after `Bearer`, the password in a URL,
    /// keys that are known by their beginning, and private keys.
    ///
    /// ```
    /// use telemetry_core::catalog::Redactor;
    ///
    /// let redactor = Redactor::default();
    /// let shown = redactor.hide_in("no login: user=ada password=hunter2");
    /// assert_eq!(shown, "no login: user=ada password=[redacted]");
    /// ```
    #[must_use]
    pub fn hide_in<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let text = without_private_keys(text);
        let mut shown = String::with_capacity(text.len());
        let mut next = Next::Free;
        let mut has_hidden = false;
        for piece in text.split_inclusive(is_end) {
            let word = piece.trim_end_matches(is_end);
            let (hidden, then) = self.word(word, next, &mut shown);
            has_hidden |= hidden;
            next = then;
            shown.push_str(&piece[word.len()..]);
        }
        if has_hidden {
            return Cow::Owned(shown);
        }
        text
    }

    /// Writes one word, or what stands for it; whether it hid something, and what the next word is.
    fn word(&self, word: &str, next: Next, shown: &mut String) -> (bool, Next) {
        match next {
            // Two separators side by side.
            _ if word.is_empty() => return (false, next),
            Next::Quoted(quote) => {
                let then = if ends_quote(word, quote) {
                    Next::Free
                } else {
                    next
                };
                return (false, then);
            }
            Next::Secret => return hide(word, shown),
            Next::Introduced if looks_like_token(word) => return hide(word, shown),
            Next::Named if word.starts_with(['=', ':']) => {
                let value = word.trim_start_matches(['=', ':', '>']);
                shown.push_str(&word[..word.len() - value.len()]);
                if value.is_empty() {
                    return (false, Next::Secret);
                }
                return hide(value, shown);
            }
            _ => {}
        }
        if let Some((name, value)) = word.split_once(['=', ':'])
            && self.is_secret(name.trim_matches(is_mark))
        {
            let value = value.trim_start_matches('>');
            shown.push_str(&word[..word.len() - value.len()]);
            if value.trim_matches(is_mark).is_empty() && value.len() < 2 {
                // A name alone: what is meant is the next word.
                shown.push_str(value);
                return (false, Next::Secret);
            }
            return hide(value, shown);
        }
        let bare = word.trim_matches(is_mark);
        let then = if SCHEMES.iter().any(|it| bare.eq_ignore_ascii_case(it)) {
            Next::Introduced
        } else if self.is_secret(bare) {
            Next::Named
        } else {
            Next::Free
        };
        let hidden = without_credentials(word, shown);
        (hidden, then)
    }
}

/// Hides a word, and what follows it if it begins a quotation.
fn hide(word: &str, shown: &mut String) -> (bool, Next) {
    let bare = word.trim_matches(is_mark);
    if SCHEMES.iter().any(|it| bare.eq_ignore_ascii_case(it)) {
        shown.push_str(REDACTED);
        return (true, Next::Secret);
    }
    shown.push_str(REDACTED);
    let mut marks = word.trim_start_matches(['{', '(']).chars();
    let then = match marks.next() {
        Some(quote @ ('"' | '\'')) if !ends_quote(marks.as_str(), quote) => Next::Quoted(quote),
        _ => Next::Free,
    };
    (true, then)
}

/// Writes a word without the password of a URL and without keys that services give out; whether it had any.
fn without_credentials(word: &str, shown: &mut String) -> bool {
    let Some((before, rest)) = word.split_once("://") else {
        return without_issued(word, shown);
    };
    let is_no_authority = |c: char| matches!(c, '/' | '#' | '"' | '\'' | '<' | '>');
    let authority = rest.split(is_no_authority).next().unwrap_or_default();
    let Some((user, password)) = authority
        .rsplit_once('@')
        .and_then(|(login, _host)| login.split_once(':'))
        .filter(|(_, password)| !password.is_empty())
    else {
        return without_issued(word, shown);
    };
    shown.push_str(before);
    shown.push_str("://");
    shown.push_str(user);
    shown.push(':');
    shown.push_str(REDACTED);
    without_issued(&rest[user.len() + 1 + password.len()..], shown);
    true
}

/// Writes a word without keys that services give out; whether it had any.
fn without_issued(word: &str, shown: &mut String) -> bool {
    let is_other = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
    let mut has_hidden = false;
    for piece in word.split_inclusive(is_other) {
        let key = piece.trim_end_matches(is_other);
        if is_issued(key) {
            shown.push_str(REDACTED);
            has_hidden = true;
        } else {
            shown.push_str(key);
        }
        shown.push_str(&piece[key.len()..]);
    }
    has_hidden
}

/// Whether a text is a key that a service gave out.
fn is_issued(key: &str) -> bool {
    let is_aws = || {
        let key = key.trim_end_matches('.');
        key.len() == 20
            && AWS.iter().any(|begin| key.starts_with(begin))
            && key
                .bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
    };
    let is_other = || {
        ISSUED
            .iter()
            .any(|(begin, bytes)| key.len() >= *bytes && key.starts_with(begin))
    };
    is_aws() || is_other() && key.bytes().any(|byte| byte.is_ascii_digit())
}

/// Whether a word may be what `Bearer` introduces, and is not a word of a language.
fn looks_like_token(word: &str) -> bool {
    let word = word.trim_matches(|c: char| is_mark(c) && c != '=');
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    word.len() >= 8
        && word.bytes().all(is_part)
        && (word.len() >= 20
            || word.ends_with('=')
            || word.bytes().any(|byte| byte.is_ascii_digit())
            || word.bytes().skip(1).any(|byte| byte.is_ascii_uppercase()))
}

/// The text without private keys, with the lines before and after them.
fn without_private_keys(text: &str) -> Cow<'_, str> {
    let Some((before, mut rest)) = text.split_once(PRIVATE_KEY) else {
        return Cow::Borrowed(text);
    };
    let mut shown = format!("{before}{PRIVATE_KEY} {REDACTED}");
    loop {
        let Some((_key, end)) = rest.split_once("-----END") else {
            return Cow::Owned(shown);
        };
        shown.push_str(" -----END");
        // The end of this one, then perhaps the begin of another.
        let Some((kind, after)) = end.split_once(PRIVATE_KEY) else {
            shown.push_str(end);
            return Cow::Owned(shown);
        };
        shown.push_str(kind);
        shown.push_str(PRIVATE_KEY);
        let Some((between, another)) = after.split_once(PRIVATE_KEY) else {
            shown.push_str(after);
            return Cow::Owned(shown);
        };
        shown.push_str(between);
        shown.push_str(PRIVATE_KEY);
        shown.push(' ');
        shown.push_str(REDACTED);
        rest = another;
    }
}

/// What ends a word.
fn is_end(c: char) -> bool {
    c.is_whitespace() || matches!(c, ',' | ';' | '&' | '?')
}

/// What stands around a word and is not of it.
fn is_mark(c: char) -> bool {
    !c.is_alphanumeric() && c != '_' && c != '-'
}

/// Whether a quotation ends in a word.
fn ends_quote(word: &str, quote: char) -> bool {
    word.trim_end_matches(|c: char| c != quote && is_mark(c))
        .ends_with(quote)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn what_looks_like_a_secret_is_hidden() {
        let redactor = Redactor::default();
        for (text, expected) in [
            ("password=hunter2", "password=[redacted]"),
            (
                "user=ada&password=x&b=1",
                "user=ada&password=[redacted]&b=1",
            ),
            ("password = hunter2, user", "password = [redacted], user"),
            ("password: 'two words' end", "password: [redacted]  end"),
            ("api_key => abc", "api_key => [redacted]"),
            (
                r#"{"password": "x", "a": 1}"#,
                r#"{"password": [redacted], "a": 1}"#,
            ),
            (r#"{"token":"x"}"#, r#"{"token":[redacted]"#),
            (
                "Authorization: Bearer abc.def",
                "Authorization: [redacted] [redacted]",
            ),
            ("header Bearer abcdef012345!", "header Bearer [redacted]"),
            ("curl -u Basic dXNlcjpwYXNz", "curl -u Basic [redacted]"),
            (
                "postgres://ada:s3cr@t@db/x",
                "postgres://ada:[redacted]@db/x",
            ),
            ("redis://:pass@host:1", "redis://:[redacted]@host:1"),
            ("dsn='amqp://u:p@h//'", "dsn='amqp://u:[redacted]@h//'"),
            ("id AKIAIOSFODNN7EXAMPLE.", "id [redacted]"),
            ("(ghp_abcdefghij0123456789)", "([redacted])"),
            (
                "https://ghp_abcdefghij0123456789@h/",
                "https://[redacted]@h/",
            ),
            ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIx.abc", "[redacted]"),
            (
                "bad -----BEGIN RSA PRIVATE KEY-----\nMII\nx\n-----END RSA PRIVATE KEY----- tail",
                "bad -----BEGIN RSA PRIVATE KEY----- [redacted] -----END RSA PRIVATE KEY----- tail",
            ),
            (
                "-----BEGIN PRIVATE KEY-----\nMII",
                "-----BEGIN PRIVATE KEY----- [redacted]",
            ),
        ] {
            assert_eq!(redactor.hide_in(text), expected, "{text}");
        }
    }

    #[test]
    fn ordinary_messages_stay_as_they_are() {
        let redactor = Redactor::default();
        for text in [
            "",
            "  two  spaces ",
            "[Errno 2] No such file or directory: '/tmp/x'",
            "expected 3 tokens, got 4",
            "bearer of bad news",
            "basic research is token effort",
            "https://example.com:8080/a?b=c#d",
            "ssh://git@example.com/repo",
            "invalid token at line 3",
            "KeyError: 'tool'",
            "sk-learn is not installed",
            "dict has 3 keys: a, b, c",
            "AKIA is a prefix",
        ] {
            assert!(
                matches!(redactor.hide_in(text), Cow::Borrowed(it) if it == text),
                "{text}"
            );
        }
    }

    #[test]
    fn a_second_time_changes_nothing() {
        let redactor = Redactor::default();
        for text in [
            "password=x",
            "token: 'a b' c",
            "u://a:b@c",
            "Bearer abcdefgh1",
        ] {
            let once = redactor.hide_in(text).into_owned();
            assert_eq!(redactor.hide_in(&once), once);
        }
    }

    #[test]
    fn long_texts_of_any_shape_take_time_by_their_length() {
        let redactor = Redactor::default();
        let begun = Instant::now();
        for piece in [
            "a",
            "=",
            ":",
            "password=",
            "://",
            "@",
            "-----END",
            PRIVATE_KEY,
            "'",
            "eyJ",
            "? ",
        ] {
            let text = piece.repeat(200_000 / piece.len());
            let _shown = redactor.hide_in(&text);
        }
        // Quadratic time would be minutes.
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
}
