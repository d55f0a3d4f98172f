//! The bounded queue of encoded records between emitting threads and the one that sends.
//!
//! It holds bytes and has never heard of events. It has two bounds, records and bytes, and pushing
//! never waits: what does not fit is refused and the caller counts it. It must not be touched in a
//! forked child, where a thread that held a place no longer exists.
//!
//! # How it works
//!
//! The records lie one behind the other in a ring of 64-bit words, each after a header word. A
//! producer *claims* its words by moving the tail with one compare-and-swap, which also checks both
//! bounds, refuses after [`close`](Queue::close) and tells whether the consumer sleeps; then it writes
//! how long the record is, copies the bytes and *publishes* them by writing the header again. A word of
//! zero where a header should be is a record that was claimed a moment ago, so the consumer leaves only
//! zeros behind itself. Consumers exclude each other with a lock that no push takes.
//!
//! A record that was handed out may be kept until it is released, to be handed out again:
//!
//! ```text
//!   free │ sent and kept │ sent, to be sent again │ waiting │ free
//!       base            next                     sent      tail
//! ```
//!
//! Records that are kept get consecutive numbers. One that was dropped behind others that are kept is
//! marked, and passed over by whoever counts. The bound of records is about those that wait, the bound
//! of bytes about all. One word always stays free, or the oldest header would lie where the next one is
//! expected.
//!
//! Cursors and ring lie in a region, which may outlive the process. So whoever releases records first
//! commits the base, in one of two slots, and then leaves zeros; and a record that is gone is marked,
//! even where it is released in the same breath.
//!
//! Every word is an atomic, so there is nothing unsafe here: on the machines we know, relaxed loads
//! and stores of words cost what plain ones do.

mod base;
mod cursor;
mod drain;
mod header;
mod remains;
mod resting;
mod write;

#[cfg(all(test, not(loom)))]
mod kept_tests;
#[cfg(all(test, loom))]
mod model;
#[cfg(all(test, not(loom)))]
mod planted;
#[cfg(all(test, not(loom)))]
mod tests;

use std::fmt;
use std::sync::PoisonError;

use crossbeam_utils::CachePadded;

use crate::region::{BATCH_AT, CONTROL_WORDS, FREE, Layout, Part, Region, TAIL};
use crate::sync::{AtomicU64, Mutex, MutexGuard, Ordering, yield_now};
use base::Base;
use cursor::{Cursor, EAGER, IDLE, MAX_RECORDS, OPEN, claim, reaches, used};
use drain::Consumer;
use header::Header;
use write::{write, write_in_two};

pub use drain::{Budget, Drained, Fate, Record};
pub use header::MAX_TAG;
#[cfg(all(test, not(loom)))]
pub(crate) use planted::almost_header;
pub(crate) use remains::{Ends, Remains};
pub use resting::Resting;

/// Records that a queue holds unless configured otherwise.
pub const DEFAULT_QUEUE_EVENTS: usize = 8_192;
/// Bytes that a queue holds unless configured otherwise.
pub const DEFAULT_QUEUE_BYTES: usize = 1024 * 1024;

/// Most records that make a batch, and fewest, however small the queue is.
const MAX_BATCH_RECORDS: usize = 512;
const MIN_BATCH_RECORDS: usize = 8;
/// Most words that make a batch, 60 KiB, and fewest.
const MAX_BATCH_WORDS: usize = 60 * 1024 / WORD;
const MIN_BATCH_WORDS: usize = 512;

/// Bytes of one word.
const WORD: usize = size_of::<u64>();
/// Longest record.
pub const MAX_RECORD_BYTES: usize = (1 << 26) - 1;

/// The two bounds of a [`Queue`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueLimits {
    /// Most records that wait at once; at least 1.
    pub events: usize,
    /// Most bytes of memory at once over all records, those included that were sent and are kept. Each
    /// takes 8 bytes more than it has and is filled up to a multiple of 8. At most 64 MiB; of a power
    /// of two one word less.
    pub bytes: usize,
}

impl QueueLimits {
    /// So many records, and so many bytes over all of them.
    #[must_use]
    pub const fn new(events: usize, bytes: usize) -> Self {
        Self { events, bytes }
    }

    /// The layout of a region with a ring for these, and with room for so many names.
    #[must_use]
    pub fn layout(self, callsites: usize) -> Layout {
        Layout::new(self.bytes, callsites)
    }
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self {
            events: DEFAULT_QUEUE_EVENTS,
            bytes: DEFAULT_QUEUE_BYTES,
        }
    }
}

/// Why a record was not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// There was no room.
    #[error("the queue is full")]
    Full,
    /// It takes no more records.
    #[error("the queue is closed")]
    Closed,
}

/// A record was stored.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pushed {
    /// Whether the caller has to wake the consumer. Nobody else has to if it sleeps, or lets records
    /// gather and has a batch of them now; everybody has to of an eager one.
    pub wake: bool,
}

