//! What ties an event to a span: the identity that travels with it.

use std::fmt;

use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::ids::{SpanId, TraceId};

/// What an event is to the span whose ids it carries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum SpanPhase {
    /// It happened within the span.
    #[default]
    Inside,
    /// The span began.
    Start,
    /// The span ended well.
    Stop,
    /// The span ended with an error.
    Exception,
    /// The span was given up before it was done.
    Cancelled,
}

/// The identity of a span as an event carries it.
///
/// Serializes as an object: `trace_id`, `span_id`, `parent_span_id` where there is one, `phase`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanContext {
    /// The trace.
    pub trace_id: TraceId,
    /// The span.
    pub span_id: SpanId,
    /// The span around it, where one is known.
    pub parent_span_id: Option<SpanId>,
    /// What the event is to the span.
    pub phase: SpanPhase,
}

impl SpanPhase {
    /// The phase with this number on the wire. One that nobody knows yet is `Inside`.
    #[must_use]
    pub fn from_number(number: i32) -> Self {
        match number {
            1 => Self::Start,
            2 => Self::Stop,
            3 => Self::Exception,
            4 => Self::Cancelled,
            _ => Self::Inside,
        }
    }

    /// Its number on the wire.
    #[must_use]
    #[inline]
    pub const fn number(self) -> u8 {
        match self {
            Self::Inside => 0,
            Self::Start => 1,
            Self::Stop => 2,
            Self::Exception => 3,
            Self::Cancelled => 4,
        }
    }

    /// The phase with this name; `None` if nobody has it.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let all = [
            Self::Inside,
            Self::Start,
            Self::Stop,
            Self::Exception,
            Self::Cancelled,
        ];
        all.into_iter().find(|phase| phase.as_str() == name)
    }

    /// Its name in texts.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inside => "inside",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Exception => "exception",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for SpanPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl SpanContext {
    /// A new span in the trace, below `parent_span_id`.
    #[must_use]
    #[inline]
    pub fn new(trace_id: TraceId, parent_span_id: Option<SpanId>) -> Self {
        Self {
            trace_id,
            span_id: SpanId::random(),
            parent_span_id,
            phase: SpanPhase::Inside,
        }
    }

    /// A new span that has nothing around it. Its trace is that of the correlation id; where that is
    /// empty, a new one.
    #[must_use]
    #[inline]
    pub fn root(correlation_id: &str) -> Self {
        let of_id = TraceId::of_correlation_id(correlation_id);
        Self::new(of_id.unwrap_or_else(TraceId::random), None)
    }

    /// A new span directly below this one.
    #[must_use]
    #[inline]
    pub fn child(&self) -> Self {
        Self::new(self.trace_id, Some(self.span_id))
    }

    /// The same span in another phase.
    #[must_use]
    #[inline]
    pub const fn at(self, phase: SpanPhase) -> Self {
        Self { phase, ..self }
    }
}

impl SpanContext {
    /// That of a decoded message; `None` if its ids are none.
    #[must_use]
    pub fn from_message(message: &telemetry_proto::SpanContext) -> Option<Self> {
        Some(Self {
            trace_id: TraceId::from_bytes(message.trace_id.as_slice().try_into().ok()?)?,
            span_id: SpanId::new(message.span_id)?,
            parent_span_id: SpanId::new(message.parent_span_id),
            phase: SpanPhase::from_number(message.phase),
        })
    }
}

impl Serialize for SpanContext {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fields = if self.parent_span_id.is_some() { 4 } else { 3 };
        let mut span = serializer.serialize_struct("SpanContext", fields)?;
        span.serialize_field("trace_id", self.trace_id.write_hex(&mut [0; 32]))?;
        span.serialize_field("span_id", self.span_id.write_hex(&mut [0; 16]))?;
        if let Some(parent) = self.parent_span_id {
            span.serialize_field("parent_span_id", parent.write_hex(&mut [0; 16]))?;
        }
        span.serialize_field("phase", self.phase.as_str())?;
        span.end()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn children_stay_in_the_trace_and_ids_differ() {
        let root = SpanContext::root("");
        assert_eq!(root.parent_span_id, None);
        let children: HashSet<_> = (0..10_000).map(|_| root.child()).collect();
        assert_eq!(children.len(), 10_000);
        assert!(
            children.iter().all(|child| child.trace_id == root.trace_id
                && child.parent_span_id == Some(root.span_id))
        );
        assert_ne!(SpanContext::root("").trace_id, root.trace_id);
        let of_id = || SpanContext::root("request-1");
        assert_eq!(of_id().trace_id, of_id().trace_id);
        assert_ne!(of_id().span_id, of_id().span_id);
    }

    #[test]
    fn phases_keep_their_numbers_and_an_unknown_one_is_inside() {
        for number in 0..=4 {
            assert_eq!(i32::from(SpanPhase::from_number(number).number()), number);
        }
        assert_eq!(SpanPhase::from_number(-1), SpanPhase::Inside);
        assert_eq!(SpanPhase::from_number(5), SpanPhase::Inside);
    }

    #[test]
    fn json_leaves_out_a_parent_that_is_not_known() {
        let root = SpanContext::root("4bf92f3577b34da6a3ce929d0e0e4736");
        let json = |span: &SpanContext| serde_json::to_value(span).unwrap();
        assert_eq!(
            json(&root.at(SpanPhase::Start)),
            serde_json::json!({
                "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
                "span_id": root.span_id.to_string(),
                "phase": "start",
            })
        );
        let child = json(&root.child());
        assert_eq!(child["parent_span_id"], root.span_id.to_string());
    }
}
