//! One entry of the measurements or of the metadata.
//!
//! An entry has one usual form: key, then value, lengths in one byte each, nothing else. It is
//! recognised by a handful of comparisons. Whatever deviates from it goes the general way, errors
//! and measured texts included, so that the usual form is a short cut and never a second opinion.
//! Texts are checked here, except that a known key is replaced by the text of whoever knows it.

use std::str;

use super::field::Field;
use super::{DecodeError, Keys};
use crate::codec::varint::take_varint;
use crate::value::ValueRef;

/// Tag of the key in both kinds of entries, field 1 with a length.
const KEY: u8 = 0x0a;
/// Tag of the value in both, field 2 with a length.
const VALUE: u8 = 0x12;
/// Tags within the value of a measurement.
const INT: u8 = 0x08;
const FLOAT: u8 = 0x11;

/// A key, and whether somebody knows it.
#[derive(Clone, Copy)]
pub(super) struct Key<'a> {
    pub(super) text: &'a str,
    pub(super) known: bool,
}

impl<'a> Key<'a> {
    const fn unknown(text: &'a str) -> Self {
        Self { text, known: false }
    }

    /// A key that was checked already.
    fn checked(text: &'a str, known: Option<&'a str>) -> Self {
        match known {
            Some(text) => Self { text, known: true },
            None => Self::unknown(text),
        }
    }

    /// The key with these bytes, unless they are no text.
    #[inline(always)]
    fn valid(bytes: &'a [u8], known: Option<&'a str>) -> Option<Self> {
        match known {
            Some(text) => Some(Self { text, known: true }),
            None => str::from_utf8(bytes).ok().map(Self::unknown),
        }
    }
}

/// A measurement in the usual form, a number.
#[inline(always)]
pub(super) fn usual_measurement<'a, K: Keys>(
    entry: &'a [u8],
    keys: &'a K,
) -> Option<(Key<'a>, ValueRef<'a>)> {
    let (key, value) = usual(entry)?;
    let value = match value {
        [INT, int @ ..] => match take_varint(int)? {
            (int, []) => ValueRef::Int(int.cast_signed()),
            _ => return None,
        },
        [FLOAT, float @ ..] => ValueRef::Float(f64::from_le_bytes(float.try_into().ok()?)),
        _ => return None,
    };
    Some((Key::valid(key, keys.measurement(key))?, value))
}

/// A metadata entry in the usual form.
#[inline(always)]
pub(super) fn usual_metadata<'a, K: Keys>(
    entry: &'a [u8],
    keys: &'a K,
) -> Option<(Key<'a>, &'a str)> {
    let (key, value) = usual(entry)?;
    let key = Key::valid(key, keys.metadata(key))?;
    Some((key, str::from_utf8(value).ok()?))
}

/// Key and value of an entry in the usual form.
#[inline(always)]
fn usual(entry: &[u8]) -> Option<(&[u8], &[u8])> {
    let [KEY, key_len @ 0..0x80, rest @ ..] = entry else {
        return None;
    };
    let (key, rest) = rest.split_at_checked(usize::from(*key_len))?;
    match rest {
        [VALUE, len @ 0..0x80, value @ ..] if usize::from(*len) == value.len() => {
            Some((key, value))
        }
        // Longer texts: two bytes of length.
        [VALUE, low @ 0x80..=0xff, high @ 1..0x80, value @ ..]
            if usize::from(*low & 0x7f) | usize::from(*high) << 7 == value.len() =>
        {
            Some((key, value))
        }
        _ => None,
    }
}

/// A measurement of any form. The value is `None` if it is absent or empty.
#[inline(never)]
pub(super) fn any_measurement<'a, K: Keys>(
    mut entry: &'a [u8],
    keys: &'a K,
) -> Result<(Key<'a>, Option<ValueRef<'a>>), DecodeError> {
    let (mut key, mut value) = ("", None);
    while !entry.is_empty() {
        let field = Field::take(&mut entry, "measurements")?;
        match field.number {
            1 => key = field.text("measurement key")?,
            2 => {
                let mut inner = field.bytes("measurement value")?;
                while !inner.is_empty() {
                    let field = Field::take(&mut inner, "measurement value")?;
                    match field.number {
                        1 => {
                            let int = field.varint("int_value")?.cast_signed();
                            value = Some(ValueRef::Int(int));
                        }
                        2 => value = Some(ValueRef::Float(field.double("float_value")?)),
                        3 => value = Some(ValueRef::Str(field.text("string_value")?)),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    let known = keys.measurement(key.as_bytes());
    Ok((Key::checked(key, known), value))
}

/// A metadata entry of any form.
#[inline(never)]
pub(super) fn any_metadata<'a, K: Keys>(
    mut entry: &'a [u8],
    keys: &'a K,
) -> Result<(Key<'a>, &'a str), DecodeError> {
    let (mut key, mut value) = ("", "");
    while !entry.is_empty() {
        let field = Field::take(&mut entry, "metadata")?;
        match field.number {
            1 => key = field.text("metadata key")?,
            2 => value = field.text("metadata value")?,
            _ => {}
        }
    }
    let known = keys.metadata(key.as_bytes());
    Ok((Key::checked(key, known), value))
}