/// What became of a consumer's wish to sleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sleep {
    /// The next push is told to wake it.
    Granted,
    /// There are records to drain.
    Records,
    /// The oldest record is claimed and not yet published; its producer was interrupted. Look again
    /// later, nobody will wake you for it.
    Stalled,
}

/// A bounded multi-producer queue of byte records in order of arrival, which lives in a region.
pub struct Queue {
    /// Where the next record is claimed, and the flags; what the consumer last told; the base.
    control: Part<[AtomicU64; CONTROL_WORDS]>,
    /// The ring; its length is a power of two.
    words: Part<[AtomicU64]>,
    /// Bound of records.
    max_records: usize,
    /// Bound of words.
    max_words: usize,
    /// Records that make a batch.
    batch_records: usize,
    /// Words that make a batch.
    batch_words: usize,
    /// The consumer's own state, locked while records are taken out. Producers read what is above.
    consumer: CachePadded<Mutex<Consumer>>,
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("len", &self.len())
            .field("max_records", &self.max_records)
            .field("max_words", &self.max_words)
            .finish_non_exhaustive()
    }
}

impl Queue {
    /// An empty queue. A bound of zero records counts as one.
    #[must_use]
    pub fn new(limits: QueueLimits) -> Self {
        let region = Region::heap(limits.layout(0));
        Self::in_parts(limits, region.control, region.ring)
    }

    /// An empty queue in parts of a region that are all zeros, but for what says whose it is. It holds no
    /// more than there is room for.
    pub(crate) fn in_parts(
        limits: QueueLimits,
        control: Part<[AtomicU64; CONTROL_WORDS]>,
        words: Part<[AtomicU64]>,
    ) -> Self {
        let max_words = (limits.bytes / WORD).min(words.len() - 1);
        let batch_words = (max_words / 2).clamp(MIN_BATCH_WORDS, MAX_BATCH_WORDS);
        control[BATCH_AT].store(batch_words as u64, Ordering::Relaxed);
        let queue = Self {
            control,
            words,
            max_records: limits.events.clamp(1, MAX_RECORDS),
            max_words,
            batch_records: (limits.events / 2).clamp(MIN_BATCH_RECORDS, MAX_BATCH_RECORDS),
            batch_words,
            consumer: CachePadded::new(Mutex::new(Consumer::default())),
        };
        queue.commit(Base::START);
        queue.tail().store(OPEN, Ordering::Release);
        queue
    }

    /// Where the next record is claimed, and the flags.
    #[inline(always)]
    fn tail(&self) -> &AtomicU64 {
        &self.control[TAIL]
    }

    /// How many records were ever handed out, and before which position words are free.
    #[inline(always)]
    fn free(&self) -> &AtomicU64 {
        &self.control[FREE]
    }

    /// The position in words at which what waits is a batch.
    #[inline(always)]
    fn batch_at(&self) -> &AtomicU64 {
        &self.control[BATCH_AT]
    }

