//! One field of any shape: the general way through a message, on which everything that protobuf
//! allows is understood.
//!
//! Number and wire type may be encoded with more bytes than needed, unknown fields and groups are
//! skipped. It knows no field by its meaning.

use std::str;

use arrayvec::ArrayVec;

use super::DecodeError;
use crate::codec::varint::take_varint;

/// How deep groups of an unknown field may nest.
const MAX_GROUP_DEPTH: usize = 100;

/// One field: its number, wire type and what it holds.
pub(super) struct Field<'a> {
    /// Field number.
    pub(super) number: u64,
    /// Wire type, 0 to 5.
    wire_type: u8,
    /// A varint or fixed value.
    scalar: u64,
    /// The bytes of a length-delimited field.
    payload: &'a [u8],
}

impl<'a> Field<'a> {
    /// Takes the next field off `rest`.
    pub(super) fn take(rest: &mut &'a [u8], inside: &'static str) -> Result<Self, DecodeError> {
        let malformed = DecodeError::Malformed(inside);
        let (number, wire_type, after) = take_key(rest).ok_or(malformed)?;
        let mut field = Self {
            number,
            wire_type,
            scalar: 0,
            payload: &[],
        };
        *rest = after;
        match wire_type {
            0 => {
                let (value, after) = take_varint(rest).ok_or(malformed)?;
                field.scalar = value;
                *rest = after;
            }
            1 => {
                let (bytes, after) = rest.split_first_chunk::<8>().ok_or(malformed)?;
                field.scalar = u64::from_le_bytes(*bytes);
                *rest = after;
            }
            2 => {
                let (len, after) = take_varint(rest).ok_or(malformed)?;
                let len = usize::try_from(len).map_err(|_| malformed)?;
                let (payload, after) = after.split_at_checked(len).ok_or(malformed)?;
                field.payload = payload;
                *rest = after;
            }
            3 => *rest = skip_group(rest, number).ok_or(malformed)?,
            5 => *rest = rest.get(4..).ok_or(malformed)?,
            _ => return Err(malformed),
        }
        Ok(field)
    }

    /// Checks the wire type of a known field.
    fn expect(&self, expected: u8, field: &'static str) -> Result<(), DecodeError> {
        if self.wire_type == expected {
            Ok(())
        } else {
            Err(DecodeError::WireType {
                field,
                found: self.wire_type,
                expected,
            })
        }
    }

    pub(super) fn varint(&self, field: &'static str) -> Result<u64, DecodeError> {
        self.expect(0, field)?;
        Ok(self.scalar)
    }

    pub(super) fn fixed64(&self, field: &'static str) -> Result<u64, DecodeError> {
        self.expect(1, field)?;
        Ok(self.scalar)
    }

    pub(super) fn double(&self, field: &'static str) -> Result<f64, DecodeError> {
        self.fixed64(field).map(f64::from_bits)
    }

    pub(super) fn bytes(&self, field: &'static str) -> Result<&'a [u8], DecodeError> {
        self.expect(2, field)?;
        Ok(self.payload)
    }

    pub(super) fn text(&self, field: &'static str) -> Result<&'a str, DecodeError> {
        str::from_utf8(self.bytes(field)?).map_err(|_| DecodeError::Utf8(field))
    }
}

/// Takes a field's key off `rest`: its number, its wire type, and what follows.
fn take_key(rest: &[u8]) -> Option<(u64, u8, &[u8])> {
    let (key, after) = take_varint(rest)?;
    let (number, wire_type) = (key >> 3, key.to_le_bytes()[0] & 7);
    // Field numbers have 29 bits, and zero is none.
    (number != 0 && key <= u64::from(u32::MAX)).then_some((number, wire_type, after))
}

/// Skips the rest of group `number` and returns what follows it. Groups within it are tracked on a
/// small stack, so that no depth of nesting can exhaust ours.
fn skip_group(mut rest: &[u8], number: u64) -> Option<&[u8]> {
    let mut open = ArrayVec::<u64, MAX_GROUP_DEPTH>::new();
    open.push(number);
    while let Some(innermost) = open.last() {
        let (number, wire_type, after) = take_key(rest)?;
        rest = after;
        match wire_type {
            0 => rest = take_varint(rest)?.1,
            1 => rest = rest.get(8..)?,
            2 => {
                let (len, after) = take_varint(rest)?;
                rest = after.get(usize::try_from(len).ok()?..)?;
            }
            3 => open.try_push(number).ok()?,
            4 if number == *innermost => {
                open.pop();
            }
            5 => rest = rest.get(4..)?,
            _ => return None,
        }
    }
    Some(rest)
}
