//! What a queue promises, single-threaded and under threads; orderings are the model's business.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

const ALL: Budget = Budget {
    events: usize::MAX,
    bytes: usize::MAX,
};

fn queue(events: usize, bytes: usize) -> Queue {
    Queue::new(QueueLimits { events, bytes })
}

/// Everything in the queue, as tag and bytes.
fn drain(queue: &Queue, budget: Budget) -> Vec<(u32, Vec<u8>)> {
    let mut records = Vec::new();
    queue.drain_into(
        |record| {
            let mut bytes = Vec::new();
            record.append_to(&mut bytes);
            records.push((record.tag(), bytes));
        },
        budget,
    );
    records
}

fn push(queue: &Queue, record: &[u8]) -> Result<(), Refused> {
    queue.try_push(record, 0).map(|_pushed| ())
}

#[test]
fn full_queue_refuses_by_count_and_by_bytes() {
    let by_count = queue(2, 1_000);
    assert_eq!(push(&by_count, b"a"), Ok(()));
    assert_eq!(push(&by_count, b"b"), Ok(()));
    assert_eq!(push(&by_count, b"c"), Err(Refused::Full));
    assert_eq!((by_count.len(), by_count.bytes()), (2, 32));

    let by_bytes = queue(100, 40);
    assert_eq!(push(&by_bytes, b"abc"), Ok(()));
    assert_eq!(push(&by_bytes, &[0; 17]), Err(Refused::Full));
    assert_eq!(push(&by_bytes, &[0; 16]), Ok(()));
    assert_eq!(by_bytes.bytes(), 40);
    assert!(by_bytes.can_hold(32) && !by_bytes.can_hold(33));
}

#[test]
fn records_come_out_as_they_went_in_wherever_the_ring_wraps() {
    let queue = queue(3, 128);
    let mut next = (0_u32.., 0_u32..);
    for round in 0..200_usize {
        for len in [round % 7, round % 31, round % 11] {
            let tag = next.0.next().expect("endless");
            let fill = u8::try_from(tag % 251).expect("below 251");
            assert!(queue.try_push(&vec![fill; len], tag).is_ok());
        }
        for (tag, bytes) in drain(&queue, ALL) {
            assert_eq!(Some(tag), next.1.next());
            assert!(bytes.iter().all(|byte| u32::from(*byte) == tag % 251));
            let index = tag as usize % 3;
            assert_eq!(bytes.len(), [round % 7, round % 31, round % 11][index]);
        }
    }
    assert_eq!(queue.at_rest().pushed(), 600);
}

#[test]
fn every_length_comes_out_as_it_went_in_at_every_place() {
    for start in 0..64 {
        let queue = queue(1_000, 64 * WORD);
        for length in 0..300 {
            // Moves the place where the next one begins, so that it wraps after each of its bytes.
            assert_eq!(push(&queue, &vec![0xff; start * WORD % 256]), Ok(()));
            let record: Vec<_> = (1..=length).map(|n: u32| n.to_le_bytes()[0]).collect();
            let records = |queue| drain(queue, ALL).into_iter().map(|(_, bytes)| bytes);
            assert_eq!(records(&queue).count(), 1);
            assert_eq!(push(&queue, &record), Ok(()));
            assert_eq!(records(&queue).collect::<Vec<_>>(), [record]);
            let left = queue
                .words
                .iter()
                .filter(|word| word.load(Ordering::Relaxed) != 0);
            assert_eq!(left.count(), 0, "a drained ring is all zeros");
        }
    }
}

#[test]
fn drain_keeps_order_and_budget() {
    let queue = queue(10, 1_000);
    for record in [b"aa", b"bb", b"cc", b"dd"] {
        push(&queue, record).expect("room");
    }
    let bytes = |budget| -> Vec<u8> {
        let records = drain(&queue, budget);
        records.into_iter().flat_map(|(_, bytes)| bytes).collect()
    };
    let three_bytes = Budget {
        events: 10,
        bytes: 3,
    };
    assert_eq!(bytes(three_bytes), b"aabb");
    let one = Budget {
        events: 1,
        bytes: 100,
    };
    assert_eq!(bytes(one), b"cc");
    assert_eq!((queue.len(), queue.bytes()), (1, 16));
}

#[test]
fn only_the_push_that_finds_the_consumer_asleep_has_to_wake_it() {
    let queue = queue(10, 1_000);
    assert_eq!(queue.try_push(b"a", 0), Ok(Pushed { wake: false }));
    assert_eq!(queue.try_sleep(), Sleep::Records);
    drain(&queue, ALL);
    assert_eq!(queue.try_sleep(), Sleep::Granted);
    assert_eq!(queue.try_push(b"b", 0), Ok(Pushed { wake: true }));
    assert_eq!(queue.try_push(b"c", 0), Ok(Pushed { wake: false }));
}

