//! Sanitizer: makes text that came from anywhere safe to show, of bounded size and free of secrets.
//!
//! This room works on one text at a time, by rules that give the same result when applied again. It
//! counts nothing and drops nothing; who reads [`Sanitized`] does. Markup and quoting are the
//! business of each output, which knows its own syntax.

mod hidden;
mod limits;
mod redact;

use std::borrow::Cow;

pub use limits::{
    Limits, MAX_CORRELATION_ID_BYTES, MAX_EVENT_BYTES, MAX_KEY_BYTES, MAX_MEASUREMENTS,
    MAX_METADATA, MAX_VALUE_BYTES, truncate,
};
pub use redact::{REDACTED, Redactor, SECRET_KEYS};

/// Limits and redaction together: what every text of an event goes through.
///
/// ```
/// use telemetry_core::catalog::{Limits, Redactor, Sanitizer};
///
/// let sanitizer = Sanitizer::new(Limits::default(), Redactor::default());
/// assert_eq!(sanitizer.value("command", "ls\u{1b}[31m").text, r"ls\u{001B}[31m");
/// assert_eq!(sanitizer.value("db_password", "hunter2").text, "[redacted]");
/// ```
#[derive(Debug, Clone, Default)]
pub struct Sanitizer {
    /// How long texts may be.
    limits: Limits,
    /// Which keys hide their value.
    redactor: Redactor,
}

/// A text after sanitizing, and what had to be done to it beyond escaping.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sanitized<'a> {
    /// The text to use; borrowed if nothing had to change or only the end was cut.
    pub text: Cow<'a, str>,
    /// The text was too long and lost its end.
    pub truncated: bool,
    /// The text was under a secret key and is replaced.
    pub redacted: bool,
}

impl Sanitizer {
    /// A sanitizer with these limits and secret keys.
    #[must_use]
    pub fn new(limits: Limits, redactor: Redactor) -> Self {
        Self { limits, redactor }
    }

    /// The limits in force.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The redactor in force.
    #[must_use]
    pub fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    /// The value of a metadata entry or a text measurement: replaced under a secret key, otherwise
    /// escaped and cut to [`Limits::value_bytes`].
    #[must_use]
    pub fn value<'a>(&self, key: &str, text: &'a str) -> Sanitized<'a> {
        if self.redactor.is_secret(key) {
            let text = Cow::Borrowed(truncate(REDACTED, self.limits.value_bytes));
            return Sanitized {
                text,
                truncated: false,
                redacted: true,
            };
        }
        escape_within(text, self.limits.value_bytes)
    }

    /// A metadata key: escaped and cut to [`Limits::key_bytes`].
    #[must_use]
    pub fn key<'a>(&self, key: &'a str) -> Sanitized<'a> {
        escape_within(key, self.limits.key_bytes)
    }

    /// A correlation id: escaped and cut to [`Limits::correlation_id_bytes`].
    #[must_use]
    pub fn correlation_id<'a>(&self, id: &'a str) -> Sanitized<'a> {
        escape_within(id, self.limits.correlation_id_bytes)
    }
}

/// The text with every character made visible that could act on a terminal, end a line or reorder
/// what is shown: C0 and C1 controls, delete, bidirectional controls, line and paragraph separator.
///
/// Each becomes `\u{XXXX}` with at least four uppercase hexadecimal digits. Backslashes stay as
/// they are, so escaping again changes nothing, and the original cannot be told from a text that
/// was written that way.
#[must_use]
pub fn escape(text: &str) -> Cow<'_, str> {
    let Some(first) = first_unsafe(text) else {
        return Cow::Borrowed(text);
    };
    let mut escaped = String::with_capacity(text.len() + ESCAPE_BYTES);
    escaped.push_str(&text[..first]);
    for character in text[first..].chars() {
        if is_unsafe(character) {
            push_escape(&mut escaped, character);
        } else {
            escaped.push(character);
        }
    }
    Cow::Owned(escaped)
}

/// Escapes and cuts to `max_bytes`, counted after escaping. Neither a character nor an escape is
/// split.
fn escape_within(text: &str, max_bytes: usize) -> Sanitized<'_> {
    // Escapes only lengthen, so what is beyond the limit now stays beyond it.
    let head = truncate(text, max_bytes);
    let cut = head.len() < text.len();
    let Some(first) = first_unsafe(head) else {
        return Sanitized {
            text: Cow::Borrowed(head),
            truncated: cut,
            redacted: false,
        };
    };
    let mut escaped = String::with_capacity(max_bytes.min(head.len() + 4 * ESCAPE_BYTES));
    escaped.push_str(&head[..first]);
    let mut full = false;
    for character in head[first..].chars() {
        let bytes = if is_unsafe(character) {
            ESCAPE_BYTES
        } else {
            character.len_utf8()
        };
        if escaped.len() + bytes > max_bytes {
            full = true;
            break;
        }
        if is_unsafe(character) {
            push_escape(&mut escaped, character);
        } else {
            escaped.push(character);
        }
    }
    Sanitized {
        text: Cow::Owned(escaped),
        truncated: cut || full,
        redacted: false,
    }
}

