//! Regions in which something was overwritten on purpose.

use std::time::{Duration, Instant};

use super::*;
use crate::region::{BASE_INDEX, SENT, TAIL, UNDER_WAY};

/// A worker with ten records of 16 bytes, none of them sent.
fn worker() -> Worker {
    let worker = Worker::new(100, 64);
    for number in 0..10 {
        assert!(worker.push(vec![number + 1; 16]));
    }
    worker
}

fn first_bytes(recovered: &Recovered) -> Vec<u8> {
    recovered.events(0).map(|it| it.bytes[0]).collect()
}

#[test]
fn a_record_that_was_overwritten_hides_no_other_one() {
    let worker = worker();
    let ring = worker.layout.ring().start;
    for nth in 0..10_u8 {
        for value in [0, 1, u64::MAX, 1 << 63] {
            let mut found = worker.image();
            found[ring + 3 * usize::from(nth)] = value;
            let recovered = recover_words(&found).unwrap();
            let others: Vec<u8> = (0..10).filter(|it| *it != nth).map(|it| it + 1).collect();
            assert_eq!(
                first_bytes(&recovered),
                others,
                "{value} instead of the header of {nth}"
            );
            assert!(recovered.is_damaged && recovered.holes == 1);
            assert_eq!(recovered.counters.check(), Ok(()));
            // Those behind keep their sequences.
            let last = recovered.events(0).last().unwrap();
            assert_eq!(last.sequence, if nth == 9 { 9 } else { 10 });
        }
    }
}

#[test]
fn cursors_that_cannot_be_are_refused() {
    let worker = worker();
    worker.hand_out(4, 99, Fate::Kept, || ());
    worker.queue.release(2);
    let base = if worker.image()[BASE_INDEX] == 0 {
        49
    } else {
        53
    };
    let with = |at: usize, value: u64| {
        let mut found = worker.image();
        found[at] = value;
        recover_words(&found).map(|it| it.counters.queued)
    };
    let sent = worker.layout.counters().start + SENT;
    assert_eq!(with(sent, 4).unwrap(), 6);
    for (at, value) in [
        (BASE_INDEX, 2),
        (BASE_INDEX, u64::MAX),
        (base, 0),
        (base + 1, 1),
        (base + 2, 3),
        (base + 3, 0),
        (TAIL, 0),
        (TAIL, u64::MAX),
        (sent, 1),
        (sent, 11),
    ] {
        let refused = with(at, value);
        let is_refused = matches!(refused, Err(RecoveryError::Contradiction(_)));
        assert!(is_refused, "{value} at {at}: {refused:?}");
    }
}

#[test]
fn finding_nothing_where_something_has_to_be_is_an_error() {
    let worker = worker();
    let mut found = worker.image();
    found[worker.layout.ring()].fill(u64::MAX);
    let refused = recover_words(&found);
    assert!(matches!(
        refused,
        Err(RecoveryError::NothingFound { expected: 10 })
    ));
    // What was sent was there, so zeros are no holes.
    worker.hand_out(4, 99, Fate::Kept, || ());
    let mut found = worker.image();
    found[worker.layout.ring()].fill(0);
    let refused = recover_words(&found);
    assert!(matches!(
        refused,
        Err(RecoveryError::NothingFound { expected: 10 })
    ));
}

#[test]
fn the_worst_ring_takes_no_longer_than_others() {
    // A header in every word, and a last one that leads nowhere.
    let layout = Layout::new(1 << 22, 0).without_spans();
    let words = lent(layout);
    let region = Region::of(words, layout).unwrap().signed(IDENTITY);
    let limits = QueueLimits {
        events: usize::MAX,
        bytes: 1 << 22,
    };
    let queue = Queue::in_parts(limits, region.control, region.ring);
    let mut count = 0;
    while queue.try_push(&[], 0).is_ok() {
        count += 1;
    }
    let mut found = image(words);
    let last = layout.ring().start + count - 1;
    found[last] ^= 1 << 30;
    let start = Instant::now();
    let recovered = recover_words(&found).unwrap();
    assert_eq!(recovered.events(0).count(), count - 1);
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[test]
fn numbers_at_their_limits_are_no_panic() {
    // What makes a slot of the base whole; whoever wrote it may have known that.
    let slot = |at: u64, number: u64, records: u64| {
        let check = 0x7465_6c65_6d2d_6261 ^ at ^ number.rotate_left(21) ^ records.rotate_left(42);
        [at, number, records, check]
    };
    let worker = worker();
    let counters = worker.layout.counters().start;
    let most = (u64::from(u32::MAX) >> 3) << 35;
    let with = |number: u64, sent: u64, behind: u64| {
        let mut found = worker.image();
        found[worker.layout.ring()].fill(0);
        found[BASE_INDEX] = 0;
        found[49..53].copy_from_slice(&slot(most, number, u64::MAX));
        // One record of so many words is claimed, or none.
        found[TAIL] = if behind == 0 { most } else { behind };
        found[32] = most;
        found[counters + SENT] = sent;
        found[counters + UNDER_WAY] = u64::MAX;
        recover_words(&found).map(|it| it.counters.queued)
    };
    for behind in [0, 3] {
        for (number, sent) in [(0, 0), (0, u64::MAX), (u64::MAX, u64::MAX), (0, 1 << 63)] {
            // Whether it is refused is not the question.
            let _said = with(number, sent, behind);
        }
    }
}
