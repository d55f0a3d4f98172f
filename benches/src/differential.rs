//! Our codec against prost on a million cases: what one accepts the other accepts, as the same
//! event.
//!
//! Events that prost encodes are read by us, events that we encode are read by prost, and bytes that
//! are no longer or never were an event get the same verdict from both. Two differences are meant:
//! our limits on fields and bytes, and `hello` and `report`, which we leave encoded.

mod cases;
mod same;

use telemetry_core::emit::random_u64;

use crate::environment;
use crate::measure::Effort;
use crate::report::{Bound, Report, Row};

use cases::Draw;

/// Cases of a full run.
const CASES: u64 = 1_000_000;
/// Cases of a smoke run.
const QUICK_CASES: u64 = 50_000;

/// Runs all cases and reports how many disagree, with the first of them.
pub(crate) fn run(effort: Effort) -> Report {
    let cases = if effort.quick { QUICK_CASES } else { CASES };
    let seed = random_u64();
    Report {
        suite: "differential".to_owned(),
        quick: effort.quick,
        environment: environment::here(&["prost"]),
        rows: vec![row(cases, &Tally::of(cases, seed), seed)],
        ..Report::default()
    }
}

/// How the cases ended.
#[derive(Debug, Default)]
struct Tally {
    /// Both read the same event.
    agreed: u64,
    /// Both refused.
    refused: u64,
    /// Only one of our limits was in the way, or it was a frame that we leave encoded.
    meant: u64,
    /// One of them is wrong.
    disagreed: u64,
    /// The first of those, in words and bytes.
    first: Option<String>,
}

impl Tally {
    /// Of that many cases drawn from `seed`.
    fn of(cases: u64, seed: u64) -> Self {
        let mut draw = Draw::new(seed);
        let mut tally = Self::default();
        for number in 0..cases {
            let ended = match number % 5 {
                0 => same::encoded_by_prost(&draw.event()),
                1 => same::encoded_by_us(&draw.event()),
                2 | 3 => same::verdict(&draw.mutated()),
                _ => same::verdict(&draw.pieces()),
            };
            match ended {
                Ok(same::Agreement::Read) => tally.agreed += 1,
                Ok(same::Agreement::Refused) => tally.refused += 1,
                Ok(same::Agreement::Meant) => tally.meant += 1,
                Err(difference) => {
                    tally.disagreed += 1;
                    tally.first.get_or_insert(difference);
                }
            }
        }
        tally
    }
}

fn row(cases: u64, tally: &Tally, seed: u64) -> Row {
    let mut note = format!(
        "{cases} cases from seed {seed:#x}: {} read alike, {} refused by both, {} within our limits only",
        tally.agreed, tally.refused, tally.meant
    );
    if let Some(first) = &tally.first {
        note = format!("{note}; first: {first}");
    }
    Row::new("wire cases on which we and prost disagree")
        .ours(tally.disagreed as f64, "cases")
        .peer("cases in all", cases as f64, "cases")
        .exact()
        .floor(Bound::value_at_most(0.0))
        .note(note)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_end_is_reached_and_none_is_a_difference() {
        let tally = Tally::of(20_000, 7);
        assert_eq!(tally.disagreed, 0, "{:?}", tally.first);
        assert!(tally.agreed > 9_000, "{tally:?}");
        assert!(tally.refused > 2_000, "{tally:?}");
        assert!(tally.meant > 10, "{tally:?}");
    }

    #[test]
    fn a_difference_is_named_in_the_row() {
        let tally = Tally {
            disagreed: 1,
            first: Some("0a01".to_owned()),
            ..Tally::default()
        };
        let note = row(5, &tally, 1).note.unwrap();
        assert!(note.ends_with("first: 0a01"), "{note}");
    }
}
