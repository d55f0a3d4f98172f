//! One ledger taken into another: that of events that came before it was known whose they are.

use std::sync::atomic::Ordering;

use super::{MAX_SEQUENCE_STEP, StreamLedger, bump, load};
use telemetry_core::{Note, Reason, StreamSnapshot};

impl StreamLedger {
    /// The first sequence that arrived and settled the origin of the count.
    pub(crate) fn first(&self) -> Option<u64> {
        let first = load(&self.first);
        (first != 0).then_some(first)
    }

    /// The highest sequence so far as the worker counts; 0 if none is known.
    pub(crate) fn position(&self) -> u64 {
        load(&self.joined_at).saturating_add(load(&self.highest))
    }

    /// Takes over all that `later` counted, as if its events had arrived here after the present ones,
    /// and empties it. What is missing between the two is a gap. Both must have the same writer.
    pub(crate) fn absorb(&self, later: &Self) {
        let origin = later.has_joined().then(|| later.joined_at());
        let undecoded = load(&later.undecoded);
        let counted = later.take();
        if let Some(origin) = origin {
            self.join_at(origin);
        }
        let believed = origin.filter(|it| it.saturating_sub(self.position()) <= MAX_SEQUENCE_STEP);
        self.change(|| {
            match believed {
                Some(origin) => self.follow(origin, &counted, undecoded),
                None => bump(&self.undecoded, undecoded),
            }
            self.add(&counted);
        });
    }

    /// Moves the highest sequence up over what was counted from `origin` on.
    fn follow(&self, origin: u64, counted: &StreamSnapshot, undecoded: u64) {
        let position = self.position();
        if let Some(missing) = origin.checked_sub(position) {
            self.advance(origin - self.joined_at(), missing);
        }
        // Nothing is counted twice that reaches back behind what was there: unreadable messages that
        // had no place in the jump before the first sequence, or repeats of a worker that breaks the
        // rules, which count as events without a sequence.
        let end = origin.saturating_add(counted.highest_sequence);
        let further = end.saturating_sub(position.max(origin));
        let gaps = counted.gaps.min(further);
        bump(&self.gaps, gaps);
        bump(&self.sequenced, further - gaps);
        bump(&self.highest, further);
        self.undecoded.store(undecoded, Ordering::Relaxed);
    }

    /// Adds what has no order.
    fn add(&self, counted: &StreamSnapshot) {
        bump(&self.received, counted.received);
        bump(&self.dispatched, counted.dispatched);
        for reason in Reason::ALL {
            let cell = &self.rejected[reason.number() as usize];
            bump(cell, counted.rejected.get(*reason));
        }
        for note in Note::ALL {
            bump(
                &self.notes[note.number() as usize],
                counted.notes.get(*note),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ledger of these sequences, in which 0 stands for a message that cannot be read.
    fn ledger(sequences: &[u64]) -> StreamLedger {
        let ledger = StreamLedger::default();
        receive(&ledger, sequences);
        ledger
    }

    fn receive(ledger: &StreamLedger, sequences: &[u64]) {
        for sequence in sequences {
            match sequence {
                0 => ledger.reject_undecoded(),
                _ => ledger.count(ledger.arrival(*sequence), None),
            }
        }
    }

    /// Counted apart and absorbed, the later sequences read as if they had arrived in a row.
    fn check(earlier: &[u64], later: &[u64], after: &[u64]) {
        let (absorbing, straight) = (ledger(earlier), ledger(earlier));
        let apart = ledger(later);
        absorbing.absorb(&apart);
        receive(&straight, later);
        assert_eq!(absorbing.snapshot(), straight.snapshot(), "{later:?}");
        assert_eq!(absorbing.position(), straight.position(), "{later:?}");
        assert_eq!(apart.snapshot(), StreamSnapshot::default());
        receive(&absorbing, after);
        receive(&straight, after);
        assert_eq!(absorbing.snapshot(), straight.snapshot(), "{after:?}");
        assert_eq!(absorbing.snapshot().check(), Ok(()));
    }

    #[test]
    fn what_was_counted_apart_reads_as_if_it_had_arrived_in_a_row() {
        check(&[], &[1, 2], &[4]);
        check(&[], &[51, 53], &[54]);
        check(&[1, 2], &[3, 4], &[5]);
        check(&[51, 52], &[55, 57], &[60]);
        check(&[1, 2], &[], &[4]);
    }

    #[test]
    fn unreadable_messages_fill_the_jumps_on_either_side() {
        check(&[1, 0], &[3], &[4]);
        check(&[1], &[0, 4], &[5]);
        check(&[1, 2], &[3, 0], &[6]);
        check(&[1, 2], &[0, 0], &[6]);
        check(&[1, 2, 3], &[0, 0, 0, 0, 5], &[6]);
    }

    #[test]
    fn repeats_move_nothing_and_break_no_law() {
        let absorbing = ledger(&[1, 2, 3, 4]);
        for (later, highest, gaps) in [([2, 3], 4, 0), ([4, 6], 6, 1)] {
            absorbing.absorb(&ledger(&later));
            let snapshot = absorbing.snapshot();
            assert_eq!((snapshot.highest_sequence, snapshot.gaps), (highest, gaps));
            assert_eq!(snapshot.check(), Ok(()));
        }
        assert_eq!(absorbing.snapshot().received, 8);
    }

    #[test]
    fn an_absurd_origin_is_not_believed() {
        let absorbing = ledger(&[1, 2]);
        absorbing.absorb(&ledger(&[1 << 40]));
        let snapshot = absorbing.snapshot();
        assert_eq!((snapshot.received, snapshot.highest_sequence), (3, 2));
        assert_eq!((snapshot.gaps, snapshot.check()), (0, Ok(())));
    }
}