    /// Stores a copy of `record` with a number of the caller's, up to [`MAX_TAG`], or refuses at once.
    ///
    /// # Errors
    ///
    /// [`Refused`] if either bound would be passed, or after [`close`](Self::close).
    #[inline(always)]
    pub fn try_push(&self, record: &[u8], tag: u32) -> Result<Pushed, Refused> {
        let words = words_of(record.len());
        let mut tail = self.tail().load(Ordering::Relaxed);
        loop {
            if tail & OPEN == 0 {
                return Err(Refused::Closed);
            }
            // Acquire: the zeros that the consumer left in the words that are free.
            let used = used(tail, self.free().load(Ordering::Acquire));
            if used.records >= self.max_records || used.words + words > self.max_words {
                // With an old tail the front may be past it, which looks full as well.
                let now = self.tail().load(Ordering::Relaxed);
                if now == tail {
                    return Err(Refused::Full);
                }
                tail = now;
                continue;
            }
            // The flags: it is open, whoever claims has the consumer's wake-up as well, and an eager
            // one stays so.
            match self.tail().compare_exchange_weak(
                tail,
                claim(tail, words),
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) => {
                    let at = Cursor::unpack(tail);
                    self.publish(at, record, tag);
                    return Ok(Pushed {
                        wake: (tail & (IDLE | EAGER) != 0)
                            | self.completes_batch(used.records, at, words),
                    });
                }
                Err(now) => tail = now,
            }
        }
    }

    /// Whether a record of this many bytes fits when the queue is empty.
    #[must_use]
    pub fn can_hold(&self, bytes: usize) -> bool {
        words_of(bytes) <= self.max_words
    }

    /// Whether a consumer that lets records gather has enough of them: half of what fits, or a good
    /// deal for one write to a socket. The push that makes it so says so, too.
    #[must_use]
    pub fn has_batch(&self) -> bool {
        let resting = self.at_rest();
        let waiting = resting.waiting();
        waiting.records >= self.batch_records || waiting.words >= self.batch_words
    }

    /// Whether one more record of so many words, claimed here behind others that wait, makes a batch
    /// of what was none.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a position in words has 32 bits"
    )]
    #[inline]
    fn completes_batch(&self, records: usize, at: Cursor, words: usize) -> bool {
        let batch_at = self.batch_at().load(Ordering::Relaxed) as u32;
        let end = at.words.wrapping_add(words as u32);
        reaches(batch_at, at.words, end) | (records + 1 == self.batch_records)
    }

    /// The position in words at which what waits behind a place is a batch.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a batch has fewer words than the ring"
    )]
    fn batch_behind(&self, sent: Cursor) -> u32 {
        sent.words.wrapping_add(self.batch_words as u32)
    }

    /// Lets the consumer sleep until the next push, unless there is something to do.
    pub fn try_sleep(&self) -> Sleep {
        let consumer = self.consumer();
        let next = consumer.next.at.pack();
        let mut tail = self.tail().load(Ordering::Relaxed);
        while Cursor::unpack(tail).pack() == next {
            let asleep = self.tail().compare_exchange(
                tail,
                tail | IDLE,
                Ordering::AcqRel,
                Ordering::Relaxed,
            );
            match asleep {
                Ok(_) => return Sleep::Granted,
                Err(now) => tail = now,
            }
        }
        match self.header(consumer.next.at) {
            Some(_) => Sleep::Records,
            None => Sleep::Stalled,
        }
    }

    /// Whether from now on every push is told to wake the consumer, asleep or not. A push is either
    /// before this and in the queue, or after it and told.
    pub fn set_eager(&self, eager: bool) {
        if eager {
            self.tail().fetch_or(EAGER, Ordering::AcqRel);
        } else {
            self.tail().fetch_and(!EAGER, Ordering::AcqRel);
        }
    }

    /// Refuses records from now on. When it returns, every record that was let in is published.
    pub fn close(&self) {
        let end = Cursor::unpack(self.tail().fetch_and(!OPEN, Ordering::AcqRel));
        let consumer = self.consumer();
        let mut at = consumer.sent.at;
        while at != end {
            match self.header(at) {
                Some(header) => at = at.after(header.words()),
                None => yield_now(),
            }
        }
    }

    /// Whether it was closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.tail().load(Ordering::Relaxed) & OPEN == 0
    }

    /// Records that wait to be handed out, those that are just being stored included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.used().records
    }

    /// Whether no record waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory that all records take now.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.used().words * WORD
    }

    /// Words that records may take together.
    #[must_use]
    pub fn max_words(&self) -> usize {
        self.max_words
    }

    /// Keeps anybody from taking records out for as long as the returned view lives, so that what the
    /// consumer counts elsewhere agrees with it. Pushes go on.
    pub fn at_rest(&self) -> Resting<'_> {
        Resting::new(self, self.consumer())
    }

    /// Writes a claimed record; the header comes last.
    #[inline]
    fn publish(&self, claimed: Cursor, record: &[u8], tag: u32) {
        let header = Header::claimed(claimed, record.len());
        let at = self.index(claimed);
        let (before, rest) = self.words.split_at(at);
        let Some((first, after)) = rest.split_first() else {
            return; // Cannot be: the index is within the ring.
        };
        first.store(header, Ordering::Relaxed);
        match after.get(..record.len().div_ceil(WORD)) {
            Some(words) => write(words, record),
            None => write_in_two(after, before, record),
        }
        // Release: whoever sees the header sees the bytes.
        first.store(Header::publish(header, tag), Ordering::Release);
    }

    /// What the header at `at` says, once it is published.
    #[inline]
    fn header(&self, at: Cursor) -> Option<Header> {
        Header::read(self.words[self.index(at)].load(Ordering::Acquire))
    }

    /// The place of a cursor in the ring.
    #[inline]
    fn index(&self, at: Cursor) -> usize {
        at.words as usize & (self.words.len() - 1)
    }

    /// The records that wait and the words that all take, read without a lock.
    fn used(&self) -> cursor::Distance {
        loop {
            let front = self.free().load(Ordering::Acquire);
            let tail = self.tail().load(Ordering::Acquire);
            // A front that stood still was not past the tail.
            if front == self.free().load(Ordering::Acquire) {
                return Cursor::unpack(tail).since(Cursor::unpack(front));
            }
        }
    }

    /// The right to take records out.
    fn consumer(&self) -> MutexGuard<'_, Consumer> {
        self.consumer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Words that a record of so many bytes takes, its header included.
#[inline]
const fn words_of(bytes: usize) -> usize {
    1 + bytes.div_ceil(WORD)
}
