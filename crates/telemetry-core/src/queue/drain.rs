//! The consumer's side of the queue: records out, kept until they are released, zeros behind.

mod record;

use super::base::Base;
use super::cursor::Distance;
use super::header::Header;
use super::{Cursor, Queue};
use crate::mistake::{Mistake, is_planted};
use crate::sync::{AtomicU64, Ordering, yield_now};

pub use record::Record;

/// Records after which a long drain tells producers that there is room.
const TELL_EVERY: usize = 32;

/// How much one [`Queue::hand_out`] may take.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// Most records.
    pub events: usize,
    /// Stop after the record that reaches this many bytes.
    pub bytes: usize,
}

/// What was handed out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// Records.
    pub events: usize,
    /// Their bytes.
    pub bytes: usize,
}

/// What becomes of a record that is handed out for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It was sent under its number, and stays until it is released.
    Kept,
    /// It was sent under its number, and nobody will ask for it again.
    Sent,
    /// It has no number: it was dropped, or went another way.
    Gone,
}

/// A place between two records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Where.
    pub(super) at: Cursor,
    /// Number of the last record before it that was sent.
    pub(super) number: u64,
}

/// What the one that takes records out knows: `base ≤ next ≤ sent`. What is handed out next was not dropped.
#[derive(Debug)]
pub(super) struct Consumer {
    /// Before it the words are free.
    pub(super) base: Place,
    /// The record that is handed out next; before `sent` after a rewind.
    pub(super) next: Place,
    /// The oldest record that was never handed out.
    pub(super) sent: Place,
    /// Records ever handed out.
    pub(super) taken: u64,
    /// Before it there are only zeros. Between it and the base lies what was released a moment ago.
    pub(super) cleared: Cursor,
}

impl Default for Consumer {
    fn default() -> Self {
        let start = Place {
            at: Cursor::START,
            number: 0,
        };
        Self {
            base: start,
            next: start,
            sent: start,
            taken: 0,
            cleared: start.at,
        }
    }
}

