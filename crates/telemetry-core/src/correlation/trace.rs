//! The W3C trace context and the strict reader of its header.

use std::fmt;

use thiserror::Error;

use super::ids::{SpanId, TraceId};
use super::{CorrelationId, read_hex};

/// Sampled by whoever started the trace.
pub const FLAG_SAMPLED: u8 = 0x01;

/// The flags version 00 defines: sampled, and that the trace id is random.
const KNOWN_FLAGS: u8 = 0x03;

/// Bytes of a version 00 `traceparent`.
const TRACEPARENT_BYTES: usize = 55;

/// The W3C trace context of a request: what the header `traceparent` carries.
///
/// ```
/// use telemetry_core::TraceContext;
///
/// let header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// let context = TraceContext::parse(header)?;
/// assert!(context.is_sampled());
/// assert_eq!(context.to_string(), header);
/// assert_eq!(context.child().trace_id, context.trace_id);
/// # Ok::<(), telemetry_core::TraceContextError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceContext {
    /// The whole trace.
    pub trace_id: TraceId,
    /// The caller's span.
    pub span_id: SpanId,
    /// [`FLAG_SAMPLED`] and others.
    pub flags: u8,
}

/// Why a text is no `traceparent`. Positions are bytes from 0.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TraceContextError {
    /// Too short for the four fields.
    #[error("traceparent has {bytes} bytes; `version-traceid-spanid-flags` needs 55")]
    Short {
        /// How many bytes the text has.
        bytes: usize,
    },
    /// Version 00 has exactly four fields, and a later version continues with a dash.
    #[error("traceparent of version {version:02x} goes on after its flags at byte 55")]
    Trailing {
        /// The version it claims.
        version: u8,
    },
    /// Version ff is forbidden.
    #[error("traceparent has version ff, which the standard forbids")]
    Version,
    /// A dash is missing between two fields.
    #[error("traceparent has no `-` at byte {position}")]
    Separator {
        /// Where it should be.
        position: usize,
    },
    /// Something else than `0-9 a-f`; uppercase is not allowed.
    #[error("traceparent has something else than 0-9 a-f at byte {position}, in its {field}")]
    Digit {
        /// The field: version, trace id, span id or flags.
        field: &'static str,
        /// Where.
        position: usize,
    },
    /// The trace id is all zero.
    #[error("traceparent has a trace id of all zeros")]
    ZeroTraceId,
    /// The span id is all zero.
    #[error("traceparent has a span id of all zeros")]
    ZeroSpanId,
}

impl TraceContext {
    /// The start of a new trace, with random ids.
    #[must_use]
    pub fn root(sampled: bool) -> Self {
        let flags = if sampled { FLAG_SAMPLED } else { 0 };
        Self {
            trace_id: TraceId::random(),
            span_id: SpanId::random(),
            flags,
        }
    }

    /// The same trace and flags with a new random span id: what to hand to a callee.
    #[must_use]
    pub fn child(&self) -> Self {
        Self {
            span_id: SpanId::random(),
            ..*self
        }
    }

    /// Whether the start of the trace decided to record it.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.flags & FLAG_SAMPLED != 0
    }

    /// The trace id as correlation id.
    #[must_use]
    pub fn correlation_id(&self) -> CorrelationId {
        CorrelationId(self.trace_id.to_bytes())
    }

    /// Reads a `traceparent` of version 00 strictly, or the same four fields of a later version,
    /// which may be followed by `-` and anything.
    ///
    /// Flags that version 00 does not define are cleared, and of a later version all but
    /// [`FLAG_SAMPLED`], so that the context may be sent on as it is.
    ///
    /// # Errors
    ///
    /// [`TraceContextError`] says what is wrong and where.
    pub fn parse(traceparent: &str) -> Result<Self, TraceContextError> {
        let bytes = traceparent.as_bytes();
        let Some((fields, rest)) = bytes.split_first_chunk::<TRACEPARENT_BYTES>() else {
            return Err(TraceContextError::Short { bytes: bytes.len() });
        };
        let [version] = read_field(fields, 0, "version")?;
        if version == 0xff {
            return Err(TraceContextError::Version);
        }
        if let Some(position) = [2, 35, 52].into_iter().find(|&at| fields[at] != b'-') {
            return Err(TraceContextError::Separator { position });
        }
        let trace_id = read_field(fields, 3, "trace id")?;
        let span_id = read_field(fields, 36, "span id")?;
        let [flags] = read_field(fields, 53, "flags")?;
        if !rest.is_empty() && (version == 0 || rest[0] != b'-') {
            return Err(TraceContextError::Trailing { version });
        }
        let trace_id = TraceId::from_bytes(trace_id).ok_or(TraceContextError::ZeroTraceId)?;
        let span_id = u64::from_be_bytes(span_id);
        let span_id = SpanId::new(span_id).ok_or(TraceContextError::ZeroSpanId)?;
        let known = if version == 0 {
            KNOWN_FLAGS
        } else {
            FLAG_SAMPLED
        };
        Ok(Self {
            trace_id,
            span_id,
            flags: flags & known,
        })
    }
}

