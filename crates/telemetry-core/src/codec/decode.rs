//! Reads `TelemetryEvent` bytes in one pass into a structure on the stack that borrows from them.
//!
//! The bytes may come from anybody: counts are limited before anything is stored, unknown fields are
//! skipped without recursion, and an error names what is wrong. It accepts exactly what prost
//! accepts, apart from the limits.
//!
//! Fields that are encoded as every encoder encodes them are recognised by their first byte here;
//! all else goes through `field`, which understands every form.

mod entry;
mod field;
mod limits;
mod parts;
mod span;

use std::str;

use arrayvec::ArrayVec;

use super::varint::take_varint;
use crate::correlation::SpanContext;
use crate::value::ValueRef;
use entry::Key;
use field::Field;
use span::RawSpan;

pub use limits::{DecodeError, DecodeLimits};
pub use parts::Parts;

/// Most measurements, or metadata entries, that a decoded event can hold.
pub const MAX_DECODED_FIELDS: usize = 32;

/// First bytes of the fields of an event, as short as they can be.
mod tag {
    pub(super) const PART: u8 = 0x0a;
    pub(super) const MEASUREMENT: u8 = 0x12;
    pub(super) const METADATA: u8 = 0x1a;
    pub(super) const TIMESTAMP: u8 = 0x20;
    pub(super) const CORRELATION_ID: u8 = 0x2a;
    /// Followed by `ABOVE_1000`: field 1001 as a varint.
    pub(super) const SEQUENCE: u8 = 0xc8;
    /// Followed by `ABOVE_1000`: field 1005, a message.
    pub(super) const SPAN: u8 = 0xea;
    pub(super) const ABOVE_1000: u8 = 0x3e;
}

/// Who knows some keys by their bytes.
///
/// A known key needs no check of its bytes and is held as the text of whoever knows it, so that two
/// that are equal mostly are the same text.
pub trait Keys {
    /// The measurement key with these bytes.
    fn measurement(&self, key: &[u8]) -> Option<&str>;

    /// The metadata key with these bytes.
    fn metadata(&self, key: &[u8]) -> Option<&str>;
}

/// Knows no key.
impl Keys for () {
    fn measurement(&self, _key: &[u8]) -> Option<&str> {
        None
    }

    fn metadata(&self, _key: &[u8]) -> Option<&str> {
        None
    }
}

/// What a message carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content<'m> {
    /// An event.
    Event,
    /// An encoded `WorkerHello`.
    Hello(&'m [u8]),
    /// An encoded `WorkerReport`.
    Report(&'m [u8]),
}

/// An event whose texts borrow from the message it was read from.
///
/// It is large and mostly unused room: read into it where it is, do not move it about.
#[derive(Debug, Clone)]
pub struct DecodedEvent<'a> {
    /// The name.
    pub parts: Parts<'a>,
    /// Measurements with distinct keys. One that was present but empty has some value here; see
    /// [`values`](Self::values).
    pub measurements: ArrayVec<(&'a str, ValueRef<'a>), MAX_DECODED_FIELDS>,
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
    /// The span as it was sent; see [`span`](Self::span).
    raw_span: RawSpan,
    /// Encoded `WorkerHello`, if the frame is one.
    pub hello: Option<&'a [u8]>,
    /// Encoded `WorkerReport`, if the frame is one.
    pub report: Option<&'a [u8]>,
    /// What is not plain about `measurements`: a bit for each that is unknown, or without value.
    odd_measurements: OddMeasurements,
    /// A bit for each entry of `metadata` whose key is unknown.
    unknown_metadata: u32,
}

/// Bits by position in the measurements.
#[derive(Debug, Clone, Copy, Default)]
struct OddMeasurements {
    unknown: u32,
    absent: u32,
    not_finite: u32,
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
    let mut event = DecodedEvent::empty();
    event.read(message, limits, &())?;
    Ok(event)
}

impl<'a> DecodedEvent<'a> {
    /// Room for an event.
    #[must_use]
    #[inline]
    pub const fn empty() -> Self {
        Self {
            parts: Parts::of(&[]),
            measurements: ArrayVec::new_const(),
            metadata: ArrayVec::new_const(),
            timestamp_ns: 0,
            correlation_id: "",
            sequence: 0,
            sampling_rate: None,
            raw_span: RawSpan::NONE,
            hello: None,
            report: None,
            odd_measurements: OddMeasurements {
                unknown: 0,
                absent: 0,
                not_finite: 0,
            },
            unknown_metadata: 0,
        }
    }

