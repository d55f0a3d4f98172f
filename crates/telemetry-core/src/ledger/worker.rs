//! The worker's half of the ledger: laws W1 and W2.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use super::reason::{Counts, Note, Notes, Reason};
use crate::region::{
    ACKNOWLEDGED, COUNTER_WORDS, DROPPED_LATE, FORGOTTEN, HANDED_OVER, IN_HANDS, NOTE_NUMBERS,
    NOTES, Part, REASON_NUMBERS, REPEATED, SENT, TAKEN_OVER, UNDER_WAY,
};

/// Counters of one worker incarnation that are not kept per callsite.
///
/// The common outcomes are counted where an emit touches memory anyway: accepted in the queue,
/// sampled out and filtered in the callsite. This holds the rare ones. All orderings are relaxed but
/// those of `under_way`: a counter publishes nothing but itself. Each has its own place in the region.
#[derive(Debug)]
pub struct WorkerLedger {
    /// The counters of a region.
    cells: Part<[AtomicU64; COUNTER_WORDS]>,
}

impl Default for WorkerLedger {
    fn default() -> Self {
        Self::in_part(Part::counters())
    }
}

impl WorkerLedger {
    /// The ledger that lives in a part of a region.
    pub(crate) fn in_part(cells: Part<[AtomicU64; COUNTER_WORDS]>) -> Self {
        Self { cells }
    }

    /// Drops under a reason.
    #[inline]
    fn dropped(&self, reason: Reason) -> &AtomicU64 {
        &self.cells[reason.number() as usize % REASON_NUMBERS]
    }

    /// Counts one event that was never accepted.
    pub fn drop_event(&self, reason: Reason) {
        self.dropped(reason).fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an event that a backend without a queue took.
    pub fn hand_over(&self) {
        self.cells[HANDED_OVER].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an event that left the queue into a backend's hands; it counts as queued until
    /// [`settle`](Self::settle) says what became of it.
    pub fn pick_up(&self) {
        self.cells[IN_HANDS].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts what became of an event in a backend's hands. Nothing changes if
    /// [`drop_in_hands`](Self::drop_in_hands) has counted it before.
    pub fn settle(&self, end: Result<(), Reason>) {
        self.together(|| {
            let held =
                self.cells[IN_HANDS].fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
                    held.checked_sub(1)
                });
            match end {
                _ if held.is_err() => {}
                Ok(()) => {
                    self.cells[TAKEN_OVER].fetch_add(1, Ordering::Relaxed);
                }
                Err(reason) => self.drop_accepted(reason, 1),
            }
        });
    }

    /// Counts as dropped what backends have in their hands, and returns how many events that were.
    pub fn drop_in_hands(&self, reason: Reason) -> u64 {
        let mut held = 0;
        self.together(|| {
            held = self.cells[IN_HANDS].swap(0, Ordering::Relaxed);
            self.drop_accepted(reason, held);
        });
        held
    }

    /// Events out of the queue that backends have in their hands.
    #[must_use]
    pub fn in_hands(&self) -> u64 {
        self.cells[IN_HANDS].load(Ordering::Relaxed)
    }

    /// Events out of the queue that backends took.
    #[must_use]
    pub fn taken_over(&self) -> u64 {
        self.cells[TAKEN_OVER].load(Ordering::Relaxed)
    }

    /// Events that a backend without a queue took.
    #[must_use]
    pub fn handed_over(&self) -> u64 {
        self.cells[HANDED_OVER].load(Ordering::Relaxed)
    }

    /// Calls `count`, which counts one event in more places than one.
    pub fn together(&self, count: impl FnOnce()) {
        self.cells[UNDER_WAY].fetch_add(1, Ordering::SeqCst);
        count();
        self.cells[UNDER_WAY].fetch_sub(1, Ordering::SeqCst);
    }

    /// Whether no event is being counted right now.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.cells[UNDER_WAY].load(Ordering::SeqCst) == 0
    }

    /// Counts events that had been accepted and were dropped from the queue.
    pub fn drop_accepted(&self, reason: Reason, count: u64) {
        self.cells[DROPPED_LATE].fetch_add(count, Ordering::Relaxed);
        self.dropped(reason).fetch_add(count, Ordering::Relaxed);
    }

