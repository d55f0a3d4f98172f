//! The manager's counters for one worker incarnation: one writer, any number of readers, no lock.
//!
//! The session's task writes with plain relaxed stores. A version counter around each change lets a
//! reader tell a torn reading from a whole one (a sequence lock whose data are atomics), so that the
//! laws of the ledger hold in every reading and not only at rest.

mod absorb;

use std::hint;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::thread;

use telemetry_core::{Counts, Note, Notes, Reason, StreamSnapshot};

/// Longest believable jump of a sequence; what claims more is treated as if it had none.
const MAX_SEQUENCE_STEP: u64 = 1 << 32;

/// Largest believable sequence to begin with: an origin beyond all others would make them repeats.
const MAX_ORIGIN: u64 = 1 << 53;

/// How often a torn reading is repeated at once, before the reader makes way for the writer.
const SPIN_ATTEMPTS: usize = 64;

/// How often a torn reading is repeated before it is given out as it is.
const READ_ATTEMPTS: usize = 100_000;

/// Numbers of reasons and notes are below these.
const REASON_CELLS: usize = 64;
const NOTE_CELLS: usize = 16;

/// How an event stands in its worker's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// It carries no sequence, or none that can be believed.
    Unsequenced,
    /// It is the next one, after a jump over `gap` events.
    Next {
        /// Its position, counted from where this manager joined.
        sequence: u64,
        /// Events jumped over.
        gap: u64,
    },
    /// It is not newer than one that arrived before.
    Duplicate,
}

/// The counters. Only the owner of the pipeline may call what changes them.
#[derive(Debug)]
pub(crate) struct StreamLedger {
    /// Odd while a change is under way.
    version: AtomicU64,
    received: AtomicU64,
    dispatched: AtomicU64,
    gaps: AtomicU64,
    /// Counted from `joined_at`.
    highest: AtomicU64,
    sequenced: AtomicU64,
    rejected: [AtomicU64; REASON_CELLS],
    notes: [AtomicU64; NOTE_CELLS],
    /// Last sequence that went to somebody else before this manager joined.
    joined_at: AtomicU64,
    /// Whether `joined_at` is settled.
    joined: AtomicU64,
    /// The sequence that settled `joined_at`; 0 if none did.
    first: AtomicU64,
    /// Undecodable messages since the last sequence: the jump they cause is no second loss.
    undecoded: AtomicU64,
}

impl Default for StreamLedger {
    fn default() -> Self {
        Self {
            version: AtomicU64::new(0),
            received: AtomicU64::new(0),
            dispatched: AtomicU64::new(0),
            gaps: AtomicU64::new(0),
            highest: AtomicU64::new(0),
            sequenced: AtomicU64::new(0),
            rejected: [const { AtomicU64::new(0) }; REASON_CELLS],
            notes: [const { AtomicU64::new(0) }; NOTE_CELLS],
            joined_at: AtomicU64::new(0),
            joined: AtomicU64::new(0),
            first: AtomicU64::new(0),
            undecoded: AtomicU64::new(0),
        }
    }
}

impl StreamLedger {
    /// Where an event with this sequence stands; 0 is none. The first sequence of a worker that was
    /// there before this manager sets the origin of the count.
    pub(crate) fn arrival(&self, sequence: u64) -> Arrival {
        if sequence == 0 {
            return Arrival::Unsequenced;
        }
        if load(&self.joined) == 0 {
            if sequence > MAX_ORIGIN {
                return Arrival::Unsequenced;
            }
            let missed = load(&self.undecoded).min(sequence - 1);
            self.join_at(sequence - 1 - missed);
            self.first.store(sequence, Ordering::Relaxed);
        }
        let sequence = sequence.saturating_sub(load(&self.joined_at));
        let highest = load(&self.highest);
        if sequence <= highest {
            return Arrival::Duplicate;
        }
        let gap = sequence - highest - 1;
        if gap > MAX_SEQUENCE_STEP {
            return Arrival::Unsequenced;
        }
        Arrival::Next { sequence, gap }
    }

    /// Settles that sequences up to `sequence` were never meant for this manager.
    pub(crate) fn join_at(&self, sequence: u64) {
        if load(&self.joined) == 0 {
            self.joined_at.store(sequence, Ordering::Relaxed);
            self.joined.store(1, Ordering::Relaxed);
        }
    }

