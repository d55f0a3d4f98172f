//! What the queue keeps until it is released, against a list that does the same in plain words.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

/// What may be done to a queue.
#[derive(Debug, Clone)]
enum Step {
    Push(usize),
    /// Hands out so many; those whose number divides by the second are gone, the others have this fate.
    HandOut(usize, u32, Fate),
    Release(u64),
    ReleaseBeyond(usize),
    Rewind(u64),
    MakeRoom,
    DrainAll,
}

fn step() -> impl Strategy<Value = Step> {
    let fate = prop_oneof![3 => Just(Fate::Kept), 1 => Just(Fate::Sent)];
    prop_oneof![
        6 => (0_usize..60).prop_map(Step::Push),
        4 => (1_usize..6, 2_u32..9, fate).prop_map(|(n, gone, fate)| Step::HandOut(n, gone, fate)),
        2 => (0_u64..12).prop_map(Step::Release),
        1 => (0_usize..40).prop_map(Step::ReleaseBeyond),
        2 => (0_u64..12).prop_map(Step::Rewind),
        1 => Just(Step::MakeRoom),
        1 => Just(Step::DrainAll),
    ]
}

/// One record of the list: its tag, its length, and its number once it has one; none if it was dropped.
#[derive(Debug, Clone, Copy)]
struct Kept {
    tag: u32,
    len: usize,
    number: Option<u64>,
}

/// The list.
#[derive(Debug, Default)]
struct List {
    kept: VecDeque<Kept>,
    /// Which of them is handed out next.
    next: usize,
    waiting: VecDeque<Kept>,
    released: u64,
    sent: u64,
    taken: u64,
}

impl List {
    fn words(&self) -> usize {
        let all = self.kept.iter().chain(&self.waiting);
        all.map(|it| words_of(it.len)).sum()
    }

    /// What is dropped at the front stays nowhere.
    fn release_one(&mut self) -> u64 {
        let was_sent = self.kept.pop_front().is_some_and(|it| it.number.is_some());
        self.released += u64::from(was_sent);
        self.next = self.next.saturating_sub(1);
        self.pass_dropped();
        u64::from(was_sent)
    }

    fn pass_dropped(&mut self) {
        while self
            .kept
            .get(self.next)
            .is_some_and(|it| it.number.is_none())
        {
            self.next += 1;
        }
    }

    /// The oldest that waits has this fate.
    fn settle(&mut self, fate: Fate) -> Option<Kept> {
        let mut record = self.waiting.pop_front()?;
        self.taken += 1;
        let follows = self.next == self.kept.len();
        if fate != Fate::Gone {
            self.sent += 1;
            record.number = Some(self.sent);
        }
        if self.kept.is_empty() && fate != Fate::Kept {
            self.released = self.sent;
        } else {
            self.kept.push_back(record);
            if follows {
                self.next = self.kept.len();
            }
        }
        Some(record)
    }
}

