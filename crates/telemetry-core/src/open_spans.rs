//! Spans that have begun and not ended, in a table of fixed size.
//!
//! Whoever asks what a process is doing reads it from another thread, without stopping anybody: a span
//! takes a slot with one atomic step, writes plain words, and gives it back with another one. Nothing
//! locks or allocates but the reader. The table is a row of words without pointers, so that it means the
//! same in memory that outlives the process.
//!
//! A reader may meet a slot that is being written. Its state, which is another one after each change, is
//! read before and after, and what changed in between is left out.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use crate::region::{MAX_SPANS, Part, SPAN_WORDS};

/// Spans that are listed at once; more are only counted.
pub const MAX_OPEN_SPANS: usize = MAX_SPANS;
/// Bytes of an operation's name that are listed.
pub const MAX_OPEN_NAME_BYTES: usize = NAME_WORDS * WORD_BYTES;

/// Bytes of a word.
const WORD_BYTES: usize = 8;
/// Words of a slot, and of the head before the first one.
const SLOT_WORDS: usize = SPAN_WORDS;
/// Words of a slot that hold the name.
const NAME_WORDS: usize = SLOT_WORDS - NAME;
/// Words of the head that say which slots are taken, one bit each.
const TAKEN_WORDS: usize = MAX_OPEN_SPANS / 64;
/// Word of the head that counts spans that found no slot.
const UNLISTED: usize = TAKEN_WORDS;

/// Word of a slot: how often it was used, and below that one of the three states.
const STATE: usize = 0;
/// Word of a slot: when the span began, in nanoseconds of a clock that never falls.
const STARTED: usize = 1;
/// Word of a slot: the id of the span.
const SPAN_ID: usize = 2;
/// Word of a slot: the thread, and above that the length of the name.
const THREAD: usize = 3;
/// First word of a slot that holds the name.
const NAME: usize = 4;

/// Bits of a state word that hold the state.
const STATE_BITS: u32 = 2;
/// The slot is free.
const FREE: u64 = 0;
/// The slot is being written.
const WRITING: u64 = 1;
/// The slot holds a span.
const OPEN: u64 = 2;

/// A table of open spans.
pub struct OpenSpans {
    /// The head, then the slots.
    words: Part<[AtomicU64]>,
}

/// The place of a span that was [opened](OpenSpans::open); there is none if the table was full.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a span that is not closed stays in the table"]
pub struct OpenSlot(Option<u16>);

impl OpenSlot {
    /// The place of a span that is not listed.
    pub const NONE: Self = Self(None);
}

/// What a reader sees of an open span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenSpan {
    /// What is done, cut to [`MAX_OPEN_NAME_BYTES`].
    pub operation: String,
    /// The thread that began it, as the system numbers threads; 0 if that is not known.
    pub thread: u32,
    /// Its id; 0 if it has none.
    pub span_id: u64,
    /// When it began, in nanoseconds of the clock of whoever opened it.
    pub started_ns: u64,
}

impl Default for OpenSpans {
    fn default() -> Self {
        Self::in_part(Part::zeroed(SLOT_WORDS * (1 + MAX_OPEN_SPANS)))
    }
}

impl OpenSpans {
    /// The table that lives in a part of a region.
    pub(crate) fn in_part(words: Part<[AtomicU64]>) -> Self {
        Self { words }
    }

    /// Lists a span that begins.
    #[inline]
    pub fn open(&self, operation: &str, thread: u32, span_id: u64, started_ns: u64) -> OpenSlot {
        let Some(slot) = self.claim(thread) else {
            self.words[UNLISTED].fetch_add(1, Ordering::Relaxed);
            return OpenSlot::NONE;
        };
        let words = self.slot(slot);
        let name = &operation.as_bytes()[..fitting(operation)];
        let uses =
            (words[STATE].load(Ordering::Relaxed) >> STATE_BITS).wrapping_add(1) << STATE_BITS;
        words[STATE].store(uses | WRITING, Ordering::Relaxed);
        // Who sees a word written below sees at least this state when it looks again.
        fence(Ordering::Release);
        words[STARTED].store(started_ns, Ordering::Relaxed);
        words[SPAN_ID].store(span_id, Ordering::Relaxed);
        let length = (name.len() as u64) << 32;
        words[THREAD].store(length | u64::from(thread), Ordering::Relaxed);
        for (word, bytes) in words[NAME..].iter().zip(name.chunks(WORD_BYTES)) {
            let mut padded = [0; WORD_BYTES];
            padded[..bytes.len()].copy_from_slice(bytes);
            word.store(u64::from_le_bytes(padded), Ordering::Relaxed);
        }
        words[STATE].store(uses | OPEN, Ordering::Release);
        OpenSlot(u16::try_from(slot).ok())
    }

