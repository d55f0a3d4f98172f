//! The counters of one stream: one writer, any number of readers, no lock.
//!
//! The writer cannot be cloned and writes through `&mut`, so plain relaxed stores suffice. A version
//! counter around each change lets a reader tell a torn reading from a whole one (a sequence lock whose
//! data are atomics), so that the laws of the ledger hold in every reading and not only at rest.

use std::hint;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::thread;
use std::time::Instant;

use telemetry_core::{
    Mistake, is_planted,
    ledger::{Counts, Note, Notes, Reason, StreamSnapshot},
};

use super::plausible::allowance;

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
        /// Its position, counted from the origin of the stream.
        sequence: u64,
        /// Events jumped over.
        gap: u64,
    },
    /// It is not newer than one that arrived before.
    Duplicate,
}

/// What is counted. Written by the one [`LedgerWriter`] alone.
#[derive(Debug)]
struct Cells {
    /// Odd while a change is under way.
    version: AtomicU64,
    received: AtomicU64,
    dispatched: AtomicU64,
    gaps: AtomicU64,
    /// Counted from the origin.
    highest: AtomicU64,
    sequenced: AtomicU64,
    rejected: [AtomicU64; REASON_CELLS],
    notes: [AtomicU64; NOTE_CELLS],
    /// The origin: the last sequence that is not this stream's to account for.
    origin: AtomicU64,
}

impl Default for Cells {
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
            origin: AtomicU64::new(0),
        }
    }
}

/// Reads the counters of a stream, whoever writes them meanwhile.
#[derive(Debug, Clone)]
pub(crate) struct LedgerReader {
    cells: Arc<Cells>,
}

/// Counts the events of one stream.
#[derive(Debug)]
pub(crate) struct LedgerWriter {
    cells: Arc<Cells>,
    /// Whether the origin is settled.
    knows_origin: bool,
    /// The first sequence that arrived; 0 before it.
    first: u64,
    /// Undecodable messages since the last sequence: the jump they cause is no second loss.
    undecoded: u64,
    /// When it began: nobody can lose more than can have been emitted since.
    began: Instant,
}

impl Default for LedgerWriter {
    fn default() -> Self {
        Self {
            cells: Arc::default(),
            knows_origin: false,
            first: 0,
            undecoded: 0,
            began: Instant::now(),
        }
    }
}

impl LedgerReader {
    /// A reading in which the laws hold, unless a writer was in the way all the time.
    pub(crate) fn snapshot(&self) -> StreamSnapshot {
        for attempt in 0..READ_ATTEMPTS {
            let before = self.cells.version.load(Ordering::Acquire);
            if before.is_multiple_of(2) {
                let snapshot = self.cells.read();
                fence(Ordering::Acquire);
                if self.cells.version.load(Ordering::Relaxed) == before {
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
        self.cells.read()
    }

    /// Sequences before this stream, or before its first event while nothing else settled that.
    pub(crate) fn origin(&self) -> u64 {
        load(&self.cells.origin)
    }

    /// Whether the writer is gone.
    pub(crate) fn is_abandoned(&self) -> bool {
        Arc::strong_count(&self.cells) == 1
    }
}

#[expect(
    clippy::needless_pass_by_ref_mut,
    reason = "that nobody else writes meanwhile is what the law rests on"
)]
impl LedgerWriter {
    /// A reader of what is counted here.
    pub(crate) fn reader(&self) -> LedgerReader {
        LedgerReader {
            cells: Arc::clone(&self.cells),
        }
    }

    /// What was counted so far.
    pub(crate) fn snapshot(&self) -> StreamSnapshot {
        self.cells.read()
    }

    /// The highest sequence so far as the worker counts; 0 if none is known.
    pub(crate) fn position(&self) -> u64 {
        load(&self.cells.origin).saturating_add(load(&self.cells.highest))
    }

    /// The first sequence that arrived.
    pub(crate) fn first(&self) -> Option<u64> {
        (self.first != 0).then_some(self.first)
    }

    /// Undecodable messages that no jump has made up for yet.
    pub(crate) fn undecoded(&self) -> u64 {
        self.undecoded
    }

    /// Whether the origin is settled.
    pub(crate) fn knows_origin(&self) -> bool {
        self.knows_origin
    }

    /// Settles that sequences up to `sequence` are not this stream's, unless that is settled.
    pub(crate) fn begin_after(&mut self, sequence: u64) {
        if !self.knows_origin {
            self.knows_origin = true;
            self.cells.change(|cells| store(&cells.origin, sequence));
        }
    }

    /// Settles, before or after the first event, that this stream goes on behind `position`, where the
    /// one before it left `undecoded` messages without a sequence: what is missing in between is a gap.
    /// A sequence that was counted before that position counts as an event without one.
    pub(crate) fn follow(&mut self, position: u64, undecoded: u64) {
        if !self.knows_origin {
            self.undecoded = self.undecoded.saturating_add(undecoded);
            return self.begin_after(position);
        }
        let origin = load(&self.cells.origin);
        let Some(missing) = origin.checked_sub(position) else {
            return self.go_on_behind(position);
        };
        if !self.can_miss(missing) {
            return;
        }
        self.cells.change(|cells| {
            let unreadable = undecoded.min(missing);
            bump(&cells.sequenced, unreadable);
            bump(&cells.gaps, missing - unreadable);
            bump(&cells.highest, missing);
            store(&cells.origin, position);
        });
    }

    /// Goes on behind `position` or behind what arrived, whichever is further. What a worker that breaks
    /// the rules repeated stays counted, for it was dispatched, and no count ever falls.
    fn go_on_behind(&mut self, position: u64) {
        let end = self.position().max(position);
        self.cells.change(|cells| {
            store(&cells.origin, end.saturating_sub(load(&cells.highest)));
        });
    }

