//! What became of the emits of each name, in the words of a region.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::ledger::NameCount;
use crate::name::EventName;
use crate::region::{NAME_WORDS, Part, SITE_WORDS};

/// Bytes of a word.
const WORD: usize = size_of::<u64>();
/// Longest name that is written beside its counts; of longer ones there are counts only.
const MAX_WRITTEN_NAME_BYTES: usize = (NAME_WORDS - 1) * WORD;

/// How an emit ended; the place of its counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Taken out of the queue again, or handed over without one.
    Accepted = 0,
    /// Not drawn.
    SampledOut = 1,
    /// Excluded by a list.
    Filtered = 2,
    /// Dropped for any other reason.
    Dropped = 3,
}

/// Counters of all names: first those of names that are not kept, then by tag. Each is counted when the
/// emit ends.
pub(super) struct SiteCounts {
    counts: Part<[AtomicU64]>,
    names: Part<[AtomicU64]>,
}

impl fmt::Debug for SiteCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SiteCounts")
            .field("names", &self.len())
            .finish_non_exhaustive()
    }
}

impl SiteCounts {
    /// Those that live in two parts of a region.
    pub(super) fn in_parts(counts: Part<[AtomicU64]>, names: Part<[AtomicU64]>) -> Self {
        Self { counts, names }
    }

    /// Names that have counters of their own.
    pub(super) fn len(&self) -> usize {
        self.names.len() / NAME_WORDS
    }

    /// The counters of a tag; those of a name that is not kept are one.
    #[inline]
    pub(super) fn of(&self, tag: u32) -> &[AtomicU64; SITE_WORDS] {
        let (cells, _padding) = self.counts.as_chunks();
        let own = tag as usize + 1;
        &cells[if own < cells.len() { own } else { 0 }]
    }

    /// All four, in the order of their places.
    pub(super) fn read(&self, tag: u32) -> [u64; SITE_WORDS] {
        std::array::from_fn(|place| self.of(tag)[place].load(Ordering::Relaxed))
    }

    /// Sums of sampled out, filtered and otherwise dropped over the first so many names and all that are
    /// not kept.
    pub(super) fn totals(&self, names: usize) -> [u64; 3] {
        let cells = self.counts.iter().take((1 + names) * SITE_WORDS);
        totals_of(cells.map(|cell| cell.load(Ordering::Relaxed)))
    }

    /// The words of counts and names.
    #[cfg(test)]
    pub(super) fn read_all<T>(&self, read: impl Fn(&[AtomicU64]) -> T) -> (T, T) {
        (read(&self.counts), read(&self.names))
    }

    /// Writes a name beside its counters, for whoever finds them.
    pub(super) fn set_name(&self, tag: u32, name: &EventName) {
        let (names, _none) = self.names.as_chunks::<NAME_WORDS>();
        let Some([length, words @ ..]) = names.get(tag as usize) else {
            return;
        };
        let bytes = name.as_str().as_bytes();
        if bytes.len() <= MAX_WRITTEN_NAME_BYTES {
            for (word, bytes) in words.iter().zip(bytes.chunks(WORD)) {
                let mut padded = [0; WORD];
                padded[..bytes.len()].copy_from_slice(bytes);
                word.store(u64::from_le_bytes(padded), Ordering::Relaxed);
            }
        }
        length.store(bytes.len() as u64, Ordering::Release);
    }
}

/// Sums of sampled out, filtered and otherwise dropped over the words of counts.
pub(crate) fn totals_of(words: impl Iterator<Item = u64>) -> [u64; 3] {
    let mut sums = [0_u64; SITE_WORDS];
    for (place, count) in (0..SITE_WORDS).cycle().zip(words) {
        sums[place] = sums[place].saturating_add(count);
    }
    let [_accepted, sampled_out, filtered, dropped] = sums;
    [sampled_out, filtered, dropped]
}

/// Counts by name out of the words of a region that nobody writes any more, sorted by name; `waiting` says
/// how many events of a tag are in its queue.
pub(crate) fn names_in(
    counts: &[u64],
    names: &[u64],
    waiting: impl Fn(u32) -> u64,
) -> Vec<NameCount> {
    let counts = counts.as_chunks::<SITE_WORDS>().0.iter().skip(1);
    let names = names.as_chunks::<NAME_WORDS>().0;
    let mut found: Vec<_> = names
        .iter()
        .zip(counts)
        .zip(0..)
        .filter_map(|((name, counts), tag)| {
            let [left, sampled_out, filtered, dropped] = *counts;
            let accepted = left.saturating_add(waiting(tag));
            let ended_here = sampled_out.saturating_add(filtered).saturating_add(dropped);
            Some(NameCount {
                name: name_in(name)?.as_str().to_owned(),
                emitted: accepted.saturating_add(ended_here),
                accepted,
                sampled_out,
                filtered,
                dropped,
                last_reason: 0,
            })
        })
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// The name that is written in these words, if there is one and it is valid.
fn name_in([length, words @ ..]: &[u64; NAME_WORDS]) -> Option<EventName> {
    let mut bytes = [0; MAX_WRITTEN_NAME_BYTES];
    for (bytes, word) in bytes.chunks_mut(WORD).zip(words) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    let bytes = bytes.get(..usize::try_from(*length).ok()?)?;
    EventName::new(str::from_utf8(bytes).ok()?).ok()
}