proptest! {
    #[test]
    fn a_queue_keeps_and_repeats_what_a_list_does(
        steps in prop::collection::vec(step(), 1..200),
        events in 1_usize..20,
        words in 8_usize..100,
    ) {
        let queue = Queue::new(QueueLimits { events, bytes: words * WORD });
        let mut list = List::default();
        let mut tag = 0_u32;
        for step in steps {
            match step {
                Step::Push(len) => {
                    tag += 1;
                    let fits = list.waiting.len() < events
                        && list.words() + words_of(len) <= queue.max_words;
                    let bytes = vec![tag.to_le_bytes()[0]; len];
                    prop_assert_eq!(queue.try_push(&bytes, tag).is_ok(), fits);
                    if fits {
                        list.waiting.push_back(Kept { tag, len, number: None });
                    }
                }
                Step::HandOut(events, gone, fate) => {
                    let fate = |tag: u32| if tag.is_multiple_of(gone) { Fate::Gone } else { fate };
                    let mut got = Vec::new();
                    queue.hand_out(
                        |record| {
                            let mut bytes = Vec::new();
                            record.append_to(&mut bytes);
                            assert!(bytes.iter().all(|byte| *byte == record.tag().to_le_bytes()[0]));
                            got.push((record.tag(), bytes.len(), record.number(), record.is_repeated()));
                            fate(record.tag())
                        },
                        Budget { events, bytes: usize::MAX },
                    );
                    let mut expected = Vec::new();
                    while expected.len() < events {
                        if let Some(again) = list.kept.get(list.next) {
                            expected.push((again.tag, again.len, again.number.unwrap(), true));
                            list.next += 1;
                            list.pass_dropped();
                        } else if let Some(first) = list.waiting.front().copied() {
                            expected.push((first.tag, first.len, list.sent + 1, false));
                            list.settle(fate(first.tag));
                        } else {
                            break;
                        }
                    }
                    prop_assert_eq!(got, expected);
                }
                Step::Release(more) => {
                    let number = list.released + more;
                    queue.release(number);
                    while list.kept.front().is_some_and(|it| {
                        it.number.is_none_or(|it| it <= number)
                    }) {
                        list.release_one();
                    }
                }
                Step::ReleaseBeyond(words) => {
                    let mut released = 0;
                    while list.kept.iter().map(|it| words_of(it.len)).sum::<usize>() > words {
                        released += list.release_one();
                    }
                    prop_assert_eq!(queue.release_beyond(words), released);
                }
                Step::Rewind(more) => {
                    let number = list.released + more;
                    list.next = list.kept.iter().position(|it| it.number.is_some_and(|it| it > number))
                        .unwrap_or(list.kept.len());
                    prop_assert_eq!(queue.rewind(number), number.min(list.sent));
                }
                Step::MakeRoom => {
                    let mut evicted = Vec::new();
                    let made = queue.make_room(Some(|record: Record<'_>| evicted.push(record.tag())));
                    let expected = if !list.kept.is_empty() && list.waiting.len() < events {
                        Some(list.release_one())
                    } else {
                        let gone = list.settle(Fate::Gone);
                        prop_assert_eq!(evicted.first().copied(), gone.map(|it| it.tag));
                        gone.map(|_| 0)
                    };
                    prop_assert_eq!(made, expected);
                }
                Step::DrainAll => {
                    let mut tags = Vec::new();
                    let count = queue.drain_all(|record| tags.push(record.tag()));
                    let mut expected = Vec::new();
                    while let Some(gone) = list.settle(Fate::Gone) {
                        expected.push(gone.tag);
                    }
                    prop_assert_eq!((count, tags), (expected.len() as u64, expected));
                }
            }
            let resting = queue.at_rest();
            prop_assert_eq!(resting.sent(), list.sent);
            prop_assert_eq!(resting.retained(), list.sent - list.released);
            prop_assert_eq!(resting.queued(), list.waiting.len() as u64);
            prop_assert_eq!(resting.pushed(), list.taken + list.waiting.len() as u64);
            prop_assert_eq!(resting.is_rewound(), list.next != list.kept.len());
            drop(resting);
            prop_assert_eq!((queue.len(), queue.bytes()), (list.waiting.len(), list.words() * WORD));
        }
        queue.drain_all(|_| ());
        queue.release(u64::MAX);
        let left = queue.words.iter().filter(|word| word.load(Ordering::Relaxed) != 0);
        prop_assert_eq!(left.count(), 0, "a queue that keeps nothing is all zeros");
    }
}

#[test]
fn a_full_ring_does_not_take_its_oldest_record_for_the_next_one() {
    // As many words as the ring has, but for the one that stays free.
    let queue = Queue::new(QueueLimits {
        events: 100,
        bytes: 16 * WORD,
    });
    let all = Budget {
        events: usize::MAX,
        bytes: usize::MAX,
    };
    for number in 0..5_u8 {
        assert!(queue.try_push(&[number; 16], 0).is_ok());
    }
    assert!(queue.try_push(&[9; 16], 0).is_err());
    assert_eq!(queue.hand_out(|_| Fate::Kept, all).events, 5);
    assert_eq!(queue.hand_out(|_| Fate::Kept, all).events, 0);
    assert_eq!(queue.try_sleep(), Sleep::Granted);
    assert!(queue.try_push(&[9; 16], 0).is_err(), "all of it is kept");
    queue.release(1);
    assert_eq!(queue.try_push(&[9; 16], 0), Ok(Pushed { wake: true }));
}

#[test]
fn what_waits_makes_a_batch_whatever_is_kept() {
    let queue = Queue::new(QueueLimits {
        events: 8_192,
        bytes: 1 << 20,
    });
    let push = || queue.try_push(&[1; 1_000], 0).expect("room").wake;
    let all = Budget {
        events: usize::MAX,
        bytes: usize::MAX,
    };
    for round in 0..5 {
        let woke: Vec<_> = (1..=100).filter(|_| push()).collect();
        assert_eq!(woke, [61], "round {round}");
        assert!(queue.has_batch());
        queue.hand_out(|_| Fate::Kept, all);
        assert!(!queue.has_batch());
    }
}