    /// Whether the origin of the count is settled.
    pub(crate) fn has_joined(&self) -> bool {
        load(&self.joined) != 0
    }

    /// Sequences that went to somebody else before this manager joined.
    pub(crate) fn joined_at(&self) -> u64 {
        load(&self.joined_at)
    }

    /// Counts one event that arrived: dispatched, or rejected for a reason.
    pub(crate) fn count(&self, arrival: Arrival, rejected: Option<Reason>) {
        self.change(|| {
            if let Arrival::Next { sequence, gap } = arrival {
                self.advance(sequence, gap);
                bump(&self.sequenced, 1);
            }
            bump(&self.received, 1);
            match rejected {
                None => bump(&self.dispatched, 1),
                Some(reason) => bump(&self.rejected[reason.number() as usize], 1),
            }
        });
    }

    /// Counts a message that could not be read; its sequence, if it had one, is unknown.
    pub(crate) fn reject_undecoded(&self) {
        self.change(|| {
            bump(&self.received, 1);
            bump(&self.rejected[Reason::DecodeError.number() as usize], 1);
        });
        bump(&self.undecoded, 1);
    }

    /// Takes in that the worker has sent events up to `sequence`: what did not arrive is lost. False
    /// if that is not believable.
    pub(crate) fn announce(&self, sequence: u64) -> bool {
        let sequence = sequence.saturating_sub(load(&self.joined_at));
        let Some(missing) = sequence.checked_sub(load(&self.highest)) else {
            return true;
        };
        if missing > MAX_SEQUENCE_STEP {
            return false;
        }
        if missing > 0 {
            self.change(|| self.advance(sequence, missing));
        }
        true
    }

    /// Counts a note.
    pub(crate) fn note(&self, note: Note) {
        self.change(|| bump(&self.notes[note.number() as usize], 1));
    }

    /// A reading in which the laws hold, unless a writer was in the way all the time.
    pub(crate) fn snapshot(&self) -> StreamSnapshot {
        for attempt in 0..READ_ATTEMPTS {
            let before = self.version.load(Ordering::Acquire);
            if before.is_multiple_of(2) {
                let snapshot = self.read();
                fence(Ordering::Acquire);
                if self.version.load(Ordering::Relaxed) == before {
                    return snapshot;
                }
            }
            // The writer may have been put off the processor in the middle of a change.
            if attempt < SPIN_ATTEMPTS {
                hint::spin_loop();
            } else {
                thread::yield_now();
            }
        }
        self.read()
    }

    /// Starts anew, for a new incarnation of the worker. Returns what was counted.
    pub(crate) fn take(&self) -> StreamSnapshot {
        let taken = self.snapshot();
        self.change(|| {
            let counters = [
                &self.received,
                &self.dispatched,
                &self.gaps,
                &self.highest,
                &self.sequenced,
                &self.joined_at,
                &self.joined,
                &self.first,
                &self.undecoded,
            ];
            for cell in counters
                .into_iter()
                .chain(&self.rejected)
                .chain(&self.notes)
            {
                cell.store(0, Ordering::Relaxed);
            }
        });
        taken
    }

    /// Moves the highest sequence up. Of the events jumped over, those that arrived but could not be
    /// read are no gap: they are counted as rejected already.
    fn advance(&self, sequence: u64, missing: u64) {
        let unreadable = load(&self.undecoded).min(missing);
        bump(&self.sequenced, unreadable);
        bump(&self.gaps, missing - unreadable);
        self.undecoded.store(0, Ordering::Relaxed);
        self.highest.store(sequence, Ordering::Relaxed);
    }

