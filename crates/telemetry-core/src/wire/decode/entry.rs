//! One entry of the measurements or of the metadata.
//!
//! An entry has one usual form: key, then value, lengths in one byte each, nothing else. It is
//! recognised by a handful of comparisons; whatever deviates from it goes the general way, so that
//! the usual form is a short cut and never a second opinion. Texts are checked here, except that a
//! known key is replaced by the text of whoever knows it.

use std::str;

use super::field::Field;
use super::{DecodeError, Keys};
use crate::value::ValueRef;
use crate::wire::varint::take_varint;

/// Tag of the key in both kinds of entries, field 1 with a length.
const KEY: u8 = 0x0a;
/// Tag of the value in both, field 2 with a length.
const VALUE: u8 = 0x12;
/// Tags within the value of a measurement.
const INT: u8 = 0x08;
const FLOAT: u8 = 0x11;
const TEXT: u8 = 0x1a;

/// A key, and whether somebody knows it.
#[derive(Clone, Copy)]
pub(super) struct Key<'a> {
    pub(super) text: &'a str,
    pub(super) known: bool,
}

impl<'a> Key<'a> {
    /// An unknown key, or none.
    const fn unknown(text: &'a str) -> Self {
        Self { text, known: false }
    }

    #[inline]
    fn of(
        bytes: &'a [u8],
        known: Option<&'a str>,
        field: &'static str,
    ) -> Result<Self, DecodeError> {
        match known {
            Some(text) => Ok(Self { text, known: true }),
            None => match str::from_utf8(bytes) {
                Ok(text) => Ok(Self::unknown(text)),
                Err(_) => Err(DecodeError::Utf8(field)),
            },
        }
    }
}

/// Reads a map entry of measurements. The value is `None` if it is absent or empty.
#[inline]
pub(super) fn measurement<'a, K: Keys>(
    entry: &'a [u8],
    keys: &'a K,
) -> Result<(Key<'a>, Option<ValueRef<'a>>), DecodeError> {
    if let Some((key, value)) = usual(entry)
        && let Some(value) = usual_value(value)
    {
        let key = Key::of(key, keys.measurement(key), "measurement key")?;
        let value = match value {
            Value::Int(int) => ValueRef::Int(int),
            Value::Float(float) => ValueRef::Float(float),
            Value::Text(text) => match str::from_utf8(text) {
                Ok(text) => ValueRef::Str(text),
                Err(_) => return Err(DecodeError::Utf8("string_value")),
            },
        };
        return Ok((key, Some(value)));
    }
    any_measurement(entry, keys)
}

/// Reads a map entry of metadata.
#[inline]
pub(super) fn metadata<'a, K: Keys>(
    entry: &'a [u8],
    keys: &'a K,
) -> Result<(Key<'a>, &'a str), DecodeError> {
    if let Some((key, value)) = usual(entry) {
        let key = Key::of(key, keys.metadata(key), "metadata key")?;
        return match str::from_utf8(value) {
            Ok(value) => Ok((key, value)),
            Err(_) => Err(DecodeError::Utf8("metadata value")),
        };
    }
    any_metadata(entry, keys)
}

/// Key and value of an entry in the usual form.
#[inline]
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

/// The value of a measurement whose text is not yet checked.
enum Value<'a> {
    Int(i64),
    Float(f64),
    Text(&'a [u8]),
}

/// The value of a measurement that holds one field and nothing else.
#[inline]
fn usual_value(value: &[u8]) -> Option<Value<'_>> {
    match value {
        [INT, int @ ..] => match take_varint(int)? {
            (int, []) => Some(Value::Int(int.cast_signed())),
            _ => None,
        },
        [FLOAT, float @ ..] => {
            let bytes = float.try_into().ok()?;
            Some(Value::Float(f64::from_le_bytes(bytes)))
        }
        [TEXT, len @ 0..0x80, text @ ..] if usize::from(*len) == text.len() => {
            Some(Value::Text(text))
        }
        _ => None,
    }
}

/// A measurement of any form.
#[cold]
fn any_measurement<'a, K: Keys>(
    mut entry: &'a [u8],
    keys: &'a K,
) -> Result<(Key<'a>, Option<ValueRef<'a>>), DecodeError> {
    let (mut key, mut value) = (&b""[..], None);
    while !entry.is_empty() {
        let field = Field::take(&mut entry, "measurements")?;
        match field.number {
            1 => key = field.text("measurement key")?.as_bytes(),
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
    let key = Key::of(key, keys.measurement(key), "measurement key")?;
    Ok((key, value))
}

/// A metadata entry of any form.
#[cold]
fn any_metadata<'a, K: Keys>(
    mut entry: &'a [u8],
    keys: &'a K,
) -> Result<(Key<'a>, &'a str), DecodeError> {
    let (mut key, mut value) = (&b""[..], "");
    while !entry.is_empty() {
        let field = Field::take(&mut entry, "metadata")?;
        match field.number {
            1 => key = field.text("metadata key")?.as_bytes(),
            2 => value = field.text("metadata value")?,
            _ => {}
        }
    }
    let key = Key::of(key, keys.metadata(key), "metadata key")?;
    Ok((key, value))
}
