//! JSON values of a manager as text for a terminal: always escaped, since some of it came from
//! workers.

use serde_json::Value;
use telemetry_core::catalog::escape;

/// A field as one word: text escaped, `-` for nothing.
pub(crate) fn word(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) if text.is_empty() => "-".to_owned(),
        Some(Value::String(text)) => escape(text).into_owned(),
        Some(other) => escape(&other.to_string()).into_owned(),
    }
}

/// `key=value` pairs of an object, in its order, each value as `shown`, in quotes where it has spaces.
pub(crate) fn pairs(value: Option<&Value>, shown: fn(&str, &Value) -> String) -> String {
    let Some(Value::Object(object)) = value else {
        return String::new();
    };
    let pair = |(key, value): (&String, &Value)| {
        let value = shown(key, value);
        let quote = if value.contains([' ', '=']) { "\"" } else { "" };
        format!("{}={quote}{value}{quote}", escape(key))
    };
    object.iter().map(pair).collect::<Vec<_>>().join(" ")
}

/// A measurement; a span of time as people say it.
pub(crate) fn measured(key: &str, value: &Value) -> String {
    let nanos = match value.as_u64() {
        Some(nanos) if key == "duration" || key.ends_with("_ns") => nanos,
        Some(millis) if key.ends_with("_ms") => millis.saturating_mul(1_000_000),
        _ => return word(Some(value)),
    };
    span(nanos)
}

/// A span of time to three digits.
pub(crate) fn span(nanos: u64) -> String {
    let units = [
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
        ("µs", 1_000),
        ("ns", 1),
    ];
    let (unit, size) = units
        .into_iter()
        .find(|(_, size)| nanos >= *size)
        .unwrap_or(units[3]);
    let (whole, hundredths) = (nanos / size, nanos % size * 100 / size);
    match whole {
        _ if size == 1 || whole >= 100 => format!("{whole}{unit}"),
        10.. => format!("{whole}.{}{unit}", hundredths / 10),
        _ => format!("{whole}.{hundredths:02}{unit}"),
    }
}

/// Time of day in UTC, to the millisecond; `-` for no time.
pub(crate) fn time_of_day(unix_nanos: i64) -> String {
    if unix_nanos <= 0 {
        return "-".to_owned();
    }
    let millis = unix_nanos / 1_000_000 % 86_400_000;
    let (seconds, millis) = (millis / 1_000, millis % 1_000);
    format!(
        "{:02}:{:02}:{:02}.{millis:03}",
        seconds / 3_600,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// Rows as a table with aligned columns.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, &width)| format!("{cell:<width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_worker_wrote_cannot_control_the_terminal() {
        let hostile = Value::String("\u{1b}[2J\r\n".into());
        let shown = word(Some(&hostile));
        assert!(!shown.chars().any(char::is_control), "{shown}");
        let object = serde_json::json!({ "a\u{1b}": "x y" });
        let shown = pairs(Some(&object), measured);
        assert!(!shown.chars().any(char::is_control), "{shown}");
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [
            vec!["A".into(), "B".into()],
            vec!["long".into(), "x".into()],
        ];
        assert_eq!(table(&rows), "A     B\nlong  x\n");
    }

    #[test]
    fn spans_of_time_are_said_to_three_digits() {
        for (nanos, said) in [
            (0, "0ns"),
            (5, "5ns"),
            (1_234, "1.23µs"),
            (45_678_901, "45.6ms"),
            (123_456_789, "123ms"),
            (61_000_000_000, "61.0s"),
        ] {
            assert_eq!(span(nanos), said);
        }
        assert_eq!(measured("wait_ms", &Value::from(1_500)), "1.50s");
        assert_eq!(measured("bytes", &Value::from(1_500)), "1500");
    }

    #[test]
    fn time_is_that_of_the_day() {
        assert_eq!(
            time_of_day(86_400_000_000_000 + 3_661_007_000_000),
            "01:01:01.007"
        );
        assert_eq!(time_of_day(-1), "-");
    }
}
