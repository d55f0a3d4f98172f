//! Random doings of a worker, killed at every moment.

use std::cell::Cell;

use proptest::prelude::*;

use super::*;
use crate::queue::almost_header;
use crate::region::{BASE_INDEX, FREE};

/// What is done.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Push(usize, u8),
    /// Hands out so many; every so manieth is gone, the others have this fate.
    HandOut(usize, u32, Fate),
    Release(u64),
    ReleaseBeyond(usize),
    Rewind(u64),
    MakeRoom,
    DrainAll,
    /// A producer dies in a record of so many bytes, with its length written or not, and so many words.
    Die(usize, bool, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let fate = prop_oneof![3 => Just(Fate::Kept), 1 => Just(Fate::Sent)];
    prop_oneof![
        8 => (0_usize..60, any::<u8>()).prop_map(|(len, fill)| Step::Push(len, fill)),
        4 => (1_usize..40, 2_u32..9, fate).prop_map(|(n, gone, fate)| Step::HandOut(n, gone, fate)),
        2 => (0_u64..12).prop_map(Step::Release),
        1 => (0_usize..40).prop_map(Step::ReleaseBeyond),
        2 => (0_u64..12).prop_map(Step::Rewind),
        1 => Just(Step::MakeRoom),
        1 => Just(Step::DrainAll),
    ]
}

fn last_steps() -> impl Strategy<Value = Vec<Step>> {
    let die = (0_usize..60, any::<bool>(), 0_usize..5)
        .prop_map(|(len, with_header, written)| Step::Die(len, with_header, written));
    prop::collection::vec(prop_oneof![2 => step(), 1 => die], 0..20)
}

/// The bytes of a record, which are zeros, anything, or what looks like headers.
fn bytes(len: usize, fill: u8) -> Vec<u8> {
    match fill % 4 {
        0 => vec![0; len],
        1 => {
            let words = (0..len).map(|at| almost_header((at * 8 + usize::from(fill)) % 50));
            words.flat_map(u64::to_le_bytes).take(len).collect()
        }
        _ => (0..len)
            .map(|at| fill.wrapping_mul(at.to_le_bytes()[0]))
            .collect(),
    }
}

/// What a reader may find while the base moves: all in between.
fn between(worker: &Worker, before: &[u64], after: &[u64]) {
    let ring = worker.layout.ring();
    let zeroed = |at: &usize| after[*at] == 0 && before[*at] != 0;
    let zeros: Vec<usize> = ring.filter(zeroed).collect();
    // The slot is written and the index is not.
    let mut found = after.to_vec();
    for at in [BASE_INDEX, FREE].into_iter().chain(zeros.iter().copied()) {
        found[at] = before[at];
    }
    worker.check(&found);
    // The base is committed, and so many words are zeros.
    for count in [0, 1, zeros.len() / 2, zeros.len().saturating_sub(1)] {
        let mut found = after.to_vec();
        found[FREE] = before[FREE];
        for at in zeros.iter().skip(count) {
            found[*at] = before[*at];
        }
        worker.check(&found);
    }
}

impl Worker {
    /// Takes a step and checks every moment of it.
    pub(super) fn step(&self, step: &Step) {
        let last = Cell::new(self.image());
        let moment = || {
            let image = self.image();
            self.check(&image);
            last.set(image);
        };
        let gone = |record: Record<'_>| {
            moment();
            self.count(record, Fate::Gone);
            moment();
        };
        let released = self.released();
        match *step {
            Step::Push(len, fill) => {
                self.push(bytes(len, fill));
            }
            Step::HandOut(events, every, fate) => self.hand_out(events, every, fate, moment),
            Step::Release(more) => self.queue.release(released + more),
            Step::ReleaseBeyond(words) => {
                self.queue.release_beyond(words);
            }
            Step::Rewind(more) => {
                self.queue.rewind(released + more);
            }
            Step::MakeRoom => {
                self.queue.make_room(Some(gone));
            }
            // Would wait for ever.
            Step::DrainAll if self.has_hole() => {}
            Step::DrainAll => {
                self.queue.drain_all(gone);
            }
            Step::Die(len, with_header, written) => {
                self.claim_and_die(len, with_header, written);
            }
        }
        let (before, after) = (last.take(), self.image());
        self.check(&after);
        assert_eq!(self.committed(&after), self.released());
        if before[BASE_INDEX] != after[BASE_INDEX] {
            between(self, &before, &after);
        }
    }
}

/// A worker that took random steps.
pub(super) fn workers() -> impl Strategy<Value = (Vec<Step>, Vec<Step>, usize, usize)> {
    let first = prop::collection::vec(step(), 0..80);
    (first, last_steps(), 1_usize..20, 8_usize..100)
}

proptest! {
    #[test]
    fn whenever_a_worker_is_killed_what_it_left_is_recovered_exactly(
        (first, last, events, words) in workers(),
    ) {
        let worker = Worker::new(events, words);
        for step in first.iter().chain(&last) {
            worker.step(step);
        }
    }
}
