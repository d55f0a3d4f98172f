//! Reads `TelemetryEvent` bytes in one pass into a structure on the stack that borrows from them.
//!
//! The bytes may come from anybody: counts are limited before anything is stored, unknown fields are
//! skipped without recursion, and an error names what is wrong. It accepts exactly what prost
//! accepts, apart from the limits.

use std::str;

use arrayvec::ArrayVec;

use super::varint::take_varint;
use crate::value::ValueRef;

/// Most measurements, or metadata entries, that a decoded event can hold.
pub const MAX_DECODED_FIELDS: usize = 32;
/// Most segments of a name.
const MAX_PARTS: usize = 8;
/// How deep groups of an unknown field may nest.
const MAX_GROUP_DEPTH: usize = 100;

/// What one event may carry; each at most what the structure holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

/// The name of a decoded event, still in its encoded form.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// The whole message; segments are found in it when the name is not in one run.
    message: &'a [u8],
    /// Where the first run of name fields is in it.
    run: (usize, usize),
    /// Whether `run` holds every segment.
    contiguous: bool,
    /// Number of segments.
    count: usize,
}

impl<'a> Parts<'a> {
    /// The encoded name as one slice, to be looked up as it is; `None` in the odd case that its
    /// fields are not side by side.
    #[must_use]
    pub fn encoded(&self) -> Option<&'a [u8]> {
        self.contiguous.then_some(self.run())
    }

    /// Whether there is no segment, as in a hello or report frame.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The dotted name.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Utf8`] if a segment is not UTF-8.
    pub fn dotted(&self) -> Result<String, DecodeError> {
        let mut name = String::with_capacity(self.run().len());
        let mut rest = if self.contiguous {
            self.run()
        } else {
            self.message
        };
        let mut first = true;
        while !rest.is_empty() {
            let field = Field::take(&mut rest, "event_parts")?;
            if field.number != 1 {
                continue;
            }
            if !first {
                name.push('.');
            }
            first = false;
            name.push_str(field.text("event_parts")?);
        }
        Ok(name)
    }
}

/// An event whose texts borrow from the message it was read from.
#[derive(Debug, Clone)]
pub struct DecodedEvent<'a> {
    /// The name.
    pub parts: Parts<'a>,
    /// Measurements with distinct keys; a value that was present but empty is `None`.
    pub measurements: ArrayVec<(&'a str, Option<ValueRef<'a>>), MAX_DECODED_FIELDS>,
    /// Metadata with distinct keys.
    pub metadata: ArrayVec<(&'a str, &'a str), MAX_DECODED_FIELDS>,
    /// Wall clock at the emit, nanoseconds since the Unix epoch.
    pub timestamp_ns: i64,
    /// The correlation id, or empty.
    pub correlation_id: &'a str,
    /// Position in the worker's order; 0 from a worker that sends none.
    pub sequence: u64,
    /// Probability with which the event was kept, if it says so.
    pub sampling_rate: Option<f64>,
    /// Encoded `WorkerHello`, if the frame is one.
    pub hello: Option<&'a [u8]>,
    /// Encoded `WorkerReport`, if the frame is one.
    pub report: Option<&'a [u8]>,
}