    /// Forgets a span that ended.
    #[inline]
    pub fn close(&self, slot: OpenSlot) {
        let Some(slot) = slot.0.map(usize::from) else {
            return;
        };
        let state = &self.slot(slot)[STATE];
        let uses = state.load(Ordering::Relaxed) >> STATE_BITS << STATE_BITS;
        state.store(uses | FREE, Ordering::Release);
        self.words[slot / 64].fetch_and(!(1 << (slot % 64)), Ordering::Release);
    }

    /// How many spans are listed.
    #[must_use]
    pub fn len(&self) -> usize {
        let taken = |word: &AtomicU64| word.load(Ordering::Relaxed).count_ones() as usize;
        self.words[..TAKEN_WORDS].iter().map(taken).sum()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many spans found the table full so far.
    #[must_use]
    pub fn unlisted(&self) -> u64 {
        self.words[UNLISTED].load(Ordering::Relaxed)
    }

    /// The spans that are open, the latest first.
    #[must_use]
    pub fn list(&self) -> Vec<OpenSpan> {
        let mut open: Vec<_> = (0..MAX_OPEN_SPANS)
            .filter_map(|slot| self.read(slot))
            .collect();
        open.sort_by_key(|span| std::cmp::Reverse(span.started_ns));
        open
    }

    /// Takes a free slot. Threads begin to look in different words.
    #[inline]
    fn claim(&self, thread: u32) -> Option<usize> {
        let first = thread as usize;
        for word in (first..first + TAKEN_WORDS).map(|word| word % TAKEN_WORDS) {
            let taken = &self.words[word];
            let mut seen = taken.load(Ordering::Relaxed);
            while seen != u64::MAX {
                let bit = seen.trailing_ones();
                seen = taken.fetch_or(1 << bit, Ordering::Acquire);
                if seen & (1 << bit) == 0 {
                    return Some(word * 64 + bit as usize);
                }
            }
        }
        None
    }

    /// What a slot holds, if it is a span and did not change meanwhile.
    fn read(&self, slot: usize) -> Option<OpenSpan> {
        let words = self.slot(slot);
        let state = words[STATE].load(Ordering::Acquire);
        if state & ((1 << STATE_BITS) - 1) != OPEN {
            return None;
        }
        let read = std::array::from_fn(|word| words[word].load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        if words[STATE].load(Ordering::Relaxed) != state {
            return None;
        }
        span_in(&read)
    }

    /// The words of a slot.
    #[inline]
    fn slot(&self, slot: usize) -> &[AtomicU64] {
        &self.words[SLOT_WORDS * (1 + slot)..][..SLOT_WORDS]
    }
}

impl fmt::Debug for OpenSpans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenSpans")
            .field("listed", &self.len())
            .field("unlisted", &self.unlisted())
            .finish()
    }
}

/// The open spans in the words of a table that nobody writes any more, the latest first.
pub(crate) fn spans_in(words: &[u64]) -> Vec<OpenSpan> {
    let (slots, _none) = words.as_chunks();
    let mut open: Vec<_> = slots.iter().skip(1).filter_map(span_in).collect();
    open.sort_by_key(|span| std::cmp::Reverse(span.started_ns));
    open
}

/// What the words of a slot say, if it is a span.
fn span_in(words: &[u64; SLOT_WORDS]) -> Option<OpenSpan> {
    if words[STATE] & ((1 << STATE_BITS) - 1) != OPEN {
        return None;
    }
    let mut name = [0; MAX_OPEN_NAME_BYTES];
    for (bytes, word) in name.chunks_mut(WORD_BYTES).zip(&words[NAME..]) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    let length = usize::try_from(words[THREAD] >> 32).map_or(0, |length| length.min(name.len()));
    Some(OpenSpan {
        operation: String::from_utf8_lossy(&name[..length]).into_owned(),
        thread: u32::try_from(words[THREAD] & u64::from(u32::MAX)).unwrap_or_default(),
        span_id: words[SPAN_ID],
        started_ns: words[STARTED],
    })
}

