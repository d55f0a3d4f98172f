//! The queue in the model checker, which tries every order that the memory model allows:
//! `cargo xtask loom`.

use loom::sync::Arc;
use loom::thread;

use super::*;

const ALL: Budget = Budget {
    events: usize::MAX,
    bytes: usize::MAX,
};

fn queue(events: usize, words: usize) -> Arc<Queue> {
    let bytes = words * WORD;
    Arc::new(Queue::new(QueueLimits { events, bytes }))
}

/// A record whose bytes all say its tag.
fn push(queue: &Queue, tag: u8) -> Result<Pushed, Refused> {
    queue.try_push(&[tag; 9], u32::from(tag))
}

/// Takes out what is published; every record has to be whole.
fn drain(queue: &Queue) -> Vec<u32> {
    let mut tags = Vec::new();
    queue.drain_into(
        |record| {
            let mut bytes = Vec::new();
            record.append_to(&mut bytes);
            assert_eq!(bytes, [u8::try_from(record.tag()).expect("a byte"); 9]);
            tags.push(record.tag());
        },
        ALL,
    );
    tags
}

#[test]
fn records_of_two_producers_arrive_whole_and_once() {
    loom::model(|| {
        let queue = queue(4, 16);
        let producer = |tag| {
            let queue = Arc::clone(&queue);
            thread::spawn(move || push(&queue, tag).is_ok())
        };
        let (one, two) = (producer(1), producer(2));
        let mut tags = drain(&queue);
        assert!(one.join().unwrap() && two.join().unwrap());
        tags.extend(drain(&queue));
        tags.sort_unstable();
        assert_eq!(tags, [1, 2]);
        assert!(queue.is_empty());
    });
}

#[test]
fn words_that_the_consumer_freed_are_used_again_without_a_trace() {
    loom::model(|| {
        // Room for one record only, so that every push but the first waits for the consumer.
        let queue = queue(4, 4);
        let producer = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || [1, 2].map(|tag| push(&queue, tag).is_ok()))
        };
        let mut tags = drain(&queue);
        let stored = producer.join().unwrap();
        tags.extend(drain(&queue));
        let expected: Vec<u32> = [1, 2]
            .into_iter()
            .zip(stored)
            .filter_map(|(tag, stored)| stored.then_some(tag))
            .collect();
        assert!(stored[0]);
        assert_eq!(tags, expected);
    });
}

#[test]
fn words_of_records_that_are_kept_are_used_again_once_they_are_released() {
    loom::model(|| {
        // Room for two records.
        let queue = queue(4, 8);
        let producer = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || [1, 2, 3].map(|tag| push(&queue, tag).is_ok()))
        };
        let mut tags = Vec::new();
        let mut hand_out = || {
            let keep = |record: Record<'_>| {
                tags.push(record.tag());
                Fate::Kept
            };
            queue.hand_out(keep, ALL);
        };
        hand_out();
        queue.release(1);
        queue.rewind(0);
        hand_out();
        let stored = producer.join().unwrap();
        hand_out();
        assert!(stored[0] && stored[1]);
        tags.dedup();
        let news: Vec<u32> = (1..=3).filter(|tag| tags.contains(tag)).collect();
        let expected = stored.iter().filter(|stored| **stored).count();
        assert_eq!(news.len(), expected);
        queue.release(u64::MAX);
        assert_eq!(queue.bytes(), 0);
    });
}

#[test]
fn a_consumer_that_sleeps_is_woken_by_exactly_one_push() {
    loom::model(|| {
        let queue = queue(4, 16);
        let producer = |tag| {
            let queue = Arc::clone(&queue);
            thread::spawn(move || push(&queue, tag).unwrap().wake)
        };
        let (one, two) = (producer(1), producer(2));
        let sleep = queue.try_sleep();
        let wakes = [one.join().unwrap(), two.join().unwrap()];
        let expected = usize::from(sleep == Sleep::Granted);
        assert_eq!(wakes.into_iter().filter(|wake| *wake).count(), expected);
    });
}

#[test]
fn a_push_is_before_the_consumer_is_eager_and_in_the_queue_or_told_to_wake_it() {
    loom::model(|| {
        let queue = queue(4, 16);
        let producer = |tag| {
            let queue = Arc::clone(&queue);
            thread::spawn(move || push(&queue, tag).unwrap().wake)
        };
        let (one, two) = (producer(1), producer(2));
        queue.set_eager(true);
        let before = queue.len();
        let wakes = [one.join().unwrap(), two.join().unwrap()];
        let told = wakes.into_iter().filter(|wake| *wake).count();
        assert!(before + told >= 2);
        assert!(push(&queue, 3).unwrap().wake, "it stays so");
    });
}

#[test]
fn after_closing_the_queue_holds_exactly_what_was_let_in() {
    loom::model(|| {
        let queue = queue(4, 16);
        let producer = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || push(&queue, 1).is_ok())
        };
        queue.close();
        let in_time = drain(&queue).len();
        assert_eq!(usize::from(producer.join().unwrap()), in_time);
        assert!(drain(&queue).is_empty());
        assert_eq!(push(&queue, 2), Err(Refused::Closed));
    });
}
