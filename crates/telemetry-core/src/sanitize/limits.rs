//! How large an event and its parts may be, and how a text is cut to size.
//!
//! The limits of names are with the names, those of the queue with the queue.

use serde::{Deserialize, Serialize};

/// Most bytes an encoded event may have, by default.
pub const MAX_EVENT_BYTES: usize = 64 * 1024;

/// Most measurements an event may have, by default.
pub const MAX_MEASUREMENTS: usize = 32;

/// Most metadata entries an event may have, by default.
pub const MAX_METADATA: usize = 32;

/// Most bytes a measurement or metadata key may have, by default.
pub const MAX_KEY_BYTES: usize = 64;

/// Most bytes a text value may have, by default; a longer one is cut.
pub const MAX_VALUE_BYTES: usize = 1024;

/// Most bytes a correlation id may have, by default; a longer one is cut.
pub const MAX_CORRELATION_ID_BYTES: usize = 128;

/// How large an event and its parts may be. All sizes are bytes of UTF-8, texts after escaping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Limits {
    /// An encoded event with the longest sequence number; [`MAX_EVENT_BYTES`].
    pub event_bytes: usize,
    /// Measurements of an event; [`MAX_MEASUREMENTS`].
    pub measurements: usize,
    /// Metadata entries of an event; [`MAX_METADATA`].
    pub metadata: usize,
    /// A measurement or metadata key; [`MAX_KEY_BYTES`].
    pub key_bytes: usize,
    /// A text value; [`MAX_VALUE_BYTES`].
    pub value_bytes: usize,
    /// A correlation id; [`MAX_CORRELATION_ID_BYTES`].
    pub correlation_id_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            event_bytes: MAX_EVENT_BYTES,
            measurements: MAX_MEASUREMENTS,
            metadata: MAX_METADATA,
            key_bytes: MAX_KEY_BYTES,
            value_bytes: MAX_VALUE_BYTES,
            correlation_id_bytes: MAX_CORRELATION_ID_BYTES,
        }
    }
}

/// The longest beginning of `text` that has at most `max_bytes` and splits no character.
#[must_use]
pub fn truncate(text: &str, max_bytes: usize) -> &str {
    if text.len() <= max_bytes {
        return text;
    }
    // A character has at most four bytes, so this looks at no more than four places.
    let end = (0..=max_bytes)
        .rev()
        .find(|&end| text.is_char_boundary(end))
        .unwrap_or(0);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truncate_splits_no_character() {
        let text = "aé日😀";
        for (max_bytes, expected) in [
            (0, ""),
            (1, "a"),
            (2, "a"),
            (3, "aé"),
            (5, "aé"),
            (6, "aé日"),
            (9, "aé日"),
            (10, text),
            (usize::MAX, text),
        ] {
            assert_eq!(truncate(text, max_bytes), expected, "{max_bytes}");
        }
    }
}
