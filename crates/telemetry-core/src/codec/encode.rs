//! Writes `TelemetryEvent` bytes field by field into memory that is used again for the next event.
//!
//! Every length is computed before it is written, so nothing is moved or patched afterwards and
//! nothing is allocated beyond the growth of that memory.

use super::varint::{MAX_VARINT_BYTES, VARINT_ROOM, put_varint, varint_len, write_varint};
use crate::correlation::SpanContext;
use crate::value::ValueRef;

/// Field 1, a segment of the name.
const EVENT_PARTS: u8 = 0x0a;
/// Field 2, one measurement.
const MEASUREMENT: u8 = 0x12;
/// Field 3, one metadata entry.
const METADATA: u8 = 0x1a;
/// Field 4, wall clock in nanoseconds.
const TIMESTAMP: u8 = 0x20;
/// Field 5, the correlation id.
const CORRELATION_ID: u8 = 0x2a;
/// In a map entry, field 1, the key.
const KEY: u8 = 0x0a;
/// In a map entry, field 2, the value.
const VALUE: u8 = 0x12;
/// In a measurement's value, field 1, an integer.
const INT: u8 = 0x08;
/// In a measurement's value, field 2, eight bytes.
const FLOAT: u8 = 0x11;
/// In a measurement's value, field 3, a text.
const TEXT: u8 = 0x1a;
/// Field 1001 as a varint.
const SEQUENCE: [u8; 2] = [0xc8, 0x3e];
/// Field 1002 as eight bytes.
const SAMPLING_RATE: [u8; 2] = [0xd1, 0x3e];
/// Field 1005, a message.
const SPAN: [u8; 2] = [0xea, 0x3e];
/// In a span, field 1, and the length of a trace id.
const TRACE_ID: [u8; 2] = [0x0a, 16];
/// In a span, field 2, eight bytes.
const SPAN_ID: u8 = 0x11;
/// In a span, field 3, eight bytes.
const PARENT_SPAN_ID: u8 = 0x19;
/// In a span, field 4 as a varint.
const PHASE: u8 = 0x20;

/// The `event_parts` fields of a dotted name, to be written once and copied for every event.
#[must_use]
pub fn encode_event_parts(dotted_name: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(dotted_name.len() + 2);
    for segment in dotted_name.split('.') {
        out.push(EVENT_PARTS);
        put_varint(&mut out, segment.len() as u64);
        out.extend_from_slice(segment.as_bytes());
    }
    out
}

/// Appends the sequence to an encoded event; fields may come in any order, so this is enough.
pub fn append_sequence(out: &mut Vec<u8>, sequence: u64) {
    out.extend_from_slice(&SEQUENCE);
    put_varint(out, sequence);
}

/// Most bytes that [`append_sequence`] adds.
pub(crate) const MAX_SEQUENCE_BYTES: usize = SEQUENCE.len() + MAX_VARINT_BYTES;

/// Bytes that [`append_sequence`] adds.
pub(crate) fn sequence_len(sequence: u64) -> usize {
    SEQUENCE.len() + varint_len(sequence)
}

/// Writes one event after the other, each into the same memory.
#[derive(Debug, Clone, Default)]
pub struct EventEncoder {
    /// The event's bytes and room behind them; initialised throughout, so that nothing is cleared.
    buffer: Vec<u8>,
    /// Where the event ends.
    end: usize,
}

