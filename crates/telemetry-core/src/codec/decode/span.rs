//! The span of a decoded event: as it stands in the message, and what of it is an identity.

use super::DecodeError;
use super::field::Field;
use crate::correlation::{SpanContext, SpanId, SpanPhase, TraceId};

/// A span's fields as they were sent, of the last message of that number or of several together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RawSpan {
    /// The trace id; zeros also for bytes of another length.
    trace_id: [u8; 16],
    /// The span's id.
    span_id: u64,
    /// The id of the span around it.
    parent_span_id: u64,
    /// The number of the phase.
    phase: i32,
}

impl RawSpan {
    /// What an event without a span has.
    pub(super) const NONE: Self = Self {
        trace_id: [0; 16],
        span_id: 0,
        parent_span_id: 0,
        phase: 0,
    };

    /// Reads a message in the form in which every encoder writes one with both of its own ids; false, and
    /// nothing is read, if it is in another.
    #[inline]
    pub(super) fn read_usual(&mut self, message: &[u8]) -> bool {
        let Some(([0x0a, 16], rest)) = message.split_first_chunk::<2>() else {
            return false;
        };
        let Some((trace_id, [0x11, rest @ ..])) = rest.split_first_chunk::<16>() else {
            return false;
        };
        let Some((span_id, rest)) = rest.split_first_chunk::<8>() else {
            return false;
        };
        let (parent_span_id, rest) = match rest {
            [0x19, after @ ..] => match after.split_first_chunk::<8>() {
                Some((parent, rest)) => (Some(*parent), rest),
                None => return false,
            },
            _ => (None, rest),
        };
        let phase = match rest {
            [] => None,
            [0x20, phase @ 0..0x80] => Some(i32::from(*phase)),
            _ => return false,
        };
        self.trace_id = *trace_id;
        self.span_id = u64::from_le_bytes(*span_id);
        // What a later message leaves out stays, as in any merged message.
        if let Some(parent) = parent_span_id {
            self.parent_span_id = u64::from_le_bytes(parent);
        }
        if let Some(phase) = phase {
            self.phase = phase;
        }
        true
    }

    /// Reads a message of any form.
    #[cold]
    pub(super) fn read_any(&mut self, mut message: &[u8]) -> Result<(), DecodeError> {
        while !message.is_empty() {
            let field = Field::take(&mut message, "span")?;
            match field.number {
                1 => {
                    let bytes = field.bytes("span.trace_id")?;
                    self.trace_id = bytes.try_into().unwrap_or_default();
                }
                2 => self.span_id = field.fixed64("span.span_id")?,
                3 => self.parent_span_id = field.fixed64("span.parent_span_id")?,
                4 => {
                    let [a, b, c, d, ..] = field.varint("span.phase")?.to_le_bytes();
                    self.phase = i32::from_le_bytes([a, b, c, d]);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The identity, if there is one.
    #[inline]
    pub(super) fn context(&self) -> Option<SpanContext> {
        Some(SpanContext {
            trace_id: TraceId::from_bytes(self.trace_id)?,
            span_id: SpanId::new(self.span_id)?,
            parent_span_id: SpanId::new(self.parent_span_id),
            phase: SpanPhase::from_number(self.phase),
        })
    }
}