    /// Reads one `TelemetryEvent` into an [`empty`](Self::empty) event. Keys that `keys` knows are
    /// taken from there.
    ///
    /// # Errors
    ///
    /// As [`decode_event`]; what the event then holds is of no use.
    pub fn read<'m: 'a, K: Keys>(
        &mut self,
        message: &'m [u8],
        limits: &DecodeLimits,
        keys: &'a K,
    ) -> Result<Content<'m>, DecodeError> {
        self.parts = Parts::of(message);
        let (mut hello, mut report) = (None, None);
        let mut rest = message;
        while let [tag, after @ ..] = rest {
            rest = match (*tag, after) {
                (tag::PART, _) => self.name(rest, after)?,
                (tag::MEASUREMENT, _) => {
                    let Some((entry, next)) = take_bytes(after) else {
                        return Err(MALFORMED);
                    };
                    match entry::usual_measurement(entry, keys) {
                        Some((key, value)) => self.put_measurement(key, Some(value), limits)?,
                        None => self.any_measurement(entry, limits, keys)?,
                    }
                    next
                }
                (tag::METADATA, _) => {
                    let Some((entry, next)) = take_bytes(after) else {
                        return Err(MALFORMED);
                    };
                    match entry::usual_metadata(entry, keys) {
                        Some((key, value)) => self.put_metadata(key, value, limits)?,
                        None => self.any_metadata(entry, limits, keys)?,
                    }
                    next
                }
                (tag::TIMESTAMP, _) => {
                    let (timestamp, next) = take_varint(after).ok_or(MALFORMED)?;
                    self.timestamp_ns = timestamp.cast_signed();
                    next
                }
                (tag::CORRELATION_ID, _) => {
                    let (text, next) = take_bytes(after).ok_or(MALFORMED)?;
                    self.correlation_id = match str::from_utf8(text) {
                        Ok(text) => text,
                        Err(_) => return Err(DecodeError::Utf8("correlation_id")),
                    };
                    next
                }
                (tag::SEQUENCE, [tag::ABOVE_1000, after @ ..]) => {
                    let (sequence, next) = take_varint(after).ok_or(MALFORMED)?;
                    self.sequence = sequence;
                    next
                }
                (tag::SPAN, [tag::ABOVE_1000, after @ ..]) => {
                    let (message, next) = take_bytes(after).ok_or(MALFORMED)?;
                    if !self.raw_span.read_usual(message) {
                        self.raw_span.read_any(message)?;
                    }
                    next
                }
                _ => self.any_field(rest, limits, keys, &mut hello, &mut report)?,
            };
        }
        (self.hello, self.report) = (hello, report);
        let content = match (hello, report) {
            (Some(hello), _) => Content::Hello(hello),
            (None, Some(report)) => Content::Report(report),
            (None, None) => Content::Event,
        };
        if content == Content::Event && message.len() > limits.bytes {
            return Err(DecodeError::Oversize {
                len: message.len(),
                max: limits.bytes,
            });
        }
        Ok(content)
    }

    /// The span that the event belongs to; `None` if there is none, or if its ids are none.
    #[must_use]
    #[inline]
    pub fn span(&self) -> Option<SpanContext> {
        self.raw_span.context()
    }

    /// The measurements in order; a value that was present but empty is `None`.
    pub fn values(&self) -> impl Iterator<Item = (&'a str, Option<ValueRef<'a>>)> + '_ {
        let absent = self.odd_measurements.absent;
        self.measurements
            .iter()
            .enumerate()
            .map(move |(place, (key, value))| (*key, (absent & 1 << place == 0).then_some(*value)))
    }

    /// Whether all keys are known and all values are there and finite, so that measurements and
    /// metadata can be used as they are.
    #[must_use]
    #[inline]
    pub fn is_plain(&self) -> bool {
        let OddMeasurements {
            unknown,
            absent,
            not_finite,
        } = self.odd_measurements;
        unknown | absent | not_finite | self.unknown_metadata == 0
    }

    /// Whether the key of the measurement at `place` is a known one.
    #[must_use]
    pub fn is_known_measurement(&self, place: usize) -> bool {
        self.odd_measurements.unknown & 1 << place == 0
    }

    /// Whether the key of the metadata entry at `place` is a known one.
    #[must_use]
    pub fn is_known_metadata(&self, place: usize) -> bool {
        self.unknown_metadata & 1 << place == 0
    }

    /// Takes the segments of the name that stand side by side at the start of `rest`; `after` is
    /// behind the tag of the first. Returns what follows them.
    #[inline]
    fn name<'m: 'a>(&mut self, rest: &'m [u8], after: &'m [u8]) -> Result<&'m [u8], DecodeError> {
        let mut segments = 1;
        let (_, mut next) = take_bytes(after).ok_or(MALFORMED)?;
        while let [tag::PART, after @ ..] = next {
            (_, next) = take_bytes(after).ok_or(MALFORMED)?;
            segments += 1;
        }
        self.parts.add(rest, next, segments)?;
        Ok(next)
    }

    /// Takes one field of any number and form off `rest` and returns what follows it.
    #[cold]
    fn any_field<'m: 'a, K: Keys>(
        &mut self,
        mut rest: &'m [u8],
        limits: &DecodeLimits,
        keys: &'a K,
        hello: &mut Option<&'m [u8]>,
        report: &mut Option<&'m [u8]>,
    ) -> Result<&'m [u8], DecodeError> {
        let before = rest;
        let field = Field::take(&mut rest, "event")?;
        match field.number {
            1 => {
                field.bytes("event_parts")?;
                self.parts.add(before, rest, 1)?;
            }
            2 => {
                self.any_measurement(field.bytes("measurements")?, limits, keys)?;
            }
            3 => {
                self.any_metadata(field.bytes("metadata")?, limits, keys)?;
            }
            4 => self.timestamp_ns = field.varint("timestamp_ns")?.cast_signed(),
            5 => self.correlation_id = field.text("correlation_id")?,
            1001 => self.sequence = field.varint("sequence")?,
            1002 => self.sampling_rate = Some(field.double("sampling_rate")?),
            1003 => *hello = Some(field.bytes("hello")?),
            1004 => *report = Some(field.bytes("report")?),
            1005 => self.raw_span.read_any(field.bytes("span")?)?,
            _ => {}
        }
        Ok(rest)
    }

    /// Takes in a measurement that is not in the usual form.
    #[inline(never)]
    fn any_measurement<K: Keys>(
        &mut self,
        entry: &'a [u8],
        limits: &DecodeLimits,
        keys: &'a K,
    ) -> Result<(), DecodeError> {
        let (key, value) = entry::any_measurement(entry, keys)?;
        self.put_measurement(key, value, limits)
    }

    /// Takes in a metadata entry that is not in the usual form.
    #[inline(never)]
    fn any_metadata<K: Keys>(
        &mut self,
        entry: &'a [u8],
        limits: &DecodeLimits,
        keys: &'a K,
    ) -> Result<(), DecodeError> {
        let (key, value) = entry::any_metadata(entry, keys)?;
        self.put_metadata(key, value, limits)
    }

    /// Puts a measurement into its place; a key that is there already gets the new value.
    #[inline]
    fn put_measurement(
        &mut self,
        key: Key<'a>,
        value: Option<ValueRef<'a>>,
        limits: &DecodeLimits,
    ) -> Result<(), DecodeError> {
        let held = value.unwrap_or(ValueRef::Int(0));
        let place = self.measurements.len();
        let known = self.measurements.iter_mut();
        if let Some((place, (_, old))) = known.enumerate().find(|(_, (old, _))| same(old, key.text))
        {
            *old = held;
            self.odd_measurements.clear(place);
            self.odd_measurements.judge(place, key, value);
            return Ok(());
        }
        if place >= limits.measurements.min(MAX_DECODED_FIELDS) {
            return Err(DecodeError::TooMany {
                field: "measurements",
                max: limits.measurements.min(MAX_DECODED_FIELDS),
            });
        }
        self.measurements.push((key.text, held));
        self.odd_measurements.judge(place, key, value);
        Ok(())
    }

    /// Puts a metadata entry into its place; a key that is there already gets the new value.
    #[inline]
    fn put_metadata(
        &mut self,
        key: Key<'a>,
        value: &'a str,
        limits: &DecodeLimits,
    ) -> Result<(), DecodeError> {
        let place = self.metadata.len();
        let mut known = self.metadata.iter_mut();
        if let Some((_, old)) = known.find(|(old, _)| same(old, key.text)) {
            *old = value;
            return Ok(());
        }
        if place >= limits.metadata.min(MAX_DECODED_FIELDS) {
            return Err(DecodeError::TooMany {
                field: "metadata entries",
                max: limits.metadata.min(MAX_DECODED_FIELDS),
            });
        }
        self.metadata.push((key.text, value));
        self.unknown_metadata |= u32::from(!key.known) << place;
        Ok(())
    }
}

