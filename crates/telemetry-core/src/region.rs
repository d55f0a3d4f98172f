//! The memory of an incarnation that can outlive its process: where everything lies in it, and who gets
//! which part.
//!
//! A region is one row of 64-bit words in the byte order of the machine. The parts stand in this order:
//!
//! | part | words | what |
//! |---|---|---|
//! | control | 64 | what it is, whose it is, sizes, the cursors of the ring |
//! | counters | 128 | drops and notes by their numbers on the wire, and single counters |
//! | spans | 16 × 257 | open spans |
//! | sites | 4 for each name, 4 for all other names | counts of callsites |
//! | names | 16 for each name | their names |
//! | ring | a power of two | encoded records |
//!
//! This room knows sizes and places, no more. What the words of a part mean, know those who live in it:
//! the queue, the ledger, the callsites and the open spans. Nobody shares a part with others. The memory
//! is either the heap's, one piece for each part, or one row of words that somebody lends for ever, such
//! as a mapping; core makes none.

mod layout;
mod lease;
mod part;

pub(crate) use layout::{
    ACKNOWLEDGED, BASE_INDEX, BASE_SLOTS, BASE_WORDS, BATCH_AT, CLOCK_ZERO, CONTROL_WORDS,
    COUNTER_WORDS, DROPPED_LATE, FORGOTTEN, FREE, HANDED_OVER, IN_HANDS, MAX_SITES, MAX_SPANS,
    NAME_WORDS, NOTE_NUMBERS, NOTES, REASON_NUMBERS, REPEATED, SENT, SITE_WORDS, SPAN_WORDS, TAIL,
    TAKEN_OVER, UNDER_WAY,
};
pub use layout::{Identity, Layout, MAX_REGION_BYTES, RegionError};
pub(crate) use lease::Lease;
pub(crate) use part::Part;

use std::sync::atomic;

use crate::sync;

/// The parts of a region, each for the one that lives in it.
#[derive(Debug)]
pub struct Region {
    /// Where what lies.
    layout: Layout,
    /// Cursors, and before them what tells a reader what this is.
    pub(crate) control: Part<[sync::AtomicU64; CONTROL_WORDS]>,
    /// Counters that are not kept by name.
    pub(crate) counters: Part<[atomic::AtomicU64; COUNTER_WORDS]>,
    /// Open spans.
    pub(crate) spans: Part<[atomic::AtomicU64]>,
    /// Counts of callsites.
    pub(crate) sites: Part<[atomic::AtomicU64]>,
    /// Names of callsites.
    pub(crate) names: Part<[atomic::AtomicU64]>,
    /// Records.
    pub(crate) ring: Part<[sync::AtomicU64]>,
    /// Tells who lent the words that they are not used any more.
    pub(crate) lease: Lease,
}

impl Region {
    /// A region on the heap, which nobody else can read.
    #[must_use]
    pub fn heap(layout: Layout) -> Self {
        Self {
            layout,
            control: Part::control(),
            counters: Part::counters(),
            spans: Part::zeroed(layout.spans().len()),
            sites: Part::zeroed(layout.sites().len()),
            names: Part::zeroed(layout.names().len()),
            ring: Part::Owned(sync::zeroed(layout.ring().len())),
            lease: Lease::default(),
        }
    }

    /// A region in words that are lent for ever. They have to be zero, and nobody else may write them.
    ///
    /// # Errors
    ///
    /// [`RegionError`] if there are not as many words as the layout has, or more than a reader takes.
    #[cfg(not(loom))]
    pub fn of(words: &'static [atomic::AtomicU64], layout: Layout) -> Result<Self, RegionError> {
        if layout.bytes() > MAX_REGION_BYTES {
            return Err(RegionError::TooLarge {
                bytes: layout.bytes() as u64,
            });
        }
        Self::cut(words, layout).ok_or(RegionError::WrongSize {
            bytes: size_of_val(words) as u64,
            expected: layout.bytes() as u64,
        })
    }

    /// The words cut into parts, if there are as many as there have to be.
    #[cfg(not(loom))]
    fn cut(words: &'static [atomic::AtomicU64], layout: Layout) -> Option<Self> {
        if words.len() != layout.words() {
            return None;
        }
        let (control, rest) = words.split_first_chunk()?;
        Some(Self {
            layout,
            control: Part::Lent(control),
            counters: Part::Lent(rest.first_chunk()?),
            spans: Part::Lent(words.get(layout.spans())?),
            sites: Part::Lent(words.get(layout.sites())?),
            names: Part::Lent(words.get(layout.names())?),
            ring: Part::Lent(words.get(layout.ring())?),
            lease: Lease::default(),
        })
    }

    /// The same region; `lease` is dropped once nothing of it is used any more.
    #[must_use]
    pub fn leased(self, lease: impl Send + Sync + 'static) -> Self {
        Self {
            lease: Lease::of(lease),
            ..self
        }
    }

    /// Where what lies.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Says when the clock of open spans stood at zero, in nanoseconds since the Unix epoch.
    pub(crate) fn set_clock_zero(&self, unix_ns: i64) {
        self.control[CLOCK_ZERO].store(unix_ns.cast_unsigned(), sync::Ordering::Release);
    }

    /// Says whose region it is. Until then a reader takes it for none.
    #[must_use]
    pub fn signed(self, identity: Identity) -> Self {
        // Backwards: the word that says what it is comes last.
        for (word, value) in self.control.iter().zip(self.layout.head(identity)).rev() {
            word.store(value, sync::Ordering::Release);
        }
        self
    }
}
