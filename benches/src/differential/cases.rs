//! Draws events, events with damage, and bytes put together from pieces of messages.

use std::ops::Range;

use prost::Message;
use telemetry_proto::telemetry_value::Value;
use telemetry_proto::{SpanContext, TelemetryEvent, TelemetryValue};

/// Numbers of fields: those there are, those there are not, those there cannot be.
const NUMBERS: [u64; 14] = [
    0,
    1,
    2,
    3,
    4,
    5,
    6,
    1_001,
    1_002,
    1_003,
    1_004,
    1_005,
    (1 << 29) - 1,
    1 << 29,
];
/// What texts are made of: one to four bytes each, and one that is no text when it is cut.
const LETTERS: [char; 8] = ['a', 'Z', '_', '.', 'ß', '€', '𝄞', '\0'];
/// Keys of the catalog, which are read another way than those it does not know, and near misses.
const KEYS: [&str; 8] = [
    "duration",
    "count",
    "tool",
    "operation",
    "duratioo",
    "durations",
    "too",
    "system_time",
];
/// Pieces within pieces.
const DEPTH: u32 = 3;

/// A stream of cases; the same seed draws the same ones.
#[derive(Debug)]
pub(super) struct Draw {
    /// State of the generator (xorshift64*); never 0.
    state: u64,
}

impl Draw {
    /// From that seed.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            state: seed | 1 << 63,
        }
    }

    /// A valid event within our limits.
    pub(super) fn event(&mut self) -> TelemetryEvent {
        let event_parts = self.times(1..9, |draw| draw.segment());
        let measurements = self.times(0..6, |draw| {
            let value = Some(draw.value());
            (draw.key(), TelemetryValue { value })
        });
        let metadata = self.times(0..6, |draw| (draw.key(), draw.text(0..40)));
        TelemetryEvent {
            event_parts,
            measurements: measurements.into_iter().collect(),
            metadata: metadata.into_iter().collect(),
            timestamp_ns: self.number().cast_signed(),
            correlation_id: self.text(0..40),
            sequence: self.number(),
            sampling_rate: (self.below(2) == 0).then(|| self.below(1_000) as f64 / 1_000.0),
            hello: None,
            report: None,
            span: (self.below(2) == 0).then(|| self.span()),
        }
    }

    /// The identity of a span, now and then one that is none.
    fn span(&mut self) -> SpanContext {
        let len = if self.below(8) == 0 { 15 } else { 16 };
        SpanContext {
            trace_id: (0..len).map(|_| self.next().to_le_bytes()[0]).collect(),
            span_id: self.number(),
            parent_span_id: self.number(),
            phase: self.number().to_le_bytes()[0].into(),
        }
    }

    /// A valid event of which some bytes are changed, and perhaps the end is missing.
    pub(super) fn mutated(&mut self) -> Vec<u8> {
        let mut bytes = self.event().encode_to_vec();
        for _ in 0..=self.below(3) {
            let at = self.below(bytes.len());
            let byte = self.next().to_le_bytes()[0];
            if let Some(changed) = bytes.get_mut(at) {
                *changed = byte;
            }
        }
        if self.below(4) == 0 {
            bytes.truncate(self.below(bytes.len()));
        }
        bytes
    }

    /// Bytes that are nearly a message: fields of all numbers and wire types, nested in maps and
    /// groups, cut short, repeated or out of place.
    pub(super) fn pieces(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for _ in 0..self.below(8) {
            self.piece(DEPTH, &mut bytes);
        }
        bytes
    }

    fn piece(&mut self, depth: u32, out: &mut Vec<u8>) {
        let number = NUMBERS[self.below(NUMBERS.len())];
        // The first six are what an event has most.
        let number = if self.below(4) > 0 {
            number % 6
        } else {
            number
        };
        match self.below(if depth > 0 { 12 } else { 8 }) {
            0 | 1 => {
                varint(number << 3, out);
                varint(self.number(), out);
            }
            2 => {
                varint(number << 3 | 1, out);
                out.extend(self.next().to_le_bytes());
            }
            3 => {
                varint(number << 3 | 5, out);
                out.extend(&self.next().to_le_bytes()[..4]);
            }
            4..=6 => {
                let mut text = self.key().into_bytes();
                if self.below(8) == 0 {
                    text.push(self.next().to_le_bytes()[0]);
                }
                delimited(number, &text, out);
            }
            7 => {
                let odd = [number << 3 | 3, number << 3 | 4, number << 3 | 2, number];
                varint(odd[self.below(odd.len())], out);
            }
            shape => {
                let mut inner = Vec::new();
                for _ in 0..self.below(5) {
                    self.piece(depth - 1, &mut inner);
                }
                if shape == 8 {
                    varint(number << 3 | 3, out);
                    out.extend(inner);
                    varint(number << 3 | 4, out);
                } else {
                    delimited(number, &inner, out);
                }
            }
        }
    }

    fn value(&mut self) -> Value {
        match self.below(3) {
            0 => Value::IntValue(self.number().cast_signed()),
            1 => Value::FloatValue(f64::from_bits(self.number())),
            _ => Value::StringValue(self.text(0..40)),
        }
    }

    /// A segment of a name: what may stand in one, never empty.
    fn segment(&mut self) -> String {
        let length = 1 + self.below(12);
        let letters = (0..length).map(|_| b"abcdefghijklmnopqrstuvwxyz_0123"[self.below(31)]);
        letters.map(char::from).collect()
    }

    fn key(&mut self) -> String {
        if self.below(2) == 0 {
            return KEYS[self.below(8)].to_owned();
        }
        self.text(0..8)
    }

    fn text(&mut self, characters: Range<usize>) -> String {
        let length = characters.start + self.below(characters.len());
        (0..length).map(|_| LETTERS[self.below(8)]).collect()
    }

    fn times<T>(&mut self, count: Range<usize>, mut one: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let count = count.start + self.below(count.len());
        (0..count).map(|_| one(self)).collect()
    }

    /// Of any length in bits, so that every length of a varint comes up.
    fn number(&mut self) -> u64 {
        let bits = self.below(64);
        self.next() >> bits
    }

    /// Below `bound`; 0 where there is nothing below it.
    fn below(&mut self, bound: usize) -> usize {
        let drawn = usize::try_from(self.next() >> 33).unwrap_or(0);
        drawn.checked_rem(bound).unwrap_or(0)
    }

    fn next(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

fn delimited(number: u64, bytes: &[u8], out: &mut Vec<u8>) {
    varint(number << 3 | 2, out);
    varint(bytes.len() as u64, out);
    out.extend(bytes);
}
