//! Redaction: which keys are named like secrets.
//!
//! Judged by the key alone. Secrets inside other values are not looked for: a guess would miss some
//! and mangle what is none. Where a text is likely to quote a secret, as the message of an exception, its
//! source hides them (`hidden.rs`).

use crate::table::Catalog;

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
/// A key is cut into words at everything that is no ASCII letter or digit and where case changes;
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
    /// Per letter, a bit for each length of an entry that is one word and begins with it. A key that
    /// is one word itself can be equal to those only.
    lone_words: [u32; 26],
    /// Which of the built-in metadata keys are not secret, judged beforehand: most keys of most events
    /// are among them.
    harmless: Box<[bool]>,
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
            lone_words: [0; 26],
            harmless: Box::default(),
        }
        .and_keys(keys)
    }

    /// The same redactor with further entries.
    #[must_use]
    pub fn and_keys<K: AsRef<str>>(mut self, keys: impl IntoIterator<Item = K>) -> Self {
        for key in keys {
            let entry: Box<[Box<str>]> = Words::new(key.as_ref(), true)
                .map(|word| word.to_ascii_lowercase().into())
                .collect();
            let Some(first) = entry.first() else { continue };
            self.initials |= initial(first);
            if let ([word], Some(letter)) = (&*entry, letter(first)) {
                // Lengths beyond the last bit share it.
                self.lone_words[letter] |= 1 << word.len().min(31);
            }
            if !self.entries.contains(&entry) {
                self.entries.push(entry);
            }
        }
        self.harmless = Catalog::builtin()
            .metadata_keys()
            .iter()
            .map(|key| !self.has_secret_words(&key.name))
            .collect();
        self
    }

    /// Whether the value under `key` has to be hidden.
    #[must_use]
    #[inline(always)]
    pub fn is_secret(&self, key: &str) -> bool {
        !self.is_harmless_word(key) && self.is_secret_at_second_sight(key)
    }

    #[inline(never)]
    fn is_secret_at_second_sight(&self, key: &str) -> bool {
        let judged = Catalog::builtin()
            .metadata_key(key)
            .and_then(|key| self.harmless.get(key.id.index()));
        judged != Some(&true) && self.has_secret_words(key)
    }

    /// Whether the key is one short word of small letters that no entry can be. Says no where it takes
    /// a closer look.
    #[inline]
    fn is_harmless_word(&self, key: &str) -> bool {
        let Some(letter) = letter(key) else {
            return false;
        };
        let (head, tail) = match (
            key.as_bytes().first_chunk::<8>(),
            key.as_bytes().last_chunk::<8>(),
        ) {
            (Some(head), Some(tail)) if key.len() <= 16 => {
                (u64::from_le_bytes(*head), u64::from_le_bytes(*tail))
            }
            _ => match (
                key.as_bytes().first_chunk::<4>(),
                key.as_bytes().last_chunk::<4>(),
            ) {
                (Some(head), Some(tail)) if key.len() <= 8 => {
                    let word = u64::from(u32::from_le_bytes(*head)) << 32
                        | u64::from(u32::from_le_bytes(*tail));
                    (word, word)
                }
                _ => return false,
            },
        };
        are_small_letters(head)
            && are_small_letters(tail)
            && self.lone_words[letter] >> key.len() & 1 == 0
    }

    fn has_secret_words(&self, key: &str) -> bool {
        // `passWord` and `APIkey` are whole words only if case does not cut.
        self.has_entry(Words::new(key, false))
            || (key.bytes().any(|byte| byte.is_ascii_uppercase())
                && self.has_entry(Words::new(key, true)))
    }

    fn has_entry(&self, mut words: Words<'_>) -> bool {
        while let Some(word) = words.next() {
            if self.initials & initial(word) != 0
                && self
                    .entries
                    .iter()
                    .any(|entry| starts_with(word, words, entry))
            {
                return true;
            }
        }
        false
    }
}

/// The list of [`SECRET_KEYS`].
impl Default for Redactor {
    fn default() -> Self {
        Self::with_keys(SECRET_KEYS)
    }
}

/// Whether `word` and the words that `follow` it begin with those of `entry`.
fn starts_with(word: &str, mut follow: Words<'_>, entry: &[Box<str>]) -> bool {
    let Some((first, others)) = entry.split_first() else {
        return false;
    };
    word.eq_ignore_ascii_case(first)
        && others.iter().all(|other| {
            follow
                .next()
                .is_some_and(|next| next.eq_ignore_ascii_case(other))
        })
}

/// Which letter of the alphabet a text begins with, if it is a small one.
#[inline]
fn letter(text: &str) -> Option<usize> {
    let first = text.bytes().next()?;
    first
        .is_ascii_lowercase()
        .then(|| usize::from(first - b'a'))
}

/// Whether all eight bytes are small ASCII letters.
#[inline]
const fn are_small_letters(word: u64) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x80 * ONES;
    // Added to a byte below 0x80, each sets its highest bit from the named byte on.
    const FROM_A: u64 = (0x80 - b'a' as u64) * ONES;
    const AFTER_Z: u64 = (0x80 - b'z' as u64 - 1) * ONES;
    word & HIGH == 0
        && word.wrapping_add(FROM_A) & HIGH == HIGH
        && word.wrapping_add(AFTER_Z) & HIGH == 0
}

/// The bit of a word's first letter; digits share one.
fn initial(word: &str) -> u32 {
    match word.bytes().next() {
        Some(letter) if letter.is_ascii_alphabetic() => 1 << (letter.to_ascii_lowercase() - b'a'),
        _ => 1 << 26,
    }
}

/// The words of a key without their trailing digits.
///
/// Works on bytes, since emitting an event runs it for every key; all cuts are beside ASCII.
#[derive(Clone, Copy)]
struct Words<'a> {
    /// What is not yet handed out.
    rest: &'a str,
    /// Whether a change of case cuts as well.
    by_case: bool,
}

impl<'a> Words<'a> {
    fn new(key: &'a str, by_case: bool) -> Self {
        Self { rest: key, by_case }
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let bytes = self.rest.as_bytes();
        let start = bytes.iter().position(u8::is_ascii_alphanumeric)?;
        let piece = &bytes[start..];
        let end = (1..piece.len())
            .find(|&at| !piece[at].is_ascii_alphanumeric() || self.by_case && is_hump(piece, at))
            .unwrap_or(piece.len());
        let word = &self.rest[start..start + end];
        self.rest = &self.rest[start + end..];
        let stem = word.trim_end_matches(|character: char| character.is_ascii_digit());
        Some(if stem.is_empty() { word } else { stem })
    }
}

/// Whether a word starts at `at`, which is not 0: an uppercase letter that follows another kind of
/// character, or that starts a lowercase word after uppercase ones, as in `apiKey` and `APIKey`.
fn is_hump(text: &[u8], at: usize) -> bool {
    text[at].is_ascii_uppercase()
        && (!text[at - 1].is_ascii_uppercase()
            || text.get(at + 1).is_some_and(u8::is_ascii_lowercase))
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
    fn a_built_in_key_is_secret_as_soon_as_the_list_says_so() {
        assert!(!Redactor::default().is_secret("tool"));
        assert!(Redactor::default().and_keys(["tool"]).is_secret("tool"));
        assert!(Redactor::with_keys(["tool"]).is_secret("tool"));
        for key in Catalog::builtin().metadata_keys() {
            let redactor = Redactor::default();
            assert_eq!(
                redactor.is_secret(&key.name),
                redactor.has_secret_words(&key.name),
                "{}",
                key.name
            );
        }
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