/// How many bytes of a name are listed: whole characters only.
#[inline]
fn fitting(name: &str) -> usize {
    let mut length = name.len().min(MAX_OPEN_NAME_BYTES);
    while !name.is_char_boundary(length) {
        length -= 1;
    }
    length
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    fn operations(spans: &OpenSpans) -> Vec<String> {
        spans.list().into_iter().map(|it| it.operation).collect()
    }

    #[test]
    fn what_is_open_is_listed_the_latest_first() {
        let spans = OpenSpans::default();
        let outer = spans.open("outer", 7, 0xABC, 10);
        let inner = spans.open("inner", 8, 0, 20);
        let seen = spans.list();
        assert_eq!(seen.len(), 2);
        assert_eq!((&*seen[0].operation, seen[0].thread), ("inner", 8));
        let expected = OpenSpan {
            operation: "outer".to_owned(),
            thread: 7,
            span_id: 0xABC,
            started_ns: 10,
        };
        assert_eq!(seen[1], expected);
        spans.close(outer);
        assert_eq!(operations(&spans), ["inner"]);
        spans.close(inner);
        assert!(spans.is_empty() && spans.list().is_empty());
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        let spans = OpenSpans::default();
        let _slot = spans.open(&"x".repeat(MAX_OPEN_NAME_BYTES), 0, 0, 3);
        let _slot = spans.open(&format!("{}é", "x".repeat(95)), 0, 0, 2);
        let _slot = spans.open("", 0, 0, 1);
        assert_eq!(
            operations(&spans),
            ["x".repeat(96), "x".repeat(95), String::new()]
        );
    }

    #[test]
    fn a_full_table_lists_no_more_and_counts() {
        let spans = OpenSpans::default();
        let mut slots: Vec<_> = (0..MAX_OPEN_SPANS)
            .map(|i| spans.open("op", u32::try_from(i).unwrap(), 0, 1))
            .collect();
        assert!(slots.iter().all(|slot| *slot != OpenSlot::NONE));
        assert_eq!(spans.open("one.more", 1, 0, 2), OpenSlot::NONE);
        assert_eq!((spans.len(), spans.unlisted()), (MAX_OPEN_SPANS, 1));
        spans.close(OpenSlot::NONE);
        spans.close(slots.swap_remove(17));
        assert_ne!(spans.open("one.more", 1, 0, 2), OpenSlot::NONE);
        assert_eq!(operations(&spans)[0], "one.more");
    }

    #[test]
    fn a_slot_that_was_used_again_shows_its_new_span_only() {
        let spans = OpenSpans::default();
        let slot = spans.open("a.much.longer.name.than.the.next", 0, 0, 1);
        spans.close(slot);
        let _slot = spans.open("short", 0, 0, 2);
        assert_eq!(operations(&spans), ["short"]);
    }

    #[test]
    fn readers_never_see_half_a_span() {
        let spans = OpenSpans::default();
        let (stop, read) = (AtomicBool::new(false), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for thread in 1..=3_u32 {
                let (spans, stop) = (&spans, &stop);
                scope.spawn(move || {
                    let mut round = 0_u64;
                    while !stop.load(Ordering::Relaxed) {
                        // Each word of a span says the same.
                        round += 1;
                        let id = u64::from(thread) << 32 | round;
                        let slot = spans.open(&format!("op.{id:024}.{id:024}"), thread, id, id);
                        spans.close(slot);
                    }
                });
            }
            let (spans, stop, read) = (&spans, &stop, &read);
            scope.spawn(move || {
                while read.load(Ordering::Relaxed) < 20_000 {
                    for span in spans.list() {
                        let id = span.span_id;
                        assert_eq!(span.operation, format!("op.{id:024}.{id:024}"));
                        assert_eq!(span.started_ns, id);
                        assert_eq!(u64::from(span.thread), id >> 32);
                        read.fetch_add(1, Ordering::Relaxed);
                    }
                }
                stop.store(true, Ordering::Relaxed);
            });
        });
        assert!(read.load(Ordering::Relaxed) >= 20_000);
    }
}
