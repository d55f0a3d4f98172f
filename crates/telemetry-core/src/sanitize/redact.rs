//! Redaction: which keys are named like secrets.
//!
//! Judged by the key alone. Secrets inside other values are not looked for: a guess would miss some
//! and mangle what is none.

/// What stands in place of a secret.
pub const REDACTED: &str = "[redacted]";

/// The words that make a key secret, by default; see [`Redactor`] for how they match.
pub const SECRET_KEYS: &[&str] = &[
    "authorization",
    "password",
    "passwords",
    "passwd",
    "passphrase",
    "token",
    "secret",
    "secrets",
    "api_key",
    "apikey",
    "access_key",
    "accesskey",
    "private_key",
    "privatekey",
    "encryption_key",
    "signing_key",
    "cookie",
    "cookies",
    "credential",
    "credentials",
    "jwt",
    "bearer",
];

/// Tells secret keys by their words.
///
/// A key is cut into words at everything that is no letter or digit and where case changes;
/// `X-Api-Key`, `api.key` and `apiKey` all are *api*, *key*. Trailing digits of a word do not count.
/// The key is secret if the words of an entry of the list appear in it, whole, side by side and in
/// order, in any case: `db_password` is secret, and so is `password2`; `tokens_used`, `tokenize` and
/// `author` are not.
#[derive(Debug, Clone)]
pub struct Redactor {
    /// Entries as lowercase words; no entry is empty.
    entries: Vec<Box<[Box<str>]>>,
    /// Bit per initial letter of an entry, so that most words need no comparison.
    initials: u32,
}

impl Redactor {
    /// A redactor with a list of its own instead of [`SECRET_KEYS`]; an empty one hides nothing.
    ///
    /// Entries are cut into words like keys. One without any letter or digit is ignored.
    #[must_use]
    pub fn with_keys<K: AsRef<str>>(keys: impl IntoIterator<Item = K>) -> Self {
        Self {
            entries: Vec::new(),
            initials: 0,
        }
        .and_keys(keys)
    }

    /// The same redactor with further entries.
    #[must_use]
    pub fn and_keys<K: AsRef<str>>(mut self, keys: impl IntoIterator<Item = K>) -> Self {
        for key in keys {
            let entry: Box<[Box<str>]> = words(key.as_ref(), true)
                .map(|word| word.to_lowercase().into())
                .collect();
            let Some(first) = entry.first() else { continue };
            self.initials |= initial(first);
            if !self.entries.contains(&entry) {
                self.entries.push(entry);
            }
        }
        self
    }

    /// Whether the value under `key` has to be hidden.
    #[must_use]
    pub fn is_secret(&self, key: &str) -> bool {
        // `passWord` and `APIkey` are whole words only if case does not cut.
        self.has_entry(words(key, false))
            || (key.bytes().any(|byte| byte.is_ascii_uppercase())
                && self.has_entry(words(key, true)))
    }

    fn has_entry<'a>(&self, mut words: impl Iterator<Item = &'a str> + Clone) -> bool {
        loop {
            let here = words.clone();
            let Some(word) = words.next() else {
                return false;
            };
            if self.initials & initial(word) != 0
                && self
                    .entries
                    .iter()
                    .any(|entry| starts_with(here.clone(), entry))
            {
                return true;
            }
        }
    }
}

/// The list of [`SECRET_KEYS`].
impl Default for Redactor {
    fn default() -> Self {
        Self::with_keys(SECRET_KEYS)
    }
}

fn starts_with<'a>(mut words: impl Iterator<Item = &'a str>, entry: &[Box<str>]) -> bool {
    entry.iter().all(|expected| {
        words
            .next()
            .is_some_and(|word| word.eq_ignore_ascii_case(expected))
    })
}

/// The bit of a word's first letter; all that is no ASCII letter shares one.
fn initial(word: &str) -> u32 {
    match word.bytes().next() {
        Some(letter) if letter.is_ascii_alphabetic() => 1 << (letter.to_ascii_lowercase() - b'a'),
        _ => 1 << 26,
    }
}

