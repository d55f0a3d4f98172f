//! What was read of a worker's counters, and the ledger that they make.

use super::reason::{Counts, Notes, Reason};
use super::worker::WorkerSnapshot;

/// What was read, of a worker that runs or of what a dead one left.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    /// Records ever let into the queue.
    pub(crate) pushed: u64,
    /// Records in the queue that were not handed out yet.
    pub(crate) waiting: u64,
    /// Records that were sent and are kept.
    pub(crate) retained: u64,
    /// Events that a backend without a queue took.
    pub(crate) handed_over: u64,
    /// Events out of the queue that a backend took.
    pub(crate) taken_over: u64,
    /// Events out of the queue that a backend has in its hands.
    pub(crate) in_hands: u64,
    /// Events that were accepted first and dropped from the queue later.
    pub(crate) dropped_late: u64,
    /// Events handed to a stream.
    pub(crate) sent: u64,
    /// Sequence of the last event that was acknowledged.
    pub(crate) acknowledged: u64,
    /// Events that were sent and let go of before they were acknowledged.
    pub(crate) forgotten: u64,
    /// How often events were sent again.
    pub(crate) repeated: u64,
    /// Emits that ended in callsites: sampled out, filtered, and dropped for any other reason.
    pub(crate) ended_in_sites: [u64; 3],
    /// Drops by reason, without those that are counted in callsites only.
    pub(crate) dropped: Counts,
    /// Notes.
    pub(crate) notes: Notes,
}

impl Reading {
    /// The ledger.
    pub(crate) fn into_snapshot(self) -> WorkerSnapshot {
        let [sampled_out, filtered, dropped_in_sites] = self.ended_in_sites;
        let mut dropped = self.dropped;
        dropped.add(Reason::SampledOut, sampled_out);
        dropped.add(Reason::Filtered, filtered);
        let accepted = self.pushed.saturating_add(self.handed_over);
        WorkerSnapshot {
            emitted: accepted
                .saturating_add(sampled_out)
                .saturating_add(filtered)
                .saturating_add(dropped_in_sites),
            accepted: accepted.saturating_sub(self.dropped_late),
            sent: self.sent,
            delivered: self.handed_over.saturating_add(self.taken_over),
            queued: self.waiting.saturating_add(self.in_hands),
            retained: self.retained,
            acknowledged: self.acknowledged,
            forgotten: self.forgotten,
            repeated: self.repeated,
            dropped,
            notes: self.notes,
        }
    }
}
