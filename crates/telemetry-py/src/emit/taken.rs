//! Keys of an event that are ours: what the program gives under the same ones goes beside them.
//!
//! A map of the wire holds the last entry of a key, so that a `duration` of the program would replace the one
//! that was measured.

use telemetry_core::{ValueRef, ledger::Note};

use super::wrong;
use crate::fields::Entries;

/// What stands behind the key of an entry that went aside: `duration_given`.
const GIVEN: &str = "_given";

/// Metadata that the ids of a span are, where that is asked for.
pub(super) const IDS: [&str; 3] = ["trace_id", "span_id", "parent_span_id"];

/// The keys of one event that are ours.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taken {
    /// That of the measurement.
    pub(super) measurement: Option<&'static str>,
    /// Whether there is metadata about an exception.
    pub(super) is_wrong: bool,
    /// Whether there are the ids of a span.
    pub(super) has_ids: bool,
}

/// Entries of the program, on their way beside ours.
#[derive(Debug)]
pub(super) struct Beside<'a, E> {
    /// Where they go.
    entries: &'a mut E,
    /// The keys that are ours.
    taken: Taken,
}

impl Taken {
    /// The way to `entries` for what the program gives.
    pub(super) fn beside<E: Entries>(self, entries: &mut E) -> Beside<'_, E> {
        Beside {
            entries,
            taken: self,
        }
    }
}

impl<E: Entries> Entries for Beside<'_, E> {
    fn measurement(&mut self, key: &str, value: ValueRef<'_>) {
        if self.taken.measurement == Some(key) {
            self.entries.note(Note::Coerced);
            return self.entries.measurement(&format!("{key}{GIVEN}"), value);
        }
        self.entries.measurement(key, value);
    }

    fn metadata(&mut self, key: &str, value: &str) {
        let taken = self.taken;
        if taken.is_wrong && wrong::KEYS.contains(&key) || taken.has_ids && IDS.contains(&key) {
            self.entries.note(Note::Coerced);
            return self.entries.metadata(&format!("{key}{GIVEN}"), value);
        }
        self.entries.metadata(key, value);
    }

    fn note(&mut self, note: Note) {
        self.entries.note(note);
    }
}