    /// Counts a note.
    pub fn note(&self, note: Note) {
        self.cells[NOTES + note.number() as usize % NOTE_NUMBERS].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an event handed to a stream for the first time. Whoever hands it over is alone in that.
    pub fn count_sent(&self, sequence: u64) {
        self.cells[SENT].store(sequence, Ordering::Relaxed);
    }

    /// Counts events that were sent again.
    pub fn count_repeated(&self, events: u64) {
        self.cells[REPEATED].fetch_add(events, Ordering::Relaxed);
    }

    /// How often events were sent again.
    #[must_use]
    pub fn repeated(&self) -> u64 {
        self.cells[REPEATED].load(Ordering::Relaxed)
    }

    /// Counts events that were sent and let go of before they were acknowledged.
    pub fn count_forgotten(&self, events: u64) {
        self.cells[FORGOTTEN].fetch_add(events, Ordering::Relaxed);
    }

    /// Events that were sent and let go of before they were acknowledged.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.cells[FORGOTTEN].load(Ordering::Relaxed)
    }

    /// Takes in that the events up to this sequence are acknowledged.
    pub fn count_acknowledged(&self, sequence: u64) {
        self.cells[ACKNOWLEDGED].fetch_max(sequence, Ordering::Relaxed);
    }

    /// Sequence of the last event that was acknowledged.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.cells[ACKNOWLEDGED].load(Ordering::Relaxed)
    }

    /// Events handed to a stream so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.cells[SENT].load(Ordering::Relaxed)
    }

    /// Events that were accepted first and dropped from the queue later.
    #[must_use]
    pub fn dropped_late(&self) -> u64 {
        self.cells[DROPPED_LATE].load(Ordering::Relaxed)
    }

    /// The drops and notes counted here.
    #[must_use]
    pub fn counts(&self) -> (Counts, Notes) {
        counts_of(|cell| self.cells[cell].load(Ordering::Relaxed))
    }
}

/// Drops and notes of the counters of a region. What another version counted under numbers that are not
/// known here is `other`.
pub(crate) fn counts_of(read: impl Fn(usize) -> u64) -> (Counts, Notes) {
    let mut counts = Counts::default();
    for (cell, number) in (0..REASON_NUMBERS).zip(0..) {
        counts.add(
            Reason::from_number(number).unwrap_or(Reason::Other),
            read(cell),
        );
    }
    let mut notes = Notes::default();
    for (cell, number) in (NOTES..NOTES + NOTE_NUMBERS).zip(0..) {
        notes.add(
            Note::from_number(number).unwrap_or(Note::OtherNote),
            read(cell),
        );
    }
    (counts, notes)
}

// Each has a place of its own.
const _: () = {
    let mut at = 0;
    while at < Reason::COUNT {
        assert!((Reason::ALL[at].number() as usize) < REASON_NUMBERS);
        at += 1;
    }
    at = 0;
    while at < Note::COUNT {
        assert!((Note::ALL[at].number() as usize) < NOTE_NUMBERS);
        at += 1;
    }
};

/// Counts of one event name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NameCount {
    /// The wire name.
    pub name: String,
    /// Events emitted, before sampling and filters.
    pub emitted: u64,
    /// Events taken into the queue, after sampling and filters.
    pub accepted: u64,
    /// Events that were not drawn.
    #[serde(skip_serializing_if = "is_zero")]
    pub sampled_out: u64,
    /// Events that a rule or a list drops.
    #[serde(skip_serializing_if = "is_zero")]
    pub filtered: u64,
    /// Events dropped for any other reason.
    #[serde(skip_serializing_if = "is_zero")]
    pub dropped: u64,
    /// Number of the reason of the last one of those; 0 without any, or where it is not known.
    #[serde(skip)]
    pub last_reason: u32,
}

/// A reading of a worker's ledger.
///
/// Counters are read one after the other. A reading taken while other threads emit may be off by the
/// events under way; once they are through, the laws hold to the last event.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct WorkerSnapshot {
    /// Events that entered `emit` and left it again, whatever became of them.
    pub emitted: u64,
    /// Events taken over, by the queue or by a backend without one, and not dropped later.
    pub accepted: u64,
    /// Events handed to a stream; also the sequence of the last one.
    pub sent: u64,
    /// Events that a backend which is no stream took, such as a line that was written. They have no
    /// sequence, and reports to a manager leave them out: see [`snapshot_to_report`].
    ///
    /// [`snapshot_to_report`]: super::snapshot_to_report
    #[serde(skip_serializing_if = "is_zero")]
    pub delivered: u64,
    /// Events waiting in the queue, or in the hands of what takes them out of it.
    pub queued: u64,
    /// Events that were sent and are kept until they are acknowledged.
    #[serde(skip_serializing_if = "is_zero")]
    pub retained: u64,
    /// Sequence of the last event that a manager acknowledged.
    #[serde(skip_serializing_if = "is_zero")]
    pub acknowledged: u64,
    /// Events that were sent and let go of before they were acknowledged: there was no room to keep them,
    /// or the manager that followed acknowledges nothing. They are lost only if they did not arrive.
    #[serde(skip_serializing_if = "is_zero")]
    pub forgotten: u64,
    /// How often events were sent again on another stream.
    #[serde(skip_serializing_if = "is_zero")]
    pub repeated: u64,
    /// Drops by reason.
    pub dropped: Counts,
    /// Notes.
    pub notes: Notes,
}