    /// Whether so many events can be missing at once, beside those that are missing already.
    fn can_miss(&self, missing: u64) -> bool {
        let all = load(&self.cells.gaps).saturating_add(missing);
        missing <= MAX_SEQUENCE_STEP && all <= allowance(self.began.elapsed())
    }

    /// So many events of earlier streams are missing, whatever arrived on this one.
    pub(crate) fn miss(&mut self, missing: u64) {
        if missing == 0 || !self.can_miss(missing) {
            return;
        }
        self.cells.change(|cells| {
            bump(&cells.gaps, missing);
            bump(&cells.highest, missing);
            store(&cells.origin, load(&cells.origin).saturating_sub(missing));
        });
    }

    /// Others have to account for what lies between the highest sequence so far and this one.
    pub(crate) fn skip_to(&mut self, sequence: u64) {
        let passed = sequence.saturating_sub(self.position());
        if passed > 0 {
            self.cells.change(|cells| bump(&cells.origin, passed));
        }
    }

    /// Where an event with this sequence stands; 0 is none. The first one settles the origin, if
    /// nothing else did.
    #[inline]
    pub(crate) fn arrival(&mut self, sequence: u64) -> Arrival {
        if sequence == 0 {
            return Arrival::Unsequenced;
        }
        if self.first == 0 && !self.accept_first(sequence) {
            return Arrival::Unsequenced;
        }
        let sequence = sequence.saturating_sub(load(&self.cells.origin));
        let highest = load(&self.cells.highest);
        if sequence <= highest {
            let mistakes = [Mistake::DuplicatesAreNew, Mistake::RecoversHandled];
            return match mistakes.into_iter().any(is_planted) {
                true => Arrival::Unsequenced,
                false => Arrival::Duplicate,
            };
        }
        let gap = sequence - highest - 1;
        if gap > 0 && !self.can_miss(gap) {
            return Arrival::Unsequenced;
        }
        Arrival::Next { sequence, gap }
    }

    /// Takes the first sequence in; false if it cannot be believed.
    #[cold]
    fn accept_first(&mut self, sequence: u64) -> bool {
        if !self.knows_origin {
            if sequence > MAX_ORIGIN {
                return false;
            }
            let missed = self.undecoded.min(sequence - 1);
            self.begin_after(sequence - 1 - missed);
        }
        self.first = sequence;
        true
    }

    /// Counts one event that arrived: dispatched, or rejected for a reason.
    #[inline]
    pub(crate) fn count(&mut self, arrival: Arrival, rejected: Option<Reason>) {
        let undecoded = &mut self.undecoded;
        self.cells.change(|cells| {
            if let Arrival::Next { sequence, gap } = arrival {
                cells.advance(sequence, gap, std::mem::take(undecoded));
                bump(&cells.sequenced, 1);
            }
            bump(&cells.received, 1);
            match rejected {
                None => bump(&cells.dispatched, 1),
                Some(reason) => bump(&cells.rejected[reason.number() as usize], 1),
            }
        });
    }

    /// Counts a message that could not be read; its sequence, if it had one, is unknown.
    pub(crate) fn reject_undecoded(&mut self) {
        self.cells.change(|cells| {
            bump(&cells.received, 1);
            bump(&cells.rejected[Reason::DecodeError.number() as usize], 1);
        });
        self.undecoded += 1;
    }

    /// Takes in that the worker has sent events up to `sequence`: what did not arrive is lost. False
    /// if that is not believable.
    pub(crate) fn announce(&mut self, sequence: u64) -> bool {
        let sequence = sequence.saturating_sub(load(&self.cells.origin));
        let Some(missing) = sequence.checked_sub(load(&self.cells.highest)) else {
            return true;
        };
        if !self.can_miss(missing) {
            return false;
        }
        if missing > 0 {
            let undecoded = std::mem::take(&mut self.undecoded);
            self.cells
                .change(|cells| cells.advance(sequence, missing, undecoded));
        }
        true
    }

    /// Counts a note.
    pub(crate) fn note(&mut self, note: Note) {
        self.cells
            .change(|cells| bump(&cells.notes[note.number() as usize], 1));
    }
}

impl Cells {
    /// Moves the highest sequence up. Of the events jumped over, those that arrived but could not be
    /// read are no gap: they are counted as rejected already.
    fn advance(&self, sequence: u64, missing: u64, undecoded: u64) {
        let unreadable = undecoded.min(missing);
        bump(&self.sequenced, unreadable);
        bump(&self.gaps, missing - unreadable);
        store(&self.highest, sequence);
    }

    /// Runs a change of the one writer so that readers see all of it or nothing.
    #[inline]
    fn change(&self, change: impl FnOnce(&Self)) {
        let version = load(&self.version);
        store(&self.version, version + 1);
        fence(Ordering::Release);
        change(self);
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
        let mut snapshot = StreamSnapshot::default();
        snapshot.received = load(&self.received);
        snapshot.dispatched = load(&self.dispatched);
        snapshot.rejected = rejected;
        snapshot.gaps = load(&self.gaps);
        snapshot.highest_sequence = load(&self.highest);
        snapshot.sequenced = load(&self.sequenced);
        snapshot.notes = notes;

        snapshot
    }
}

#[inline]
fn load(cell: &AtomicU64) -> u64 {
    cell.load(Ordering::Relaxed)
}

#[inline]
fn store(cell: &AtomicU64, value: u64) {
    cell.store(value, Ordering::Relaxed);
}

/// Adds without a locked instruction: there is one writer.
#[inline]
fn bump(cell: &AtomicU64, by: u64) {
    store(cell, load(cell).saturating_add(by));
}

#[cfg(test)]
mod tests;