    /// Runs a change so that readers see all of it or nothing.
    fn change(&self, change: impl FnOnce()) {
        let version = load(&self.version);
        self.version.store(version + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        change();
        self.version.store(version + 2, Ordering::Release);
    }

    fn read(&self) -> StreamSnapshot {
        let mut rejected = Counts::default();
        for reason in Reason::ALL {
            rejected.set(*reason, load(&self.rejected[reason.number() as usize]));
        }
        let mut notes = Notes::default();
        for note in Note::ALL {
            notes.set(*note, load(&self.notes[note.number() as usize]));
        }
        StreamSnapshot {
            received: load(&self.received),
            dispatched: load(&self.dispatched),
            rejected,
            gaps: load(&self.gaps),
            highest_sequence: load(&self.highest),
            sequenced: load(&self.sequenced),
            notes,
        }
    }
}

fn load(cell: &AtomicU64) -> u64 {
    cell.load(Ordering::Relaxed)
}

/// Adds without a locked instruction: there is one writer.
fn bump(cell: &AtomicU64, by: u64) {
    cell.store(load(cell).saturating_add(by), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receive(ledger: &StreamLedger, sequence: u64) -> Arrival {
        let arrival = ledger.arrival(sequence);
        if arrival != Arrival::Duplicate {
            ledger.count(arrival, None);
        }
        arrival
    }

    #[test]
    fn every_number_has_a_cell() {
        assert!(
            Reason::ALL
                .iter()
                .all(|reason| (reason.number() as usize) < REASON_CELLS)
        );
        assert!(
            Note::ALL
                .iter()
                .all(|note| (note.number() as usize) < NOTE_CELLS)
        );
    }

    #[test]
    fn a_jump_is_a_gap_and_a_repeat_a_duplicate() {
        let ledger = StreamLedger::default();
        for sequence in [1, 2, 5] {
            receive(&ledger, sequence);
        }
        assert_eq!(receive(&ledger, 5), Arrival::Duplicate);
        let snapshot = ledger.snapshot();
        assert_eq!(
            (snapshot.received, snapshot.gaps, snapshot.highest_sequence),
            (3, 2, 5)
        );
        assert_eq!(snapshot.check(), Ok(()));
    }

    #[test]
    fn an_announced_tail_that_never_came_is_a_gap() {
        let ledger = StreamLedger::default();
        receive(&ledger, 1);
        assert!(ledger.announce(4));
        assert!(ledger.announce(4));
        let snapshot = ledger.snapshot();
        assert_eq!((snapshot.gaps, snapshot.highest_sequence), (3, 4));
        assert_eq!(snapshot.check(), Ok(()));
    }

    #[test]
    fn an_unreadable_event_is_not_counted_as_a_gap_as_well() {
        let ledger = StreamLedger::default();
        receive(&ledger, 1);
        ledger.reject_undecoded();
        receive(&ledger, 3);
        let snapshot = ledger.snapshot();
        assert_eq!(
            (snapshot.received, snapshot.gaps, snapshot.sequenced),
            (3, 0, 3)
        );
        assert_eq!(snapshot.check(), Ok(()));
    }

    #[test]
    fn events_before_the_manager_joined_are_no_gap() {
        let ledger = StreamLedger::default();
        receive(&ledger, 1_000);
        receive(&ledger, 1_001);
        let snapshot = ledger.snapshot();
        assert_eq!((snapshot.gaps, snapshot.highest_sequence), (0, 2));
        assert_eq!(ledger.joined_at(), 999);
    }

    #[test]
    fn absurd_sequences_are_not_believed() {
        let ledger = StreamLedger::default();
        assert_eq!(ledger.arrival(u64::MAX), Arrival::Unsequenced);
        receive(&ledger, 1);
        assert_eq!(receive(&ledger, u64::MAX), Arrival::Unsequenced);
        assert!(!ledger.announce(u64::MAX));
        let snapshot = ledger.snapshot();
        assert_eq!((snapshot.received, snapshot.highest_sequence), (2, 1));
        assert_eq!(snapshot.check(), Ok(()));
    }

    #[test]
    fn readers_never_see_half_a_change() {
        let ledger = StreamLedger::default();
        thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut last = 0;
                while last < 100_000 {
                    let snapshot = ledger.snapshot();
                    assert_eq!(snapshot.check(), Ok(()));
                    last = snapshot.highest_sequence;
                }
            });
            for sequence in 1..=100_000 {
                receive(&ledger, sequence);
            }
            reader.join().expect("every reading balances");
        });
    }

    #[test]
    fn taking_starts_anew() {
        let ledger = StreamLedger::default();
        receive(&ledger, 1);
        assert_eq!(ledger.take().received, 1);
        assert_eq!(ledger.snapshot(), StreamSnapshot::default());
        assert_eq!(
            receive(&ledger, 1),
            Arrival::Next {
                sequence: 1,
                gap: 0
            }
        );
    }
}