impl EventEncoder {
    /// An encoder without memory.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            buffer: Vec::new(),
            end: 0,
        }
    }

    /// Forgets the last event and starts one with name bytes made by [`encode_event_parts`].
    #[inline(always)]
    pub fn start(&mut self, event_parts: &[u8]) {
        self.end = 0;
        match self.window() {
            Some(window) if event_parts.len() <= SHORT => {
                put_short(window, 0, event_parts);
                self.end = event_parts.len();
            }
            _ => self.put(event_parts),
        }
    }

    /// The event so far.
    #[must_use]
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[..self.end]
    }

    /// Bytes that it keeps in memory.
    #[must_use]
    #[inline]
    pub fn capacity(&self) -> usize {
        self.buffer.len()
    }

    /// Adds a measurement. A key written twice counts with its last value, as in any protobuf map.
    #[inline]
    pub fn measurement(&mut self, key: &str, value: ValueRef<'_>) {
        match value {
            ValueRef::Int(number) => self.int(key, number),
            ValueRef::Float(number) => self.float(key, number),
            ValueRef::Str(text) => self.text(key, text),
        }
    }

    /// Adds a measurement that is an integer.
    #[inline(always)]
    pub(crate) fn int(&mut self, key: &str, number: i64) {
        match self.window() {
            Some(window) if key.len() <= SHORT => {
                let len = put_varint_at(window, VALUE_HEAD + key.len(), number.cast_unsigned());
                self.end += put_measurement(window, key, INT, len);
            }
            _ => self.long_measurement(key, ValueRef::Int(number)),
        }
    }

    /// Adds a measurement that is a float.
    #[inline(always)]
    pub(crate) fn float(&mut self, key: &str, number: f64) {
        match self.window() {
            Some(window) if key.len() <= SHORT => {
                put_array(window, VALUE_HEAD + key.len(), number.to_le_bytes());
                self.end += put_measurement(window, key, FLOAT, 8);
            }
            _ => self.long_measurement(key, ValueRef::Float(number)),
        }
    }

    /// Adds a measurement that is a text.
    pub(crate) fn text(&mut self, key: &str, text: &str) {
        self.long_measurement(key, ValueRef::Str(text));
    }

    /// Adds a metadata entry.
    #[inline(always)]
    pub fn metadata(&mut self, key: &str, value: &str) {
        let (key_len, value_len) = (key.len(), value.len());
        if key_len > SHORT || value_len > SHORT {
            return self.long_metadata(key, value);
        }
        let Some(window) = self.window() else {
            return self.long_metadata(key, value);
        };
        let entry = 4 + key_len + value_len;
        put_array(
            window,
            0,
            [METADATA, low_byte(entry), KEY, low_byte(key_len)],
        );
        put_short(window, 4, key.as_bytes());
        put_array(window, 4 + key_len, [VALUE, low_byte(value_len)]);
        put_short(window, 6 + key_len, value.as_bytes());
        self.end += 2 + entry;
    }

    /// Adds what every event has. A rate of 1 is not written.
    #[inline(always)]
    pub fn finish(&mut self, timestamp_ns: i64, correlation_id: &str, sampling_rate: f64) {
        let len = correlation_id.len();
        match self.window() {
            Some(window) if len <= SHORT => {
                let mut at = 0;
                if timestamp_ns != 0 {
                    put_array(window, 0, [TIMESTAMP]);
                    at = 1 + put_varint_at(window, 1, timestamp_ns.cast_unsigned());
                }
                if len != 0 {
                    put_array(window, at, [CORRELATION_ID, low_byte(len)]);
                    put_short(window, at + 2, correlation_id.as_bytes());
                    at += 2 + len;
                }
                self.end += at;
            }
            _ => {
                if timestamp_ns != 0 {
                    self.put(&[TIMESTAMP]);
                    self.put_varint(timestamp_ns.cast_unsigned());
                }
                if !correlation_id.is_empty() {
                    self.put_text(CORRELATION_ID, correlation_id);
                }
            }
        }
        if sampling_rate < 1.0 {
            self.put(&SAMPLING_RATE);
            self.put(&sampling_rate.to_le_bytes());
        }
    }

    /// Adds the span that the event belongs to.
    #[inline]
    pub fn span(&mut self, span: &SpanContext) {
        match self.window() {
            Some(window) => self.end += put_span(window, span),
            None => {
                let mut bytes = [0; WINDOW];
                let len = put_span(&mut bytes, span);
                self.put(&bytes[..len]);
            }
        }
    }

    /// [`measurement`](Self::measurement) of any size.
    #[cold]
    fn long_measurement(&mut self, key: &str, value: ValueRef<'_>) {
        let value_len = match value {
            ValueRef::Int(int) => 1 + varint_len(int.cast_unsigned()),
            ValueRef::Float(_) => 9,
            ValueRef::Str(text) => text_field_len(text),
        };
        let entry = text_field_len(key) + 1 + varint_len(value_len as u64) + value_len;
        self.put(&[MEASUREMENT]);
        self.put_varint(entry as u64);
        self.put_text(KEY, key);
        self.put(&[VALUE]);
        self.put_varint(value_len as u64);
        match value {
            ValueRef::Int(int) => {
                self.put(&[INT]);
                self.put_varint(int.cast_unsigned());
            }
            ValueRef::Float(float) => {
                self.put(&[FLOAT]);
                self.put(&float.to_le_bytes());
            }
            ValueRef::Str(text) => self.put_text(TEXT, text),
        }
    }

    /// [`metadata`](Self::metadata) of any size.
    #[cold]
    fn long_metadata(&mut self, key: &str, value: &str) {
        self.put(&[METADATA]);
        self.put_varint((text_field_len(key) + text_field_len(value)) as u64);
        self.put_text(KEY, key);
        self.put_text(VALUE, value);
    }

    /// Room for short fields behind the event, if there is memory already.
    #[inline]
    fn window(&mut self) -> Option<&mut Window> {
        self.buffer.get_mut(self.end..)?.first_chunk_mut()
    }

    /// Writes a text field with a one-byte tag.
    fn put_text(&mut self, tag: u8, text: &str) {
        self.put(&[tag]);
        self.put_varint(text.len() as u64);
        self.put(text.as_bytes());
    }

    fn put_varint(&mut self, value: u64) {
        let mut bytes = [0; VARINT_ROOM];
        let len = write_varint(&mut bytes, value);
        self.put(&bytes[..len]);
    }

    /// Writes any bytes, and sees to it that there is a window behind them.
    fn put(&mut self, bytes: &[u8]) {
        let end = self.end + bytes.len();
        if self.buffer.len() < end + WINDOW {
            self.buffer.resize((end + WINDOW).next_power_of_two(), 0);
        }
        self.buffer[self.end..end].copy_from_slice(bytes);
        self.end = end;
    }
}

