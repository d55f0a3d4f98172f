//! Spans of time as people write them: `500ms`, `10s`, `2m`, `1h`, `7d`.

use std::time::Duration;

/// What a duration may look like, for messages.
pub const DURATION_FORM: &str = "a number and ms, s, m, h or d, e.g. \"500ms\" or \"10s\"";

/// Parses a whole number followed by its unit.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(millis).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_with_a_unit_are_durations() {
        assert_eq!(parse_duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse_duration("0s"), Some(Duration::ZERO));
        assert_eq!(parse_duration("10s"), Some(Duration::from_secs(10)));
        assert_eq!(parse_duration("2m"), Some(Duration::from_secs(120)));
        assert_eq!(parse_duration("1h"), Some(Duration::from_secs(3_600)));
        assert_eq!(parse_duration("7d"), Some(Duration::from_secs(604_800)));
    }

    #[test]
    fn anything_else_is_not() {
        for text in [
            "",
            "10",
            "s",
            "-1s",
            "1.5s",
            "1 s",
            "10S",
            "10seconds",
            "18446744073709551615d",
        ] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