/// Writes a `traceparent` of version 00.
impl fmt::Display for TraceContext {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trace, span) = (self.trace_id, self.span_id);
        write!(formatter, "00-{trace}-{span}-{:02x}", self.flags)
    }
}

impl std::str::FromStr for TraceContext {
    type Err = TraceContextError;

    fn from_str(text: &str) -> Result<Self, TraceContextError> {
        Self::parse(text)
    }
}

fn read_field<const N: usize>(
    text: &[u8; TRACEPARENT_BYTES],
    start: usize,
    field: &'static str,
) -> Result<[u8; N], TraceContextError> {
    let mut bytes = [0; N];
    read_hex(&text[start..start + 2 * N], &mut bytes).map_err(|offset| {
        TraceContextError::Digit {
            field,
            position: start + offset,
        }
    })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    #[test]
    fn traceparent_round_trips() {
        let context = TraceContext::parse(&format!("00-{TRACE}-{SPAN}-01")).unwrap();
        assert_eq!(context.span_id.get(), 0x00f0_67aa_0ba9_02b7);
        assert_eq!(context.correlation_id().to_string(), TRACE);
        let child = context.child();
        assert_ne!(child.span_id, context.span_id);
        assert_eq!(TraceContext::parse(&child.to_string()), Ok(child));
        let root = TraceContext::root(false);
        assert!(!root.is_sampled());
        assert_eq!(root.to_string().parse(), Ok(root));
    }

    #[test]
    fn undefined_flags_are_cleared() {
        let flags = |header: String| TraceContext::parse(&header).unwrap().flags;
        assert_eq!(flags(format!("00-{TRACE}-{SPAN}-ff")), 0x03);
        assert_eq!(flags(format!("cc-{TRACE}-{SPAN}-ff")), 0x01);
    }

    #[test]
    fn later_versions_may_go_on() {
        for rest in ["", "-", "-what-the-future-brings"] {
            assert!(
                TraceContext::parse(&format!("cc-{TRACE}-{SPAN}-01{rest}")).is_ok(),
                "{rest}"
            );
        }
        assert_eq!(
            TraceContext::parse(&format!("cc-{TRACE}-{SPAN}-01.x")),
            Err(TraceContextError::Trailing { version: 0xcc })
        );
    }

    #[test]
    fn malformed_traceparents_are_refused_precisely() {
        let zeros = "0".repeat(32);
        for (header, expected) in [
            (String::new(), TraceContextError::Short { bytes: 0 }),
            (
                format!("00-{TRACE}-{SPAN}-0"),
                TraceContextError::Short { bytes: 54 },
            ),
            (
                format!("00-{TRACE}-{SPAN}-01-x"),
                TraceContextError::Trailing { version: 0 },
            ),
            (format!("ff-{TRACE}-{SPAN}-01"), TraceContextError::Version),
            (
                format!("0x-{TRACE}-{SPAN}-01"),
                TraceContextError::Digit {
                    field: "version",
                    position: 1,
                },
            ),
            (
                format!("00-{TRACE}_{SPAN}-01"),
                TraceContextError::Separator { position: 35 },
            ),
            (
                format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
                TraceContextError::Digit {
                    field: "trace id",
                    position: 4,
                },
            ),
            (
                format!("00-{TRACE}-{}-01", SPAN.to_uppercase()),
                TraceContextError::Digit {
                    field: "span id",
                    position: 38,
                },
            ),
            (
                format!("00-{TRACE}-{SPAN}-0G"),
                TraceContextError::Digit {
                    field: "flags",
                    position: 54,
                },
            ),
            (
                format!("00-{zeros}-{SPAN}-01"),
                TraceContextError::ZeroTraceId,
            ),
            (
                format!("00-{TRACE}-{}-01", &zeros[..16]),
                TraceContextError::ZeroSpanId,
            ),
        ] {
            assert_eq!(TraceContext::parse(&header), Err(expected), "{header}");
        }
    }
}
