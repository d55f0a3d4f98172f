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

/// `key=value` pairs of an object, in its order, in quotes where a value has spaces.
pub(crate) fn pairs(value: Option<&Value>) -> String {
    let Some(Value::Object(object)) = value else {
        return String::new();
    };
    let pair = |(key, value): (&String, &Value)| {
        let value = word(Some(value));
        let quote = if value.contains([' ', '=']) { "\"" } else { "" };
        format!("{}={quote}{value}{quote}", escape(key))
    };
    object.iter().map(pair).collect::<Vec<_>>().join(" ")
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
        assert!(!pairs(Some(&object)).chars().any(char::is_control));
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
    fn time_is_that_of_the_day() {
        assert_eq!(
            time_of_day(86_400_000_000_000 + 3_661_007_000_000),
            "01:01:01.007"
        );
        assert_eq!(time_of_day(-1), "-");
    }
}
