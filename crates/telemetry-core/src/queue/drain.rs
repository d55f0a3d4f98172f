//! The consumer's side of the queue: records out, zeros behind.

use std::fmt;

use super::{Cursor, Header, Queue, WORD, words_of};
use crate::sync::{AtomicU64, MutexGuard, Ordering, yield_now};

/// Records after which a long drain tells producers that there is room.
const TELL_EVERY: usize = 32;

/// How much one [`Queue::drain_into`] may take.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// Most records.
    pub events: usize,
    /// Stop after the record that reaches this many bytes.
    pub bytes: usize,
}

/// What a drain took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Drained {
    /// Records.
    pub events: usize,
    /// Their bytes.
    pub bytes: usize,
}

/// One record as it lies in the queue.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Its words up to the end of the ring; the last one is filled up with zeros.
    front: &'a [AtomicU64],
    /// Its words from the start of the ring on.
    back: &'a [AtomicU64],
    /// Length and tag.
    header: Header,
}

impl Record<'_> {
    /// Its length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.header.len
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.header.len == 0
    }

    /// The number it was pushed with.
    #[must_use]
    pub fn tag(&self) -> u32 {
        self.header.tag
    }

    /// Appends its bytes.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + (self.front.len() + self.back.len()) * WORD, 0);
        let (chunks, _none) = out[start..].as_chunks_mut::<WORD>();
        for (chunk, word) in chunks.iter_mut().zip(self.front.iter().chain(self.back)) {
            *chunk = word.load(Ordering::Relaxed).to_le_bytes();
        }
        out.truncate(start + self.header.len);
    }
}

/// What the one that takes records out knows.
#[derive(Debug)]
pub(super) struct Consumer {
    /// Where the oldest record begins.
    head: Cursor,
    /// Records ever taken out.
    taken: u64,
}

impl Default for Consumer {
    fn default() -> Self {
        Self {
            head: Cursor::unpack(0),
            taken: 0,
        }
    }
}

impl Consumer {
    /// Where the oldest record begins.
    pub(super) fn head(&self) -> Cursor {
        self.head
    }
}

/// A queue from which nothing is taken out.
pub struct Resting<'a> {
    queue: &'a Queue,
    consumer: MutexGuard<'a, Consumer>,
    /// Where the next record was claimed when the view was made.
    end: Cursor,
}

impl fmt::Debug for Resting<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resting")
            .field("pushed", &self.pushed())
            .field("queued", &self.queued())
            .finish()
    }
}

impl<'a> Resting<'a> {
    pub(super) fn new(queue: &'a Queue, consumer: MutexGuard<'a, Consumer>) -> Self {
        let end = Cursor::unpack(queue.tail.load(Ordering::Acquire));
        Self {
            queue,
            consumer,
            end,
        }
    }

    /// Records ever let in.
    #[must_use]
    pub fn pushed(&self) -> u64 {
        self.consumer.taken + self.queued()
    }

    /// Records in the queue.
    #[must_use]
    pub fn queued(&self) -> u64 {
        self.end.since(self.consumer.head).records as u64
    }

    /// The tags of the records in the queue, oldest first, up to one that is not yet published.
    pub fn tags(&self) -> impl Iterator<Item = u32> + use<'_> {
        let mut at = self.consumer.head;
        std::iter::from_fn(move || {
            let header = (at != self.end).then(|| self.queue.header(at)).flatten()?;
            at = at.after(words_of(header.len));
            Some(header.tag)
        })
    }
}

impl Queue {
    /// Hands records to `sink`, oldest first, until the queue is empty, the oldest record is not yet
    /// published, or the budget is spent.
    pub fn drain_into(&self, mut sink: impl FnMut(Record<'_>), budget: Budget) -> Drained {
        let mut consumer = self.consumer();
        let mut drained = Drained::default();
        while drained.events < budget.events && drained.bytes < budget.bytes {
            let Some(record) = self.oldest(&consumer) else {
                break;
            };
            sink(record);
            drained.events += 1;
            drained.bytes += record.len();
            self.free(&mut consumer, record);
            if drained.events.is_multiple_of(TELL_EVERY) {
                self.tell(&consumer);
            }
        }
        self.tell(&consumer);
        drained
    }

    /// Hands everything that is claimed by now to `sink`, waiting for what is not yet published, and
    /// returns how many records that were.
    pub fn drain_all(&self, mut sink: impl FnMut(Record<'_>)) -> u64 {
        let end = Cursor::unpack(self.tail.load(Ordering::Acquire));
        let mut count = 0;
        let mut consumer = self.consumer();
        // Another consumer may have been faster.
        let mut left = end.since(consumer.head).records;
        if left > self.max_records {
            left = 0;
        }
        while left > 0 {
            let Some(record) = self.oldest(&consumer) else {
                yield_now();
                continue;
            };
            sink(record);
            self.free(&mut consumer, record);
            left -= 1;
            count += 1;
        }
        self.tell(&consumer);
        count
    }

    /// Takes the oldest record out, if it is published.
    pub fn take_oldest(&self, sink: impl FnMut(Record<'_>)) -> bool {
        let one = Budget {
            events: 1,
            bytes: usize::MAX,
        };
        self.drain_into(sink, one).events == 1
    }

    /// The oldest record, if it is published.
    fn oldest(&self, consumer: &Consumer) -> Option<Record<'_>> {
        let header = self.header(consumer.head)?;
        let words = words_of(header.len) - 1;
        let (before, rest) = self.words.split_at(self.index(consumer.head));
        let after = &rest[1..];
        let front = &after[..words.min(after.len())];
        Some(Record {
            front,
            back: &before[..words - front.len()],
            header,
        })
    }

    /// Leaves zeros where a record was and goes on to the next one.
    fn free(&self, consumer: &mut Consumer, record: Record<'_>) {
        for word in record.front.iter().chain(record.back) {
            word.store(0, Ordering::Relaxed);
        }
        self.words[self.index(consumer.head)].store(0, Ordering::Relaxed);
        consumer.head = consumer.head.after(words_of(record.len()));
        consumer.taken += 1;
    }

    /// Lets producers use the words before the head.
    fn tell(&self, consumer: &Consumer) {
        // Release: whoever claims them sees the zeros.
        self.head.store(consumer.head.pack(), Ordering::Release);
    }
}
