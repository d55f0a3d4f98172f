//! Ids that tie events together: correlation ids, traces and spans, and the W3C trace context.
//!
//! This room makes, reads and writes such ids. It does not know where they come from or travel to.

mod hash;
mod ids;
mod random;
mod span;
mod trace;

use std::fmt;

use thiserror::Error;

pub use hash::correlation_draw;
pub use ids::{SpanId, TraceId};
pub use random::{random_u64, reseed, seed_generation};
pub use span::{SpanContext, SpanPhase};
pub use trace::{FLAG_SAMPLED, TraceContext, TraceContextError};

/// A random id of 128 bits, never all zero; written as 32 lowercase hexadecimal digits, so that it
/// can serve as a W3C trace id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CorrelationId([u8; 16]);

/// Why a text is no [`CorrelationId`]. Events may carry any text as correlation id; only this type
/// is strict.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CorrelationIdError {
    /// Wrong length.
    #[error("a correlation id has 32 hexadecimal digits, this text has {bytes} bytes")]
    Length {
        /// How many bytes the text has.
        bytes: usize,
    },
    /// Something else than `0-9 a-f`.
    #[error("byte {position} of the correlation id is no digit of 0-9 a-f")]
    Digit {
        /// Where, in bytes from 0.
        position: usize,
    },
    /// All digits are zero.
    #[error("a correlation id of all zeros means that there is none")]
    Zero,
}

impl CorrelationId {
    /// A new random id.
    #[must_use]
    pub fn random() -> Self {
        Self(random_id())
    }

    /// The id with these bytes; `None` if they are all zero.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Option<Self> {
        (bytes != [0; 16]).then_some(Self(bytes))
    }

    /// The bytes, in the order they are written.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    /// Reads 32 lowercase hexadecimal digits.
    ///
    /// # Errors
    ///
    /// [`CorrelationIdError`] says what is wrong and where.
    pub fn parse(text: &str) -> Result<Self, CorrelationIdError> {
        let digits: &[u8; 32] = text
            .as_bytes()
            .try_into()
            .map_err(|_| CorrelationIdError::Length { bytes: text.len() })?;
        let mut bytes = [0; 16];
        read_hex(digits, &mut bytes).map_err(|position| CorrelationIdError::Digit { position })?;
        Self::from_bytes(bytes).ok_or(CorrelationIdError::Zero)
    }

    /// Writes the 32 digits into `buffer` and returns them; allocates nothing.
    pub fn write_hex<'a>(&self, buffer: &'a mut [u8; 32]) -> &'a str {
        write_hex(&self.0, buffer)
    }
}

impl fmt::Display for CorrelationId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.write_hex(&mut [0; 32]))
    }
}

impl std::str::FromStr for CorrelationId {
    type Err = CorrelationIdError;

    fn from_str(text: &str) -> Result<Self, CorrelationIdError> {
        Self::parse(text)
    }
}

/// Reads two lowercase digits per byte; the error is the place of the first that is none.
fn read_hex(digits: &[u8], bytes: &mut [u8]) -> Result<(), usize> {
    let mut seen = 0;
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let (high, low) = (VALUES[usize::from(pair[0])], VALUES[usize::from(pair[1])]);
        seen |= high | low;
        *byte = high << 4 | low & 0x0f;
    }
    // One test for all, as all but rubbish passes it.
    if seen < NO_DIGIT {
        return Ok(());
    }
    let is_none = |digit: &u8| VALUES[usize::from(*digit)] == NO_DIGIT;
    digits.iter().position(is_none).map_or(Ok(()), Err)
}

/// What stands in [`VALUES`] for a byte that is no digit.
const NO_DIGIT: u8 = 0x80;

/// What each byte is worth as a lowercase hexadecimal digit.
static VALUES: [u8; 256] = {
    let mut values = [NO_DIGIT; 256];
    let mut value = 0;
    while value < 16 {
        values[HEX_DIGITS[value as usize] as usize] = value;
        value += 1;
    }
    values
};

/// The digits by their value.
const HEX_DIGITS: &[u8; 16] = b"0123456789abcdef";

fn write_hex<'a>(bytes: &[u8], buffer: &'a mut [u8]) -> &'a str {
    for (byte, pair) in bytes.iter().zip(buffer.chunks_exact_mut(2)) {
        pair[0] = HEX_DIGITS[usize::from(byte >> 4)];
        pair[1] = HEX_DIGITS[usize::from(byte & 0x0f)];
    }
    // Only digits were written; the empty text cannot happen.
    std::str::from_utf8(buffer).unwrap_or_default()
}

/// Random bytes that are not all zero.
fn random_id<const N: usize>() -> [u8; N] {
    let mut id = [0; N];
    while id == [0; N] {
        for chunk in id.chunks_mut(8) {
            chunk.copy_from_slice(&random_u64().to_le_bytes()[..chunk.len()]);
        }
    }
    id
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn random_ids_differ_and_round_trip() {
        let ids: HashSet<_> = (0..10_000).map(|_| CorrelationId::random()).collect();
        assert_eq!(ids.len(), 10_000);
        for id in ids.into_iter().take(100) {
            let text = id.to_string();
            assert_eq!(text.len(), 32);
            assert_eq!(CorrelationId::parse(&text), Ok(id));
            assert_eq!(id.write_hex(&mut [0; 32]), text);
        }
    }

    #[test]
    fn malformed_correlation_ids_are_refused() {
        let parse = CorrelationId::parse;
        assert_eq!(parse("abc"), Err(CorrelationIdError::Length { bytes: 3 }));
        assert_eq!(parse(&"0".repeat(32)), Err(CorrelationIdError::Zero));
        assert_eq!(
            parse("4BF92F3577B34DA6A3CE929D0E0E4736"),
            Err(CorrelationIdError::Digit { position: 1 })
        );
    }
}
