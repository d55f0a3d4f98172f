//! One event as one line: `TELEMETRY:` and a JSON object, short enough to be written whole.
//!
//! Processes that share a pipe do not tear a line of up to 4,096 bytes. A longer event loses its
//! longest texts first, then whole fields. This room formats; it writes nowhere.

use std::borrow::Cow;
use std::fmt::Write;

use serde_json::{Map, Value as Json, json};
use telemetry_core::{
    SpanContext,
    catalog::{escape, truncate},
    wire::LINE_PREFIX,
};
use telemetry_proto::{TelemetryEvent, telemetry_value};

/// Longest line, newline included: what a pipe takes in one piece.
pub const MAX_LINE_BYTES: usize = 4_096;

/// Texts this short are not cut any further.
const SHORT_TEXT_BYTES: usize = 32;

/// A line and whether the event had to be cut for it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// The line with its newline.
    pub(super) text: String,
    /// Whether something is missing.
    pub(super) truncated: bool,
}

/// Formats an event.
pub(super) fn format_line(event: TelemetryEvent) -> Line {
    let mut measurements: Vec<(String, Json)> = event
        .measurements
        .into_iter()
        .filter_map(|(key, value)| Some((key, json_value(value.value?))))
        .collect();
    measurements.sort_by(|a, b| a.0.cmp(&b.0));
    let mut metadata: Vec<(String, Json)> = event
        .metadata
        .into_iter()
        .map(|(key, text)| (key, Json::String(text)))
        .collect();
    metadata.sort_by(|a, b| a.0.cmp(&b.0));
    let name = event.event_parts.join(".");
    let mut truncated = false;
    let span = event.span.as_ref().and_then(SpanContext::from_message);
    loop {
        let mut object = json!({
            "event": name,
            "measurements": measurements.iter().cloned().collect::<Map<_, _>>(),
            "metadata": metadata.iter().cloned().collect::<Map<_, _>>(),
            "timestamp_ns": event.timestamp_ns,
            "correlation_id": event.correlation_id,
        });
        if let Some(span) = &span {
            object["span"] = json!(span);
        }
        let text = format!("{LINE_PREFIX}{}\n", visible(&object.to_string()));
        if text.len() <= MAX_LINE_BYTES || !shorten(&mut measurements, &mut metadata) {
            return Line { text, truncated };
        }
        truncated = true;
    }
}

/// A measured value. JSON has no NaN and no infinities; they become text.
fn json_value(value: telemetry_value::Value) -> Json {
    match value {
        telemetry_value::Value::IntValue(int) => int.into(),
        telemetry_value::Value::FloatValue(float) => serde_json::Number::from_f64(float)
            .map_or_else(|| Json::String(float_text(float).to_owned()), Json::Number),
        telemetry_value::Value::StringValue(text) => text.into(),
    }
}

/// A float that is not finite, as text.
pub(super) fn float_text(float: f64) -> &'static str {
    match (float.is_nan(), float.is_sign_positive()) {
        (true, _) => "NaN",
        (false, true) => "Infinity",
        (false, false) => "-Infinity",
    }
}

/// Halves the longest text, or leaves out the last field once all are short; false if nothing is
/// left to give up.
fn shorten(measurements: &mut Vec<(String, Json)>, metadata: &mut Vec<(String, Json)>) -> bool {
    let longest = measurements
        .iter_mut()
        .chain(metadata.iter_mut())
        .filter_map(|(_, value)| match value {
            Json::String(text) => Some(text),
            _ => None,
        })
        .max_by_key(|text| text.len());
    if let Some(text) = longest
        && text.len() > SHORT_TEXT_BYTES
    {
        let half = truncate(text, text.len() / 2).len();
        text.truncate(half);
        return true;
    }
    metadata.pop().or_else(|| measurements.pop()).is_some()
}

/// Escapes what JSON lets through and a terminal would act on. Such characters occur in strings
/// only, so the object stays the same for every JSON parser.
fn visible(json: &str) -> Cow<'_, str> {
    if let Cow::Borrowed(_) = escape(json) {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len() + 16);
    let mut buffer = [0; 4];
    for character in json.chars() {
        if let Cow::Borrowed(_) = escape(character.encode_utf8(&mut buffer)) {
            out.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                // Writing to a string cannot fail.
                let _infallible = write!(out, "\\u{unit:04x}");
            }
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use telemetry_proto::TelemetryValue;

    fn event(metadata: impl IntoIterator<Item = (String, String)>) -> TelemetryEvent {
        let value = |value| TelemetryValue { value: Some(value) };
        TelemetryEvent {
            event_parts: vec!["tool".into(), "result_size".into()],
            measurements: [
                ("bytes".into(), value(telemetry_value::Value::IntValue(7))),
                (
                    "percent".into(),
                    value(telemetry_value::Value::FloatValue(f64::NAN)),
                ),
            ]
            .into(),
            metadata: metadata.into_iter().collect(),
            timestamp_ns: 5,
            correlation_id: "c".into(),
            ..TelemetryEvent::default()
        }
    }

    fn parse(line: &Line) -> Json {
        assert!(
            line.text.len() <= MAX_LINE_BYTES,
            "{} bytes",
            line.text.len()
        );
        let json = line.text.strip_prefix(LINE_PREFIX).expect("the prefix");
        assert_eq!(json.matches('\n').count(), 1, "one line");
        serde_json::from_str(json).expect("JSON")
    }

    #[test]
    fn a_line_has_exactly_the_five_keys() {
        let line = format_line(event([("tool".into(), "grep".into())]));
        assert!(!line.truncated);
        let expected = json!({
            "event": "tool.result_size",
            "measurements": {"bytes": 7, "percent": "NaN"},
            "metadata": {"tool": "grep"},
            "timestamp_ns": 5,
            "correlation_id": "c",
        });
        assert_eq!(parse(&line), expected);
    }

    #[test]
    fn a_long_event_is_cut_to_fit_and_says_so() {
        for unit in ["x", "é", "\u{1}", "\"", "\u{202e}"] {
            let metadata = (0..32).map(|i| (format!("k{i:02}"), unit.repeat(1_000)));
            let line = format_line(event(metadata));
            assert!(line.truncated);
            assert_eq!(parse(&line)["measurements"]["bytes"], 7, "numbers stay");
        }
    }

    #[test]
    fn what_a_terminal_would_act_on_is_escaped_and_stays_the_same_json() {
        let evil = "a\u{1b}[2J\u{9b}31m\u{202e}\u{7f}\r\nTELEMETRY:{}";
        let line = format_line(event([("tool".into(), evil.into())]));
        for character in ['\u{1b}', '\u{9b}', '\u{202e}', '\u{7f}', '\r'] {
            assert!(
                !line.text.contains(character),
                "{character:?} in {:?}",
                line.text
            );
        }
        assert_eq!(parse(&line)["metadata"]["tool"], evil);
    }
}