/// Longest text of which two fit an entry whose length takes one byte, tags and lengths included.
const SHORT: usize = 60;
/// More than the short fields of one call can take.
const WINDOW: usize = 160;
/// Memory for short fields; of a constant size, so that the compiler knows that they fit.
type Window = [u8; WINDOW];

/// Bytes of a measurement beside its key before its number begins: tag and length of the entry and of
/// the key, tag and length of the value and the number's own tag.
const VALUE_HEAD: usize = 7;

/// Writes a measurement around its number, which takes `bytes`, and returns how many it takes itself.
#[inline(always)]
fn put_measurement(window: &mut Window, key: &str, tag: u8, bytes: usize) -> usize {
    let len = key.len();
    put_short(window, 4, key.as_bytes());
    put_array(window, 4 + len, [VALUE, low_byte(1 + bytes), tag]);
    put_array(
        window,
        0,
        [MEASUREMENT, low_byte(5 + len + bytes), KEY, low_byte(len)],
    );
    VALUE_HEAD + len + bytes
}

/// Writes a span and returns how many bytes it takes. What is 0 is not written.
#[inline]
fn put_span(window: &mut Window, span: &SpanContext) -> usize {
    put_array(window, 3, TRACE_ID);
    put_array(window, 5, span.trace_id.to_bytes());
    put_array(window, 21, [SPAN_ID]);
    put_array(window, 22, span.span_id.get().to_le_bytes());
    let mut end = 30;
    if let Some(parent) = span.parent_span_id {
        put_array(window, end, [PARENT_SPAN_ID]);
        put_array(window, end + 1, parent.get().to_le_bytes());
        end += 9;
    }
    let phase = span.phase.number();
    if phase != 0 {
        put_array(window, end, [PHASE, phase]);
        end += 2;
    }
    put_array(window, 0, [SPAN[0], SPAN[1], low_byte(end - 3)]);
    end
}

/// Writes `bytes` at `at`.
#[inline]
fn put_array<const N: usize>(window: &mut Window, at: usize, bytes: [u8; N]) {
    window[at..at + N].copy_from_slice(&bytes);
}

/// Writes an integer at `at` and returns how many bytes it takes.
#[inline(always)]
fn put_varint_at(window: &mut Window, at: usize, value: u64) -> usize {
    window[at..]
        .first_chunk_mut()
        .map_or(0, |room| write_varint(room, value))
}

/// Writes at most [`SHORT`] bytes at `at`: two overlapping stores instead of a call.
#[inline(always)]
fn put_short(window: &mut Window, at: usize, bytes: &[u8]) {
    let out = &mut window[at..at + bytes.len()];
    if !(put_ends::<32>(out, bytes)
        || put_ends::<16>(out, bytes)
        || put_ends::<8>(out, bytes)
        || put_ends::<4>(out, bytes))
        && let [first, .., last] | [first @ last] = bytes
    {
        let middle = bytes.len() / 2;
        out[middle] = bytes[middle];
        out[bytes.len() - 1] = *last;
        out[0] = *first;
    }
}

/// Copies the first and the last `N` bytes, if there are as many: all, of up to twice as many.
#[inline]
fn put_ends<const N: usize>(out: &mut [u8], bytes: &[u8]) -> bool {
    let (Some(first), Some(last)) = (bytes.first_chunk::<N>(), bytes.last_chunk::<N>()) else {
        return false;
    };
    let end = out.len();
    out[..N].copy_from_slice(first);
    out[end - N..].copy_from_slice(last);
    true
}

/// Bytes of a text field with a one-byte tag.
fn text_field_len(text: &str) -> usize {
    1 + varint_len(text.len() as u64) + text.len()
}

/// A length that is known to fit a byte.
#[inline]
const fn low_byte(length: usize) -> u8 {
    length.to_le_bytes()[0]
}