impl OddMeasurements {
    /// Notes what is odd about the measurement at `place`.
    #[inline]
    fn judge(&mut self, place: usize, key: Key<'_>, value: Option<ValueRef<'_>>) {
        self.unknown |= u32::from(!key.known) << place;
        match value {
            None => self.absent |= 1 << place,
            Some(ValueRef::Float(number)) => {
                self.not_finite |= u32::from(!number.is_finite()) << place;
            }
            Some(_) => {}
        }
    }

    /// Forgets what was odd about the value at `place`.
    #[cold]
    fn clear(&mut self, place: usize) {
        self.absent &= !(1 << place);
        self.not_finite &= !(1 << place);
    }
}

const MALFORMED: DecodeError = DecodeError::Malformed("event");

/// Whether two keys are equal. Different ones mostly differ in length, and equal ones that are known
/// are one text; both is seen at once.
#[inline]
fn same(one: &str, other: &str) -> bool {
    one.len() == other.len() && (std::ptr::eq(one, other) || one == other)
}

/// Takes a length and as many bytes.
#[inline(always)]
fn take_bytes(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    match bytes {
        [len @ 0..0x80, rest @ ..] => rest.split_at_checked(usize::from(*len)),
        _ => take_long(bytes),
    }
}

/// As `take_bytes`, of 128 or more bytes, or with a length that is longer than it needs to be.
#[cold]
fn take_long(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = take_varint(bytes)?;
    rest.split_at_checked(usize::try_from(len).ok()?)
}