/// Length of an escape; all escaped characters are below U+10000.
const ESCAPE_BYTES: usize = r"\u{XXXX}".len();

fn push_escape(target: &mut String, character: char) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    target.push_str(r"\u{");
    for shift in [12, 8, 4, 0] {
        let digit = (u32::from(character) >> shift) & 0xf;
        target.push(char::from(DIGITS[digit as usize]));
    }
    target.push('}');
}

/// Where the first character is that has to be escaped, in bytes.
fn first_unsafe(text: &str) -> Option<usize> {
    // Nearly all text is printable ASCII, which a scan of bytes settles.
    if text.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
        return None;
    }
    text.find(is_unsafe)
}

fn is_unsafe(character: char) -> bool {
    matches!(
        character,
        '\0'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{61c}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_is_borrowed() {
        for text in [
            "",
            "plain ~ text",
            "héllo wörld ✓ 日本",
            r"back\slash",
            r"\u{001B}",
        ] {
            assert!(
                matches!(escape(text), Cow::Borrowed(same) if same == text),
                "{text}"
            );
        }
    }

    #[test]
    fn controls_become_visible() {
        assert_eq!(escape("a\tb\r\nc"), r"a\u{0009}b\u{000D}\u{000A}c");
        assert_eq!(escape("\u{1b}[2Jé"), r"\u{001B}[2Jé");
        assert_eq!(
            escape("\0\u{7f}\u{80}\u{9f}"),
            r"\u{0000}\u{007F}\u{0080}\u{009F}"
        );
        assert_eq!(escape("\u{202e}x\u{2069}"), r"\u{202E}x\u{2069}");
        assert_eq!(escape("\u{2028}\u{2029}"), r"\u{2028}\u{2029}");
        assert_eq!(
            escape("\u{200e}\u{200f}\u{61c}"),
            r"\u{200E}\u{200F}\u{061C}"
        );
    }

    #[test]
    fn neighbours_of_controls_stay() {
        for text in [
            "\u{a0}", "\u{200b}", "\u{200d}", "\u{2027}", "\u{202f}", "\u{2065}", "\u{206a}",
        ] {
            assert_eq!(escape(text), text, "{text:?}");
        }
    }

    #[track_caller]
    fn check(text: &str, max_bytes: usize, expected: &str, truncated: bool) {
        let sanitized = escape_within(text, max_bytes);
        assert_eq!(
            (&*sanitized.text, sanitized.truncated),
            (expected, truncated),
            "{text:?}"
        );
    }

    #[test]
    fn limits_hold_after_escaping() {
        check("abc", 3, "abc", false);
        check("abcd", 3, "abc", true);
        check("é", 1, "", true);
        check("a\n", 9, r"a\u{000A}", false);
        check("a\n", 8, "a", true);
        check("a\nb", 9, r"a\u{000A}", true);
        // What follows an escape that does not fit is not pulled forward.
        check("ab\ncd", 5, "ab", true);
        check("\n\n", 0, "", true);
        check("", 0, "", false);
    }

    #[test]
    fn each_kind_of_text_has_its_limit() {
        let sanitizer = Sanitizer::default();
        let long = "x".repeat(70_000);
        assert_eq!(sanitizer.value("k", &long).text.len(), MAX_VALUE_BYTES);
        assert_eq!(sanitizer.key(&long).text.len(), MAX_KEY_BYTES);
        assert_eq!(
            sanitizer.correlation_id(&long).text.len(),
            MAX_CORRELATION_ID_BYTES
        );
    }

    #[test]
    fn values_under_secret_keys_are_replaced() {
        let sanitizer = Sanitizer::default();
        let hidden = sanitizer.value("X-Api-Key", "s3cr3t");
        assert_eq!(
            (&*hidden.text, hidden.redacted, hidden.truncated),
            (REDACTED, true, false)
        );
        assert!(!sanitizer.value("tokens_used", "17").redacted);
        let tiny = Limits {
            value_bytes: 4,
            ..Limits::default()
        };
        let hidden = Sanitizer::new(tiny, Redactor::default()).value("token", "abcdefg");
        assert_eq!((&*hidden.text, hidden.redacted), ("[red", true));
    }
}
