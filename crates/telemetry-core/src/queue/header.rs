//! The word in front of each record in the ring.
//!
//! It is zero where nothing lies. A claimed record has its length and the low bits of its position in
//! it from the first moment on, so that whoever finds the ring of a dead process can step over what was
//! never published, and does not take the bytes of a record for a header.

use super::cursor::Cursor;
use super::{MAX_RECORD_BYTES, words_of};

/// The record is whole.
const PUBLISHED: u64 = 1 << 63;
/// It was dropped after it was let in, and lies behind some that are still kept.
const DROPPED: u64 = 1 << 62;
/// Somebody claimed these words; in every header.
const CLAIMED: u64 = 1 << 61;
/// Where the tag begins, and how many bits it has.
const TAG_SHIFT: u32 = 43;
const TAG_BITS: u32 = 18;
/// Where the bits of the position begin, and how many there are.
const PLACE_SHIFT: u32 = 26;
const PLACE_BITS: u32 = 17;
/// The length in bytes is below them.
const LENGTH: u64 = (1 << PLACE_SHIFT) - 1;

/// Largest tag of a record.
pub const MAX_TAG: u32 = (1 << TAG_BITS) - 1;

const _: () = assert!(TAG_SHIFT + TAG_BITS == 61 && PLACE_SHIFT + PLACE_BITS == TAG_SHIFT);
const _: () = assert!(MAX_RECORD_BYTES as u64 <= LENGTH);

/// A header that is published.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header(u64);

impl Header {
    /// The header of a record that is claimed here and not yet whole.
    #[inline]
    pub(super) fn claimed(at: Cursor, bytes: usize) -> u64 {
        let place = u64::from(at.words) & ((1 << PLACE_BITS) - 1);
        CLAIMED | place << PLACE_SHIFT | (bytes as u64 & LENGTH)
    }

    /// The same once it is whole, with a number of the caller's.
    #[inline]
    pub(super) fn publish(claimed: u64, tag: u32) -> u64 {
        claimed | PUBLISHED | u64::from(tag & MAX_TAG) << TAG_SHIFT
    }

    /// What a word of the ring says, if a whole record begins there.
    #[inline]
    pub(super) fn read(word: u64) -> Option<Self> {
        (word & PUBLISHED != 0).then_some(Self(word))
    }

    /// What the word at a position says in a ring that nobody writes any more, if it is a header: of a
    /// record that is whole, or of one that was claimed.
    pub(super) fn find(word: u64, position: u32) -> Option<Self> {
        let place = u64::from(position) & ((1 << PLACE_BITS) - 1);
        let is_here = word >> PLACE_SHIFT & ((1 << PLACE_BITS) - 1) == place;
        // A record that is not whole has no tag, and was not dropped.
        let is_claim = word & !(LENGTH | ((1 << PLACE_BITS) - 1) << PLACE_SHIFT) == CLAIMED;
        let is_record = word & (PUBLISHED | CLAIMED) == PUBLISHED | CLAIMED;
        (is_here && (is_claim || is_record)).then_some(Self(word))
    }

    /// A word that was [found](Self::find) to be a header.
    pub(super) fn found(word: u64) -> Self {
        Self(word)
    }

    /// Whether the record is whole.
    pub(super) fn is_published(self) -> bool {
        self.0 & PUBLISHED != 0
    }

    /// The same record, dropped.
    pub(super) fn dropped(self) -> u64 {
        self.0 | DROPPED
    }

    /// Whether it was dropped after it was let in.
    pub(super) fn is_dropped(self) -> bool {
        self.0 & DROPPED != 0
    }

    /// Bytes of the record.
    #[inline]
    pub(super) fn len(self) -> usize {
        (self.0 & LENGTH) as usize
    }

    /// The caller's number.
    #[inline]
    pub(super) fn tag(self) -> u32 {
        (self.0 >> TAG_SHIFT) as u32 & MAX_TAG
    }

    /// Words of the record with its header.
    #[inline]
    pub(super) fn words(self) -> usize {
        words_of(self.len())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_header_says_what_it_was_given_and_nothing_while_it_is_claimed() {
        let at = Cursor::unpack(u64::from(u32::MAX));
        for (bytes, tag) in [(0, 0), (1, MAX_TAG), (MAX_RECORD_BYTES, 7)] {
            let claimed = Header::claimed(at, bytes);
            assert_ne!(claimed, 0);
            assert!(Header::read(claimed).is_none());
            let header = Header::read(Header::publish(claimed, tag)).expect("published");
            assert_eq!((header.len(), header.tag()), (bytes, tag));
            assert!(!header.is_dropped());
            let dropped = Header::read(header.dropped()).expect("published");
            assert!(dropped.is_dropped());
            assert_eq!((dropped.len(), dropped.tag()), (bytes, tag));
        }
        assert!(Header::read(0).is_none());
    }

    #[test]
    fn a_header_is_found_at_its_own_place_only() {
        for position in [0, 5, u32::MAX] {
            let at = Cursor::unpack(u64::from(position));
            let claimed = Header::claimed(at, 100);
            let whole = Header::publish(claimed, 7);
            let dropped = Header::read(whole).expect("published").dropped();
            for (word, is_published) in [(claimed, false), (whole, true), (dropped, true)] {
                let found = Header::find(word, position).expect("a header");
                assert_eq!((found.len(), found.is_published()), (100, is_published));
                assert!(Header::find(word, position.wrapping_add(1)).is_none());
            }
            for word in [
                0,
                100,
                claimed | DROPPED,
                claimed | 1 << TAG_SHIFT,
                whole & !CLAIMED,
            ] {
                assert!(Header::find(word, position).is_none());
            }
        }
    }
}
