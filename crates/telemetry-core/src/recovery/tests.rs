//! What is recovered of a worker that was killed, at any moment, and of what was made of its region then.

mod damaged;
mod killed;
mod mutated;
mod recorder;

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::ledger::WorkerLedger;
use crate::queue::{Budget, Fate, Queue, QueueLimits, Record};
use crate::region::Region;

const ALL: Budget = Budget {
    events: usize::MAX,
    bytes: usize::MAX,
};
const IDENTITY: Identity = Identity {
    pid: 4_711,
    incarnation: 0xfeed << 64 | 0xbeef,
};

/// Words for ever; the process of a test is short.
fn lent(layout: Layout) -> &'static [AtomicU64] {
    Box::leak(bytemuck::zeroed_slice_box(layout.words()))
}

/// What a reader finds.
fn image(words: &[AtomicU64]) -> Vec<u64> {
    let words = words.iter();
    words.map(|word| word.load(Ordering::Relaxed)).collect()
}

fn recover_words(image: &[u64]) -> Result<Recovered, RecoveryError> {
    recover(bytemuck::cast_slice::<u64, u8>(image))
}

/// What was recovered: sequences and bytes above one.
fn events(recovered: &Recovered, after: u64) -> Vec<(u64, Vec<u8>)> {
    let events = recovered.events(after);
    events.map(|it| (it.sequence, it.bytes.to_vec())).collect()
}

/// What became of a record that was claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Waiting,
    Sent(u64),
    Gone,
    /// Its producer died.
    Never,
}

/// A queue and a ledger in a region, used as a recorder does, and what was done to them.
struct Worker {
    words: &'static [AtomicU64],
    layout: Layout,
    queue: Queue,
    ledger: WorkerLedger,
    log: RefCell<Vec<(Vec<u8>, End)>>,
}

impl Worker {
    fn new(events: usize, words: usize) -> Self {
        let bytes = words * size_of::<u64>();
        let limits = QueueLimits { events, bytes };
        let layout = limits.layout(0).without_spans();
        let words = lent(layout);
        let region = Region::of(words, layout)
            .expect("as many words")
            .signed(IDENTITY);
        Self {
            words,
            layout,
            queue: Queue::in_parts(limits, region.control, region.ring),
            ledger: WorkerLedger::in_part(region.counters),
            log: RefCell::default(),
        }
    }

    fn image(&self) -> Vec<u64> {
        image(self.words)
    }

    fn push(&self, bytes: Vec<u8>) -> bool {
        let is_in = self.queue.try_push(&bytes, 3).is_ok();
        if is_in {
            self.log.borrow_mut().push((bytes, End::Waiting));
        }
        is_in
    }

    fn claim_and_die(&self, bytes: usize, with_header: bool, written: usize) -> bool {
        let is_in = self.queue.claim_and_die(bytes, with_header, written);
        if is_in {
            self.log.borrow_mut().push((Vec::new(), End::Never));
        }
        is_in
    }

    /// Counts what becomes of the oldest record that waits.
    fn count(&self, record: Record<'_>, fate: Fate) {
        let mut log = self.log.borrow_mut();
        let oldest = log.iter_mut().find(|it| it.1 == End::Waiting);
        let oldest = oldest.expect("one waits");
        oldest.1 = if fate == Fate::Gone {
            self.ledger.drop_accepted(Reason::Filtered, 1);
            End::Gone
        } else {
            self.ledger.count_sent(record.number());
            End::Sent(record.number())
        };
    }

