//! What an event may carry, and why bytes are refused.

use super::MAX_DECODED_FIELDS;

/// What one event may carry; each at most what the structure holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct DecodeLimits {
    /// Most bytes of the event.
    pub bytes: usize,
    /// Most measurements, at most 32.
    pub measurements: usize,
    /// Most metadata entries, at most 32.
    pub metadata: usize,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self {
            bytes: 64 * 1024,
            measurements: MAX_DECODED_FIELDS,
            metadata: MAX_DECODED_FIELDS,
        }
    }
}

/// Why bytes are no acceptable event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes end inside a field, or an integer is longer than 64 bits.
    #[error("the bytes of {0} are cut short or malformed")]
    Malformed(&'static str),
    /// A known field has a wire type that does not belong to it.
    #[error("{field} has wire type {found}, expected {expected}")]
    WireType {
        /// The field.
        field: &'static str,
        /// The type it came with.
        found: u8,
        /// The type it must have.
        expected: u8,
    },
    /// A text is not UTF-8.
    #[error("{0} is not valid UTF-8")]
    Utf8(&'static str),
    /// Too many entries of one kind.
    #[error("more than {max} {field}")]
    TooMany {
        /// What there are too many of.
        field: &'static str,
        /// Most that are allowed.
        max: usize,
    },
    /// The event is larger than allowed.
    #[error("{len} bytes are more than the {max} allowed for one event")]
    Oversize {
        /// Length found.
        len: usize,
        /// Longest allowed.
        max: usize,
    },
}
