//! The day of a release, as a changelog writes it.

use std::{
    env,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::failure::Failure;

/// Says when it is, for a build that is to be repeated; in seconds since 1970.
const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// Today in UTC, or the day that `SOURCE_DATE_EPOCH` names: `2026-01-31`.
pub(crate) fn today() -> Result<String, Failure> {
    let seconds = match env::var(EPOCH) {
        Ok(text) => text.trim().parse().map_err(|_| {
            Failure::Machine(format!(
                "{EPOCH} is `{text}`; it must be seconds since 1970"
            ))
        })?,
        Err(_) => SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs()),
    };
    Ok(of_day(seconds / 86_400))
}

/// The day that many days after the first of January 1970, in the calendar of today.
pub(crate) fn of_day(days: u64) -> String {
    // Eras of 400 years, each beginning on a first of March, so that a leap day is the last of its year.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let of_month = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    format!("{:04}-{month:02}-{of_month:02}", era * 400 + year + next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        for (days, expected) in [
            (0, "1970-01-01"),
            (58, "1970-02-28"),
            (59, "1970-03-01"),
            (11_016, "2000-02-29"),
            (11_017, "2000-03-01"),
            (20_453, "2025-12-31"),
            (20_454, "2026-01-01"),
        ] {
            assert_eq!(of_day(days), expected);
        }
    }
}