impl Queue {
    /// Hands records to `sink`, oldest first, until there is no further one, the next one is not yet
    /// published, or the budget is spent. What `sink` says of a repeated one changes nothing.
    pub fn hand_out(&self, mut sink: impl FnMut(Record<'_>) -> Fate, budget: Budget) -> Drained {
        let mut consumer = self.consumer();
        let mut drained = Drained::default();
        while drained.events < budget.events && drained.bytes < budget.bytes {
            let Some(record) = self.next(&consumer) else {
                break;
            };
            let fate = sink(record);
            drained.events += 1;
            drained.bytes += record.len();
            if record.repeated {
                let behind = Place {
                    at: consumer.next.at.after(record.header.words()),
                    number: record.number,
                };
                consumer.next = self.pass_dropped(behind, &consumer);
            } else {
                self.settle(&mut consumer, record.header, fate);
            }
            if drained.events.is_multiple_of(TELL_EVERY) {
                self.tell(&mut consumer);
            }
        }
        self.tell(&mut consumer);
        drained
    }

    /// Hands out records that were not handed out before, are kept by nobody and get no number.
    pub fn drain_into(&self, mut sink: impl FnMut(Record<'_>), budget: Budget) -> Drained {
        {
            let mut consumer = self.consumer();
            consumer.next = consumer.sent;
        }
        let gone = |record: Record<'_>| {
            sink(record);
            Fate::Gone
        };
        self.hand_out(gone, budget)
    }

    /// Hands everything that is claimed by now and was never handed out to `sink`, waiting for what is
    /// not yet published, and returns how many records that were. None of them gets a number.
    pub fn drain_all(&self, mut sink: impl FnMut(Record<'_>)) -> u64 {
        let end = Cursor::unpack(self.tail().load(Ordering::Acquire));
        let mut count = 0;
        let mut consumer = self.consumer();
        // Another consumer may have been faster.
        let mut left = end.since(consumer.sent.at).records;
        if left > self.max_records {
            left = 0;
        }
        while left > 0 {
            if !self.take_unsent(&mut consumer, &mut sink) {
                yield_now();
                continue;
            }
            left -= 1;
            count += 1;
        }
        self.tell(&mut consumer);
        count
    }

    /// Makes room for a record that found none. Where words stand in its way, the oldest one that is kept is
    /// released. Else, with a `sink`, the oldest one that was never handed out is given to that and gone.
    /// Returns how many were released; `None` if there was nothing to be had.
    pub fn make_room(&self, sink: Option<impl FnMut(Record<'_>)>) -> Option<u64> {
        let mut consumer = self.consumer();
        let end = Cursor::unpack(self.tail().load(Ordering::Acquire));
        let has_kept = consumer.base.at != consumer.sent.at;
        let made = if has_kept && end.since(consumer.sent.at).records < self.max_records {
            Some(u64::from(self.release_one(&mut consumer)))
        } else {
            let evicted = sink.is_some_and(|sink| self.take_unsent(&mut consumer, sink));
            evicted.then_some(0)
        };
        self.tell(&mut consumer);
        made
    }

    /// Releases the records that were sent up to this number.
    pub fn release(&self, number: u64) {
        let mut consumer = self.consumer();
        let mut told = 0;
        while consumer.base.at != consumer.sent.at
            && (consumer.base.number < number || self.is_dropped(consumer.base.at))
        {
            self.release_one(&mut consumer);
            told += 1;
            if told % TELL_EVERY == 0 {
                self.tell(&mut consumer);
            }
        }
        self.tell(&mut consumer);
    }

    /// Releases the oldest records that were sent until those that are kept take no more words than
    /// this, and returns how many that were.
    pub fn release_beyond(&self, words: usize) -> u64 {
        let mut consumer = self.consumer();
        if consumer.kept().words <= words {
            return 0;
        }
        let mut released = 0;
        while consumer.kept().words > words {
            released += u64::from(self.release_one(&mut consumer));
        }
        self.tell(&mut consumer);
        released
    }

    /// Has the records that are kept and have numbers above this one handed out again, before all
    /// others. Returns the number of the last one before those.
    pub fn rewind(&self, number: u64) -> u64 {
        let mut consumer = self.consumer();
        let mut place = self.pass_dropped(consumer.base, &consumer);
        while place.number < number.min(consumer.sent.number)
            && let Some(header) = self.header(place.at)
        {
            let behind = Place {
                at: place.at.after(header.words()),
                number: place.number + 1,
            };
            place = self.pass_dropped(behind, &consumer);
        }
        consumer.next = place;
        place.number
    }

    /// The next record to hand out, if it is published.
    fn next(&self, consumer: &Consumer) -> Option<Record<'_>> {
        let header = self.header(consumer.next.at)?;
        let repeated = consumer.next.at != consumer.sent.at;
        Some(self.record(consumer.next, header, repeated))
    }

    /// The first record from a place on that is kept, or the place of the first that waits.
    fn pass_dropped(&self, mut place: Place, consumer: &Consumer) -> Place {
        while place.at != consumer.sent.at
            && let Some(header) = self.header(place.at)
            && header.is_dropped()
            && !is_planted(Mistake::ForgetsTheMark)
        {
            place.at = place.at.after(header.words());
        }
        place
    }

    /// Takes the oldest record that was never handed out for good, if it is published.
    fn take_unsent(&self, consumer: &mut Consumer, mut sink: impl FnMut(Record<'_>)) -> bool {
        let Some(header) = self.header(consumer.sent.at) else {
            return false;
        };
        sink(self.record(consumer.sent, header, false));
        self.settle(consumer, header, Fate::Gone);
        true
    }

    /// The record behind a place.
    #[inline]
    fn record(&self, place: Place, header: Header, repeated: bool) -> Record<'_> {
        let (front, back) = self.body(place.at, header);
        Record {
            front,
            back,
            header,
            number: place.number + 1,
            repeated,
        }
    }

    /// The words of a record behind its header: up to the end of the ring, and from its start on.
    #[inline]
    fn body(&self, at: Cursor, header: Header) -> (&[AtomicU64], &[AtomicU64]) {
        let words = header.words() - 1;
        let (before, rest) = self.words.split_at(self.index(at));
        let after = &rest[1..];
        let front = &after[..words.min(after.len())];
        (front, &before[..words - front.len()])
    }

    /// Goes on behind the oldest record that was never handed out before.
    #[inline]
    fn settle(&self, consumer: &mut Consumer, header: Header, fate: Fate) {
        let at = consumer.sent.at;
        let follows = consumer.next.at == at;
        consumer.taken += 1;
        consumer.sent = Place {
            at: at.after(header.words()),
            number: consumer.sent.number + u64::from(fate != Fate::Gone),
        };
        if fate == Fate::Gone {
            self.words[self.index(at)].store(header.dropped(), Ordering::Release);
        }
        if consumer.base.at == at && fate != Fate::Kept {
            consumer.base = consumer.sent;
        }
        if follows {
            consumer.next = consumer.sent;
        }
    }

    /// Releases the oldest record that was handed out, and says whether it was sent. There is one.
    fn release_one(&self, consumer: &mut Consumer) -> bool {
        let at = consumer.base.at;
        let Some(header) = self.header(at) else {
            // Cannot be: what was handed out was published.
            consumer.base = consumer.sent;
            consumer.next = consumer.sent;
            return false;
        };
        let follows = consumer.next.at == at;
        let was_sent = !header.is_dropped();
        consumer.base = Place {
            at: at.after(header.words()),
            number: consumer.base.number + u64::from(was_sent),
        };
        if follows {
            consumer.next = self.pass_dropped(consumer.base, consumer);
        }
        was_sent
    }

    /// Whether the record that begins here was dropped.
    fn is_dropped(&self, at: Cursor) -> bool {
        self.header(at).is_some_and(Header::is_dropped)
    }

    /// Lets producers use the words before the base, and tells them how much waits.
    fn tell(&self, consumer: &mut Consumer) {
        if consumer.cleared != consumer.base.at {
            self.commit(Base {
                at: consumer.base.at,
                number: consumer.base.number,
                records: consumer.taken - consumer.kept().records as u64,
            });
            self.clear(consumer.cleared, consumer.base.at);
            consumer.cleared = consumer.base.at;
        }
        let batch = self.batch_behind(consumer.sent.at);
        self.batch_at().store(batch.into(), Ordering::Relaxed);
        // Release: whoever claims the words sees the zeros.
        let front = consumer.sent.at.pack_with_words_of(consumer.base.at);
        self.free().store(front, Ordering::Release);
    }

    /// Leaves zeros where records were.
    fn clear(&self, from: Cursor, to: Cursor) {
        let words = to.since(from).words;
        let (before, front) = self.words.split_at(self.index(from));
        let front = &front[..words.min(front.len())];
        // One after the other: a loop over both in a chain takes longer.
        for words in [front, &before[..words - front.len()]] {
            for word in words {
                word.store(0, Ordering::Relaxed);
            }
        }
    }
}

impl Consumer {
    /// What was handed out and is kept.
    fn kept(&self) -> Distance {
        self.sent.at.since(self.base.at)
    }
}