#[test]
fn every_push_to_an_eager_consumer_has_to_wake_it() {
    let queue = queue(10, 1_000);
    queue.set_eager(true);
    for _ in 0..3 {
        assert_eq!(queue.try_push(b"a", 0), Ok(Pushed { wake: true }));
    }
    assert_eq!(drain(&queue, ALL).len(), 3);
    assert_eq!(queue.try_sleep(), Sleep::Granted);
    assert_eq!(queue.try_push(b"b", 0), Ok(Pushed { wake: true }));
    queue.set_eager(false);
    assert_eq!(queue.try_push(b"c", 0), Ok(Pushed { wake: false }));
    assert_eq!((queue.len(), queue.at_rest().pushed()), (2, 5));
    queue.set_eager(true);
    queue.close();
    assert_eq!(push(&queue, b"d"), Err(Refused::Closed));
    assert_eq!(drain(&queue, ALL).len(), 2);
}

#[test]
fn closing_keeps_what_is_in_and_refuses_the_rest() {
    let queue = queue(10, 1_000);
    push(&queue, b"a").expect("room");
    queue.close();
    assert!(queue.is_closed());
    assert_eq!(push(&queue, b"b"), Err(Refused::Closed));
    assert_eq!(drain(&queue, ALL), [(0, b"a".to_vec())]);
}

#[test]
fn a_claimed_record_stalls_the_consumer_and_nobody_else() {
    let queue = queue(10, 1_000);
    // What a producer does that is interrupted between claiming and publishing.
    let tail = queue.tail().load(Ordering::Relaxed);
    let claimed = Cursor::unpack(tail);
    queue
        .tail()
        .store(claim(tail, words_of(1)), Ordering::Relaxed);
    assert_eq!(push(&queue, b"later"), Ok(()));
    assert_eq!(queue.try_sleep(), Sleep::Stalled);
    assert_eq!(drain(&queue, ALL), []);
    assert_eq!((queue.len(), queue.at_rest().tags().count()), (2, 0));
    std::thread::scope(|scope| {
        let closing = scope.spawn(|| queue.close());
        while !queue.is_closed() {
            yield_now();
        }
        assert!(!closing.is_finished(), "it waits for the claimed record");
        queue.publish(claimed, b"x", 7);
    });
    assert_eq!(
        drain(&queue, ALL),
        [(7, b"x".to_vec()), (0, b"later".to_vec())]
    );
}

#[test]
fn a_record_that_does_not_fit_makes_no_other_one_fail() {
    let queue = queue(4, 100);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                assert_eq!(push(&queue, &[0; 101]), Err(Refused::Full));
            }
        });
        let refused = (0..100_000)
            .filter(|_| {
                push(&queue, b"x").is_err() || queue.make_room(Some(|_: Record<'_>| ())).is_none()
            })
            .count();
        done.store(true, Ordering::Release);
        assert_eq!(refused, 0);
    });
}

#[test]
fn concurrent_pushes_are_stored_whole_or_refused_never_both() {
    const EACH: u32 = 5_000;
    let queue = queue(64, 4_096);
    let mut seen = [const { Vec::new() }; 4];
    let mut read = |record: Record<'_>| {
        let mut bytes = Vec::new();
        record.append_to(&mut bytes);
        let tag = record.tag();
        let (producer, number) = (tag / EACH, tag % EACH);
        assert_eq!(bytes, vec![number.to_le_bytes()[0]; (number % 41) as usize]);
        seen[producer as usize].push(number);
    };
    let stored: Vec<Vec<u32>> = std::thread::scope(|scope| {
        let pushers: Vec<_> = (0..4)
            .map(|producer| {
                let queue = &queue;
                scope.spawn(move || {
                    let push = |number: &u32| {
                        let record = vec![number.to_le_bytes()[0]; (*number % 41) as usize];
                        queue.try_push(&record, producer * EACH + number).is_ok()
                    };
                    (0..EACH).filter(push).collect()
                })
            })
            .collect();
        while pushers.iter().any(|pusher| !pusher.is_finished()) {
            queue.drain_into(&mut read, ALL);
            yield_now();
        }
        let join = |pusher: std::thread::ScopedJoinHandle<'_, _>| pusher.join().expect("no panic");
        pushers.into_iter().map(join).collect()
    });
    queue.drain_into(&mut read, ALL);
    assert_eq!(seen.to_vec(), stored);
    assert_eq!((queue.len(), queue.bytes()), (0, 0));
}
