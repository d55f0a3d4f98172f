//! Writes `TelemetryEvent` bytes field by field into a buffer that the caller owns.
//!
//! Every length is computed before it is written, so nothing is moved or patched afterwards and
//! nothing is allocated beyond the buffer's own growth.

use super::varint::{MAX_VARINT_BYTES, put_varint, varint_len};
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
/// Field 1001 as a varint.
const SEQUENCE: [u8; 2] = [0xc8, 0x3e];
/// Field 1002 as eight bytes.
const SAMPLING_RATE: [u8; 2] = [0xd1, 0x3e];

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

/// Writes one event into a buffer.
#[derive(Debug)]
pub struct EventEncoder<'buf> {
    /// Where the bytes go; the event starts at its end.
    out: &'buf mut Vec<u8>,
}

impl<'buf> EventEncoder<'buf> {
    /// Starts an event with name bytes made by [`encode_event_parts`].
    pub fn start(out: &'buf mut Vec<u8>, event_parts: &[u8]) -> Self {
        out.extend_from_slice(event_parts);
        Self { out }
    }

    /// Goes on with an event whose first bytes are in the buffer already.
    pub fn resume(out: &'buf mut Vec<u8>) -> Self {
        Self { out }
    }

    /// Adds a measurement. A key written twice counts with its last value, as in any protobuf map.
    pub fn measurement(&mut self, key: &str, value: ValueRef<'_>) {
        let value_len = match value {
            ValueRef::Int(int) => 1 + varint_len(int.cast_unsigned()),
            ValueRef::Float(_) => 9,
            ValueRef::Str(text) => text_field_len(text),
        };
        let entry = text_field_len(key) + 1 + varint_len(value_len as u64) + value_len;
        self.out.push(MEASUREMENT);
        put_varint(self.out, entry as u64);
        put_text(self.out, 0x0a, key);
        self.out.push(0x12);
        put_varint(self.out, value_len as u64);
        match value {
            ValueRef::Int(int) => {
                self.out.push(0x08);
                put_varint(self.out, int.cast_unsigned());
            }
            ValueRef::Float(float) => {
                self.out.push(0x11);
                self.out.extend_from_slice(&float.to_le_bytes());
            }
            ValueRef::Str(text) => put_text(self.out, 0x1a, text),
        }
    }

    /// Adds a metadata entry.
    pub fn metadata(&mut self, key: &str, value: &str) {
        self.out.push(METADATA);
        put_varint(
            self.out,
            (text_field_len(key) + text_field_len(value)) as u64,
        );
        put_text(self.out, 0x0a, key);
        put_text(self.out, 0x12, value);
    }

    /// Adds what every event has. A rate of 1 is not written.
    pub fn finish(self, timestamp_ns: i64, correlation_id: &str, sampling_rate: f64) {
        if timestamp_ns != 0 {
            self.out.push(TIMESTAMP);
            put_varint(self.out, timestamp_ns.cast_unsigned());
        }
        if !correlation_id.is_empty() {
            put_text(self.out, CORRELATION_ID, correlation_id);
        }
        if sampling_rate < 1.0 {
            self.out.extend_from_slice(&SAMPLING_RATE);
            self.out.extend_from_slice(&sampling_rate.to_le_bytes());
        }
    }
}

/// Bytes of a text field with a one-byte tag.
fn text_field_len(text: &str) -> usize {
    1 + varint_len(text.len() as u64) + text.len()
}

/// Writes a text field with a one-byte tag.
fn put_text(out: &mut Vec<u8>, tag: u8, text: &str) {
    out.push(tag);
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}