/// Reads one `TelemetryEvent`.
///
/// # Errors
///
/// [`DecodeError`] for bytes that are malformed or beyond `limits`. Hello and report frames are not
/// subject to the size limit of events.
pub fn decode_event<'a>(
    message: &'a [u8],
    limits: &DecodeLimits,
) -> Result<DecodedEvent<'a>, DecodeError> {
    let mut event = DecodedEvent {
        parts: Parts {
            message,
            run: (0, 0),
            contiguous: true,
            count: 0,
        },
        measurements: ArrayVec::new(),
        metadata: ArrayVec::new(),
        timestamp_ns: 0,
        correlation_id: "",
        sequence: 0,
        sampling_rate: None,
        hello: None,
        report: None,
    };
    let max_measurements = limits.measurements.min(MAX_DECODED_FIELDS);
    let max_metadata = limits.metadata.min(MAX_DECODED_FIELDS);
    let mut rest = message;
    while !rest.is_empty() {
        let before = rest;
        let field = Field::take(&mut rest, "event")?;
        match field.number {
            1 => {
                field.bytes("event_parts")?;
                event.parts.add(before, rest)?;
            }
            2 => {
                let (key, value) = measurement(field.bytes("measurements")?)?;
                put(
                    &mut event.measurements,
                    key,
                    value,
                    max_measurements,
                    "measurements",
                )?;
            }
            3 => {
                let (key, value) = metadata(field.bytes("metadata")?)?;
                put(
                    &mut event.metadata,
                    key,
                    value,
                    max_metadata,
                    "metadata entries",
                )?;
            }
            4 => event.timestamp_ns = field.varint("timestamp_ns")?.cast_signed(),
            5 => event.correlation_id = field.text("correlation_id")?,
            1001 => event.sequence = field.varint("sequence")?,
            1002 => event.sampling_rate = Some(field.double("sampling_rate")?),
            1003 => event.hello = Some(field.bytes("hello")?),
            1004 => event.report = Some(field.bytes("report")?),
            _ => {}
        }
    }
    let is_event = event.hello.is_none() && event.report.is_none();
    if is_event && message.len() > limits.bytes {
        return Err(DecodeError::Oversize {
            len: message.len(),
            max: limits.bytes,
        });
    }
    Ok(event)
}

impl<'a> Parts<'a> {
    /// Takes in one more segment, encoded between the starts of `before` and `after`.
    fn add(&mut self, before: &'a [u8], after: &'a [u8]) -> Result<(), DecodeError> {
        if self.count == MAX_PARTS {
            return Err(DecodeError::TooMany {
                field: "event_parts",
                max: MAX_PARTS,
            });
        }
        let start = self.message.len() - before.len();
        let end = self.message.len() - after.len();
        if self.count == 0 {
            self.run = (start, end);
        } else if self.contiguous && self.run.1 == start {
            self.run.1 = end;
        } else {
            self.contiguous = false;
        }
        self.count += 1;
        Ok(())
    }

    /// The first run of name fields.
    fn run(&self) -> &'a [u8] {
        &self.message[self.run.0..self.run.1]
    }
}

/// Puts an entry into a map-like list; a key that is there already gets the new value.
fn put<'a, V, const N: usize>(
    entries: &mut ArrayVec<(&'a str, V), N>,
    key: &'a str,
    value: V,
    max: usize,
    field: &'static str,
) -> Result<(), DecodeError> {
    if let Some(known) = entries.iter_mut().find(|(known, _)| *known == key) {
        known.1 = value;
        return Ok(());
    }
    if entries.len() >= max {
        return Err(DecodeError::TooMany { field, max });
    }
    entries.push((key, value));
    Ok(())
}

/// Reads a map entry of measurements.
fn measurement(mut entry: &[u8]) -> Result<(&str, Option<ValueRef<'_>>), DecodeError> {
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
    Ok((key, value))
}

/// Reads a map entry of metadata.
fn metadata(mut entry: &[u8]) -> Result<(&str, &str), DecodeError> {
    let (mut key, mut value) = ("", "");
    while !entry.is_empty() {
        let field = Field::take(&mut entry, "metadata")?;
        match field.number {
            1 => key = field.text("metadata key")?,
            2 => value = field.text("metadata value")?,
            _ => {}
        }
    }
    Ok((key, value))
}

/// One field: its number, wire type and what it holds.
struct Field<'a> {
    /// Field number.
    number: u64,
    /// Wire type, 0 to 5.
    wire_type: u8,
    /// A varint or fixed value.
    scalar: u64,
    /// The bytes of a length-delimited field.
    payload: &'a [u8],
}

impl<'a> Field<'a> {
    /// Takes the next field off `rest`.
    fn take(rest: &mut &'a [u8], inside: &'static str) -> Result<Self, DecodeError> {
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

    fn varint(&self, field: &'static str) -> Result<u64, DecodeError> {
        self.expect(0, field)?;
        Ok(self.scalar)
    }

    fn double(&self, field: &'static str) -> Result<f64, DecodeError> {
        self.expect(1, field)?;
        Ok(f64::from_bits(self.scalar))
    }

    fn bytes(&self, field: &'static str) -> Result<&'a [u8], DecodeError> {
        self.expect(2, field)?;
        Ok(self.payload)
    }

    fn text(&self, field: &'static str) -> Result<&'a str, DecodeError> {
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