    /// Hands records out; of those that are new every so manieth is gone. `between` is called before and
    /// after each is counted.
    fn hand_out(&self, events: usize, gone: u32, fate: Fate, between: impl Fn()) {
        let nth = std::cell::Cell::new(0_u32);
        let sink = |record: Record<'_>| {
            between();
            if record.is_repeated() {
                return fate;
            }
            nth.set(nth.get() + 1);
            let fate = if nth.get().is_multiple_of(gone) {
                Fate::Gone
            } else {
                fate
            };
            self.count(record, fate);
            between();
            fate
        };
        self.queue.hand_out(sink, Budget { events, ..ALL });
    }

    /// Number of the last record that was released.
    fn released(&self) -> u64 {
        let resting = self.queue.at_rest();
        resting.sent() - resting.retained()
    }

    fn has_hole(&self) -> bool {
        self.log.borrow().iter().any(|it| it.1 == End::Never)
    }

    /// What has to be recovered above a sequence.
    fn expected(&self, after: u64) -> Vec<(u64, Vec<u8>)> {
        let mut next = self.ledger.sent();
        let log = self.log.borrow();
        let events = log.iter().filter_map(|(bytes, end)| {
            let sequence = match end {
                End::Sent(sequence) => *sequence,
                End::Waiting => {
                    next += 1;
                    next
                }
                End::Gone | End::Never => return None,
            };
            (sequence > after).then(|| (sequence, bytes.clone()))
        });
        events.collect()
    }

    /// Number of the last record that an image says was released.
    fn committed(&self, image: &[u64]) -> u64 {
        let ends = Ends::find(image, self.layout.ring().len());
        ends.expect("a base").number()
    }

    /// Whether what a reader finds is recovered exactly.
    fn check(&self, image: &[u64]) {
        let recovered = recover_words(image).expect("a valid region");
        assert_eq!(recovered.identity, IDENTITY);
        assert_eq!(events(&recovered, 0), self.expected(self.committed(image)));
        let (last, _) = events(&recovered, 0).pop().unwrap_or_default();
        assert_eq!(events(&recovered, last), []);
        let log = self.log.borrow();
        let count = |end| log.iter().filter(|it| it.1 == end).count() as u64;
        assert_eq!(recovered.holes, count(End::Never));
        assert!(!recovered.is_damaged);
        assert_eq!(recovered.counters.check(), Ok(()));
        let waiting = count(End::Waiting) + count(End::Never);
        assert_eq!(recovered.counters.queued, waiting);
        assert_eq!(recovered.counters.emitted, log.len() as u64);
        assert_eq!(recovered.counters.sent, self.ledger.sent());
    }
}

#[test]
fn an_empty_region_holds_nothing_and_a_foreign_one_is_none() {
    let worker = Worker::new(10, 64);
    worker.check(&worker.image());
    let mut fresh = worker.image();
    fresh[8..].fill(0);
    assert_eq!(
        recover_words(&fresh).expect("a region").events(0).count(),
        0
    );
    let mut unsigned = worker.image();
    unsigned[0] = 0;
    let refused = recover_words(&unsigned);
    assert!(matches!(refused, Err(RecoveryError::Region(_))));
    let whole = worker.image();
    let cut = recover_words(&whole[..whole.len() - 1]);
    assert!(matches!(cut, Err(RecoveryError::Region(_))));
    assert!(matches!(recover_words(&[]), Err(RecoveryError::Read(_))));
}

#[test]
fn a_full_ring_is_recovered_wherever_it_begins() {
    for start in 0..16 {
        let worker = Worker::new(100, 16);
        for _ in 0..start {
            assert!(worker.push(Vec::new()));
            worker.hand_out(1, u32::MAX, Fate::Sent, || ());
        }
        for number in 0..5 {
            assert!(worker.push(vec![number; 16]));
        }
        assert!(!worker.push(vec![9; 16]));
        worker.check(&worker.image());
        worker.hand_out(3, 2, Fate::Kept, || ());
        worker.check(&worker.image());
    }
}

#[test]
fn what_hides_behind_holes_is_found_around_the_end_of_a_full_ring() {
    for start in 0..16 {
        for (with_header, written) in [(false, 0), (true, 0), (true, 1), (true, 9)] {
            let worker = Worker::new(100, 16);
            for _ in 0..start {
                assert!(worker.push(Vec::new()));
                worker.hand_out(1, u32::MAX, Fate::Sent, || ());
            }
            assert!(worker.push(vec![1; 8]));
            assert!(worker.claim_and_die(16, with_header, written));
            assert!(worker.push(vec![0; 8]), "zeros are bytes as others");
            assert!(worker.claim_and_die(8, false, 0));
            assert!(worker.claim_and_die(8, with_header, written));
            assert!(worker.push(vec![3; 16]));
            assert!(!worker.push(vec![9; 8]));
            worker.check(&worker.image());
        }
    }
}

#[test]
fn holes_and_nothing_else_are_no_error() {
    let worker = Worker::new(100, 16);
    assert!(worker.claim_and_die(16, false, 0));
    assert!(worker.claim_and_die(8, false, 0));
    worker.check(&worker.image());
}