/// The words of a key without their trailing digits, also cut where case changes if `by_case`.
fn words(key: &str, by_case: bool) -> impl Iterator<Item = &str> + Clone {
    key.split(|character: char| !character.is_alphanumeric())
        .flat_map(move |piece| Pieces {
            rest: piece,
            by_case,
        })
        .map(|word| {
            let stem = word.trim_end_matches(|character: char| character.is_ascii_digit());
            if stem.is_empty() { word } else { stem }
        })
}

/// Cuts `apiKey` and `APIKey` after `api`.
#[derive(Clone)]
struct Pieces<'a> {
    /// What is not yet handed out.
    rest: &'a str,
    /// Whether to cut at all.
    by_case: bool,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        if self.rest.is_empty() {
            return None;
        }
        let end = if self.by_case {
            case_boundary(self.rest)
        } else {
            self.rest.len()
        };
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(word)
    }
}

/// Where the first word of `text` ends: before an uppercase letter that follows another kind of
/// character, or that starts a lowercase word after uppercase ones.
fn case_boundary(text: &str) -> usize {
    // Only ASCII letters have a case here, so a byte index is a character boundary.
    let bytes = text.as_bytes();
    (1..bytes.len())
        .find(|&at| {
            bytes[at].is_ascii_uppercase()
                && (!bytes[at - 1].is_ascii_uppercase()
                    || bytes.get(at + 1).is_some_and(u8::is_ascii_lowercase))
        })
        .unwrap_or(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_named_like_secrets_are_secret() {
        let redactor = Redactor::default();
        for key in [
            "authorization",
            "Authorization",
            "proxy-authorization",
            "password",
            "PASSWORD",
            "db_password",
            "password2",
            "user.password.hash",
            "passWord",
            "passwd",
            "token",
            "access_token",
            "accessToken",
            "X-Auth-Token",
            "secret",
            "client_secret",
            "api_key",
            "apikey",
            "X-Api-Key",
            "apiKey",
            "APIKey",
            "APIkey",
            "openai.api.key",
            "access_key",
            "AWS_SECRET_ACCESS_KEY",
            "private-key",
            "cookie",
            "Set-Cookie",
            "credentials",
            "credential",
            "ключ_password",
        ] {
            assert!(redactor.is_secret(key), "{key}");
        }
    }

    #[test]
    fn words_that_only_contain_a_secret_word_are_not() {
        let redactor = Redactor::default();
        for key in [
            "",
            "_",
            "...",
            "tokens_used",
            "tokenize",
            "tokenizer",
            "author",
            "authorized_by",
            "secretary",
            "passworded",
            "key",
            "api",
            "keyboard",
            "api_version_key",
            "key_api",
            "monkey",
            "cookiecutter",
            "access",
            "command",
            "session_id",
            "correlation_id",
            "😀",
            "é",
        ] {
            assert!(!redactor.is_secret(key), "{key}");
        }
    }

    #[test]
    fn keys_can_be_added_and_replaced() {
        let more = Redactor::default().and_keys(["session_id", "SSN", "--"]);
        assert!(more.is_secret("user_session_id") && more.is_secret("ssn"));
        assert!(more.is_secret("password") && !more.is_secret("session"));
        let only = Redactor::with_keys(["pin"]);
        assert!(only.is_secret("card-pin") && !only.is_secret("password"));
        assert!(!Redactor::with_keys([""; 0]).is_secret("password"));
    }

    #[test]
    fn every_default_entry_matches_itself() {
        let redactor = Redactor::default();
        for key in SECRET_KEYS {
            assert!(redactor.is_secret(key), "{key}");
            assert!(
                redactor.is_secret(&format!("my-{}-x", key.to_uppercase())),
                "{key}"
            );
        }
    }
}
