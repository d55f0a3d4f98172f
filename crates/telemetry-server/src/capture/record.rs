//! One JSON object of a telemetry line, as the message a stream would have carried.
//!
//! Shape: `{"event": "a.b", "measurements": {..}, "metadata": {..}, "timestamp_ns": 0,
//! "correlation_id": "", "span": {..}}`. Only `event` is required. Checks what JSON can get wrong and leaves
//! everything else to the pipeline.

use prost::Message;
use serde_json::{Map, Value};
use telemetry_core::{SpanId, SpanPhase, TraceId};
use telemetry_proto::telemetry_value::Value as WireValue;
use telemetry_proto::{TelemetryEvent, TelemetryValue};

/// Metadata that tells how the event came.
const TRANSPORT: (&str, &str) = ("transport", "stderr");

/// The bytes of the event; `None` when the text is no JSON object of the right shape.
pub(super) fn to_message(json: &[u8]) -> Option<Vec<u8>> {
    let Value::Object(mut record) = serde_json::from_slice(json).ok()? else {
        return None;
    };
    let Some(Value::String(name)) = record.remove("event") else {
        return None;
    };
    let mut event = TelemetryEvent {
        event_parts: name.split('.').map(str::to_owned).collect(),
        ..TelemetryEvent::default()
    };
    for (key, value) in object(record.remove("measurements"))? {
        event.measurements.insert(
            key,
            TelemetryValue {
                value: Some(measurement(value)?),
            },
        );
    }
    for (key, value) in object(record.remove("metadata"))? {
        event.metadata.insert(key, text(value)?);
    }
    event
        .metadata
        .insert(TRANSPORT.0.to_owned(), TRANSPORT.1.to_owned());
    event.timestamp_ns = match record.remove("timestamp_ns") {
        None | Some(Value::Null) => 0,
        Some(number) => number.as_i64()?,
    };
    event.correlation_id = match record.remove("correlation_id") {
        None | Some(Value::Null) => String::new(),
        Some(id) => text(id)?,
    };
    // What is no identity takes nothing else away.
    event.span = record.remove("span").and_then(span);
    Some(event.encode_to_vec())
}

/// The identity of a span: `{"trace_id": "…", "span_id": "…", "parent_span_id": "…", "phase": "start"}`.
fn span(value: Value) -> Option<telemetry_proto::SpanContext> {
    let mut fields = object(Some(value))?;
    let mut take = |key| fields.remove(key).and_then(text);
    let phase = take("phase").unwrap_or_default();
    Some(telemetry_proto::SpanContext {
        trace_id: TraceId::parse(&take("trace_id")?)?.to_bytes().to_vec(),
        span_id: SpanId::parse(&take("span_id")?)?.get(),
        parent_span_id: take("parent_span_id")
            .and_then(|id| SpanId::parse(&id))
            .map_or(0, SpanId::get),
        phase: SpanPhase::parse(&phase).unwrap_or_default().number().into(),
    })
}

/// An object; an absent one is empty.
fn object(value: Option<Value>) -> Option<Map<String, Value>> {
    match value {
        None | Some(Value::Null) => Some(Map::new()),
        Some(Value::Object(object)) => Some(object),
        Some(_) => None,
    }
}

fn measurement(value: Value) -> Option<WireValue> {
    Some(match value {
        Value::Bool(flag) => WireValue::IntValue(i64::from(flag)),
        Value::Number(number) => match number.as_i64() {
            Some(int) => WireValue::IntValue(int),
            None => WireValue::FloatValue(number.as_f64()?),
        },
        other => WireValue::StringValue(text(other)?),
    })
}

/// Plain values as text; arrays, objects and null are no values of an event.
fn text(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(json: &str) -> Option<TelemetryEvent> {
        to_message(json.as_bytes()).map(|bytes| TelemetryEvent::decode(&*bytes).unwrap())
    }

    #[test]
    fn full_record_keeps_everything_and_says_how_it_came() {
        let event = decoded(
            r#"{"event":"tool.execution.stop","measurements":{"duration":5,"percent":0.5,"count":true,"bytes":"NaN"},
                "metadata":{"tool":"x","n":1},"timestamp_ns":7,"correlation_id":"c"}"#,
        )
        .unwrap();
        assert_eq!(event.event_parts, ["tool", "execution", "stop"]);
        let value = |key: &str| event.measurements[key].value.clone().unwrap();
        assert_eq!(value("duration"), WireValue::IntValue(5));
        assert_eq!(value("percent"), WireValue::FloatValue(0.5));
        assert_eq!(value("count"), WireValue::IntValue(1));
        assert_eq!(value("bytes"), WireValue::StringValue("NaN".into()));
        assert_eq!(event.metadata["transport"], "stderr");
        assert_eq!(event.metadata["n"], "1");
        assert_eq!(
            (event.timestamp_ns, event.correlation_id.as_str()),
            (7, "c")
        );
    }

    #[test]
    fn event_alone_is_enough() {
        let event = decoded(r#"{"event":"a","metadata":null}"#).unwrap();
        assert_eq!(event.event_parts, ["a"]);
    }

    #[test]
    fn anything_else_is_no_record() {
        for text in [
            "",
            "null",
            "[]",
            "{}",
            r#"{"event":1}"#,
            r#"{"event":"a","measurements":[]}"#,
            r#"{"event":"a","measurements":{"x":null}}"#,
            r#"{"event":"a","metadata":{"x":{}}}"#,
            r#"{"event":"a","timestamp_ns":"now"}"#,
            r#"{"event":"a"} trailing"#,
            "\u{feff}{}",
        ] {
            assert!(decoded(text).is_none(), "{text}");
        }
        assert!(to_message(b"{\"event\":\"\xff\"}").is_none());
    }
}