/// Whether there is nothing to tell.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// A broken law of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("ledger law {law} does not hold: {left_name} = {left}, but {right_name} = {right}")]
#[non_exhaustive]
pub struct Imbalance {
    /// Name of the law, such as `W1`.
    pub law: &'static str,
    /// What stands on the left.
    pub left_name: &'static str,
    /// Its value.
    pub left: u64,
    /// What stands on the right.
    pub right_name: &'static str,
    /// Its value.
    pub right: u64,
}

impl Imbalance {
    /// Checks one equation of a law.
    ///
    /// # Errors
    ///
    /// The law and both sides with their names, if they are not equal.
    pub fn check(
        law: &'static str,
        (left_name, left): (&'static str, u64),
        (right_name, right): (&'static str, u64),
    ) -> Result<(), Self> {
        if left == right {
            return Ok(());
        }
        Err(Self {
            law,
            left_name,
            left,
            right_name,
            right,
        })
    }
}

impl WorkerSnapshot {
    /// Checks W1 (`emitted = accepted + Σ dropped`), W2 (`accepted = sent + delivered + queued`) and W3
    /// (`sent ≥ acknowledged + retained`).
    ///
    /// # Errors
    ///
    /// The first law that does not hold, with both sides.
    pub fn check(&self) -> Result<(), Imbalance> {
        Imbalance::check(
            "W1",
            ("emitted", self.emitted),
            (
                "accepted + dropped",
                self.accepted.saturating_add(self.dropped.total()),
            ),
        )?;
        Imbalance::check(
            "W2",
            ("accepted", self.accepted),
            ("sent + delivered + queued", self.taken()),
        )?;
        let kept = self.acknowledged.saturating_add(self.retained);
        Imbalance::check(
            "W3",
            (
                "acknowledged + retained, at least sent",
                self.sent.max(kept),
            ),
            ("sent", self.sent),
        )
    }

    /// By how many events the laws are broken in total.
    #[must_use]
    pub fn difference(&self) -> u64 {
        let w1 = self
            .emitted
            .abs_diff(self.accepted.saturating_add(self.dropped.total()));
        let w2 = self.accepted.abs_diff(self.taken());
        w1.saturating_add(w2)
    }

    /// The right side of W2.
    fn taken(&self) -> u64 {
        self.sent
            .saturating_add(self.delivered)
            .saturating_add(self.queued)
    }

    /// Adds another reading, as when a worker that ended is folded into its pool.
    pub fn merge(&mut self, other: &Self) {
        self.emitted = self.emitted.saturating_add(other.emitted);
        self.accepted = self.accepted.saturating_add(other.accepted);
        self.sent = self.sent.saturating_add(other.sent);
        self.delivered = self.delivered.saturating_add(other.delivered);
        self.queued = self.queued.saturating_add(other.queued);
        self.retained = self.retained.saturating_add(other.retained);
        self.acknowledged = self.acknowledged.saturating_add(other.acknowledged);
        self.forgotten = self.forgotten.saturating_add(other.forgotten);
        self.repeated = self.repeated.saturating_add(other.repeated);
        self.dropped.merge(&other.dropped);
        self.notes.merge(&other.notes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_event_breaks_the_first_law() {
        let mut snapshot = WorkerSnapshot {
            emitted: 3,
            accepted: 2,
            sent: 1,
            queued: 1,
            ..Default::default()
        };
        let broken = snapshot.check().expect_err("one event is missing");
        assert_eq!(broken.law, "W1");
        assert_eq!(snapshot.difference(), 1);
        snapshot.dropped.add(Reason::QueueFull, 1);
        assert_eq!(snapshot.check(), Ok(()));
    }

    #[test]
    fn an_event_neither_sent_nor_queued_breaks_the_second_law() {
        let snapshot = WorkerSnapshot {
            emitted: 2,
            accepted: 2,
            sent: 1,
            ..Default::default()
        };
        assert_eq!(
            snapshot.check().expect_err("one event is missing").law,
            "W2"
        );
    }
}
