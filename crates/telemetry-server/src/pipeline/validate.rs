//! What of an event may pass: keys, numbers, lengths. No state, no allocation.

use arrayvec::ArrayVec;
use telemetry_core::{
    ValueRef,
    catalog::{Limits, REDACTED, Redactor, truncate},
    ledger::{Note, Reason},
    wire::{DecodedEvent, MAX_DECODED_FIELDS},
};

/// Measurements that passed.
pub(super) type Measurements<'a> = ArrayVec<(&'a str, ValueRef<'a>), MAX_DECODED_FIELDS>;

/// Metadata that passed.
pub(super) type Metadata<'a> = ArrayVec<(&'a str, &'a str), MAX_DECODED_FIELDS>;

/// Collects the measurements that `takes` lets pass: whether the catalog knows the key, key and value.
///
/// A number that is not finite rejects the event as a whole: half an event would be taken for a
/// whole one.
pub(super) fn measurements<'a>(
    limits: &Limits,
    event: &DecodedEvent<'a>,
    passed: &mut Measurements<'a>,
    mut note: impl FnMut(Note),
    mut takes: impl FnMut(bool, &str, ValueRef<'_>) -> bool,
) -> Result<(), Reason> {
    for (place, (key, value)) in event.values().enumerate() {
        let value = match value {
            Some(value) if takes(event.is_known_measurement(place), key, value) => value,
            _ => {
                note(Note::UnknownMeasurement);
                continue;
            }
        };
        let value = match value {
            ValueRef::Float(number) if !number.is_finite() => return Err(Reason::ValueRejected),
            ValueRef::Str(text) => ValueRef::Str(cut(text, limits.value_bytes, &mut note)),
            number => number,
        };
        passed.push((key, value));
    }
    Ok(())
}

/// Collects metadata, cut to the limits.
///
/// A worker hides its secrets itself; a stock worker does not, so values under secret keys that are
/// not the catalog's are replaced here too.
pub(super) fn metadata<'a>(
    limits: &Limits,
    redactor: &Redactor,
    event: &DecodedEvent<'a>,
    passed: &mut Metadata<'a>,
    mut note: impl FnMut(Note),
) {
    // Keys are unique on arrival; once one was cut, two may be equal.
    let mut was_cut = false;
    for (place, (key, text)) in event.metadata.iter().enumerate() {
        if event.is_known_metadata(place) {
            passed.push((key, cut(text, limits.value_bytes, &mut note)));
            continue;
        }
        let short = cut(key, limits.key_bytes, &mut note);
        was_cut |= short.len() < key.len();
        if was_cut && passed.iter().any(|(known, _)| *known == short) {
            continue;
        }
        let text = if redactor.is_secret(key) {
            if *text != REDACTED {
                note(Note::Redacted);
            }
            REDACTED
        } else {
            cut(text, limits.value_bytes, &mut note)
        };
        passed.push((short, text));
    }
}

/// The keep probability that an event claims, if it is one.
pub(super) fn sampling_rate(claimed: Option<f64>) -> Option<f64> {
    claimed.filter(|rate| *rate > 0.0 && *rate <= 1.0)
}

fn cut<'a>(text: &'a str, max_bytes: usize, note: &mut impl FnMut(Note)) -> &'a str {
    let short = truncate(text, max_bytes);
    if short.len() < text.len() {
        note(Note::Truncated);
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_that_is_no_probability_is_none() {
        for rate in [None, Some(f64::NAN), Some(0.0), Some(-1.0), Some(1.5)] {
            assert_eq!(sampling_rate(rate), None, "{rate:?}");
        }
        assert_eq!(sampling_rate(Some(0.25)), Some(0.25));
    }
}
