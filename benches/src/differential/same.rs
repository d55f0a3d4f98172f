//! Whether we and prost say the same about some bytes.

use std::fmt::Write as _;

use prost::Message;
use telemetry_core::{
    SpanContext, SpanId, ValueRef,
    catalog::Catalog,
    wire::{
        DecodeError, DecodeLimits, DecodedEvent, EventEncoder, append_sequence, encode_event_parts,
    },
};
use telemetry_proto::telemetry_value::Value;
use telemetry_proto::{SpanContext as ProtoSpan, TelemetryEvent, TelemetryValue};

/// How two that do not differ may agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Agreement {
    /// On the event.
    Read,
    /// That it is none.
    Refused,
    /// They do not, and it is meant so.
    Meant,
}

/// prost writes, we read.
pub(super) fn encoded_by_prost(event: &TelemetryEvent) -> Result<Agreement, String> {
    let bytes = event.encode_to_vec();
    let ours = read(&bytes).and_then(|decoded| as_prost(&decoded));
    match ours {
        Ok(ours) if equal(&ours, event) => Ok(Agreement::Read),
        ours => Err(differ("prost's bytes read by us", &bytes, &ours, event)),
    }
}

/// We write, prost reads.
pub(super) fn encoded_by_us(event: &TelemetryEvent) -> Result<Agreement, String> {
    let mut encoder = EventEncoder::new();
    encoder.start(&encode_event_parts(&event.event_parts.join(".")));
    for (key, value) in &event.measurements {
        let value = match &value.value {
            Some(Value::IntValue(int)) => ValueRef::Int(*int),
            Some(Value::FloatValue(float)) => ValueRef::Float(*float),
            Some(Value::StringValue(text)) => ValueRef::Str(text),
            None => continue,
        };
        encoder.measurement(key, value);
    }
    for (key, value) in &event.metadata {
        encoder.metadata(key, value);
    }
    let rate = event.sampling_rate.unwrap_or(1.0);
    encoder.finish(event.timestamp_ns, &event.correlation_id, rate);
    if let Some(span) = event.span.as_ref().and_then(SpanContext::from_message) {
        encoder.span(&span);
    }
    let mut bytes = encoder.bytes().to_vec();
    append_sequence(&mut bytes, event.sequence);
    match TelemetryEvent::decode(&*bytes) {
        Ok(theirs) if equal(&theirs, event) => Ok(Agreement::Read),
        theirs => Err(differ("our bytes read by prost", &bytes, event, &theirs)),
    }
}

/// Both read.
pub(super) fn verdict(bytes: &[u8]) -> Result<Agreement, String> {
    let theirs = TelemetryEvent::decode(bytes);
    let decoded = read(bytes);
    // hello and report stay encoded; whether their bytes are valid is asked later.
    if let Ok(decoded) = &decoded
        && (decoded.hello.is_some() || decoded.report.is_some())
    {
        return Ok(Agreement::Meant);
    }
    let ours = decoded.and_then(|decoded| as_prost(&decoded));
    match (&ours, &theirs) {
        (Err(DecodeError::TooMany { .. } | DecodeError::Oversize { .. }), Ok(_)) => {
            Ok(Agreement::Meant)
        }
        (Err(_), Err(_)) => Ok(Agreement::Refused),
        // A dot inside a segment is lost in the dotted form, which no valid name has.
        (Ok(_), Ok(theirs)) if theirs.event_parts.iter().any(|part| odd(part)) => {
            Ok(Agreement::Meant)
        }
        (Ok(ours), Ok(theirs)) if equal(ours, theirs) => Ok(Agreement::Read),
        _ => Err(differ("bytes read by both", bytes, &ours, &theirs)),
    }
}

/// As a manager reads it: with the keys of the catalog recognised on the way.
fn read(bytes: &[u8]) -> Result<DecodedEvent<'_>, DecodeError> {
    let mut event = DecodedEvent::empty();
    event.read(bytes, &DecodeLimits::default(), &**Catalog::builtin())?;
    Ok(event)
}

fn odd(part: &str) -> bool {
    part.is_empty() || part.contains('.')
}

fn differ(
    how: &str,
    bytes: &[u8],
    ours: &impl std::fmt::Debug,
    theirs: &impl std::fmt::Debug,
) -> String {
    let mut text = format!("{how}: ");
    for byte in bytes {
        let _infallible = write!(text, "{byte:02x}");
    }
    let _infallible = write!(text, ", ours {ours:?}, prost {theirs:?}");
    text
}

/// Our decoding as the generated type.
fn as_prost(decoded: &DecodedEvent<'_>) -> Result<TelemetryEvent, DecodeError> {
    let dotted = decoded.parts.dotted()?;
    let measurements = decoded.values().map(|(key, value)| {
        let value = value.map(|value| match value {
            ValueRef::Int(int) => Value::IntValue(int),
            ValueRef::Float(float) => Value::FloatValue(float),
            ValueRef::Str(text) => Value::StringValue(text.to_owned()),
        });
        (key.to_owned(), TelemetryValue { value })
    });
    let metadata = decoded.metadata.iter();
    Ok(TelemetryEvent {
        event_parts: if decoded.parts.is_empty() {
            Vec::new()
        } else {
            dotted.split('.').map(str::to_owned).collect()
        },
        measurements: measurements.collect(),
        metadata: metadata
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        timestamp_ns: decoded.timestamp_ns,
        correlation_id: decoded.correlation_id.to_owned(),
        sequence: decoded.sequence,
        sampling_rate: decoded.sampling_rate,
        hello: None,
        report: None,
        span: decoded.span().map(|span| ProtoSpan {
            trace_id: span.trace_id.to_bytes().to_vec(),
            span_id: span.span_id.get(),
            parent_span_id: span.parent_span_id.map_or(0, SpanId::get),
            phase: span.phase.number().into(),
        }),
    })
}

/// What of an event's span is an identity: with ids that are none it has none.
fn identity(event: &TelemetryEvent) -> Option<SpanContext> {
    SpanContext::from_message(event.span.as_ref()?)
}

/// Whether two events are the same, floats by their bits: NaN equals itself, -0.0 differs from 0.0.
fn equal(a: &TelemetryEvent, b: &TelemetryEvent) -> bool {
    let values = a.measurements.len() == b.measurements.len()
        && a.measurements.iter().all(|(key, value)| {
            let other = b.measurements.get(key);
            other.is_some_and(|other| match (&value.value, &other.value) {
                (Some(Value::FloatValue(a)), Some(Value::FloatValue(b))) => {
                    a.to_bits() == b.to_bits()
                }
                (a, b) => a == b,
            })
        });
    values
        && a.event_parts == b.event_parts
        && a.metadata == b.metadata
        && a.timestamp_ns == b.timestamp_ns
        && a.correlation_id == b.correlation_id
        && a.sequence == b.sequence
        && a.sampling_rate.map(f64::to_bits) == b.sampling_rate.map(f64::to_bits)
        && identity(a) == identity(b)
}
