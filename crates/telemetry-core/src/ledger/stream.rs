//! The manager's half of the ledger: laws T1 and M1.

use serde::Serialize;

use super::reason::{Counts, Notes};
use super::worker::Imbalance;

/// A reading of what the manager counted for one worker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StreamSnapshot {
    /// Events that arrived and were not duplicates.
    pub received: u64,
    /// Events handed to the dispatcher.
    pub dispatched: u64,
    /// Events refused, by reason.
    pub rejected: Counts,
    /// Events lost on the way, known from jumps in the sequence.
    pub gaps: u64,
    /// Highest sequence received or announced; 0 from a worker that sends none.
    pub highest_sequence: u64,
    /// Events of `received` that carried a sequence.
    pub sequenced: u64,
    /// Notes.
    pub notes: Notes,
}

impl StreamSnapshot {
    /// Checks T1 (`highest_sequence = sequenced + gaps`) and M1 (`received = Σ rejected + dispatched`).
    ///
    /// # Errors
    ///
    /// The first law that does not hold, with both sides.
    pub fn check(&self) -> Result<(), Imbalance> {
        Imbalance::check(
            "T1",
            ("highest_sequence", self.highest_sequence),
            ("sequenced + gaps", self.sequenced.saturating_add(self.gaps)),
        )?;
        Imbalance::check(
            "M1",
            ("received", self.received),
            (
                "rejected + dispatched",
                self.rejected.total().saturating_add(self.dispatched),
            ),
        )
    }

    /// By how many events the laws are broken in total.
    #[must_use]
    pub fn difference(&self) -> u64 {
        let t1 = self
            .highest_sequence
            .abs_diff(self.sequenced.saturating_add(self.gaps));
        let m1 = self
            .received
            .abs_diff(self.rejected.total().saturating_add(self.dispatched));
        t1.saturating_add(m1)
    }

    /// Adds another reading, as when a worker that ended is folded into its pool.
    pub fn merge(&mut self, other: &Self) {
        self.received = self.received.saturating_add(other.received);
        self.dispatched = self.dispatched.saturating_add(other.dispatched);
        self.rejected.merge(&other.rejected);
        self.gaps = self.gaps.saturating_add(other.gaps);
        self.highest_sequence = self.highest_sequence.saturating_add(other.highest_sequence);
        self.sequenced = self.sequenced.saturating_add(other.sequenced);
        self.notes.merge(&other.notes);
    }
}

#[cfg(test)]
mod tests {
    use super::super::reason::Reason;
    use super::*;

    #[test]
    fn a_gap_that_was_not_counted_breaks_the_law() {
        let mut snapshot = StreamSnapshot {
            received: 9,
            dispatched: 9,
            sequenced: 9,
            highest_sequence: 10,
            ..Default::default()
        };
        assert_eq!(snapshot.check().expect_err("a gap").law, "T1");
        snapshot.gaps = 1;
        assert_eq!(snapshot.check(), Ok(()));
        snapshot.rejected.add(Reason::UnknownEvent, 1);
        assert_eq!(snapshot.check().expect_err("counted twice").law, "M1");
    }
}
