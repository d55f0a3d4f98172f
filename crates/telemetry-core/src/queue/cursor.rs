//! Where one end of the queue stands, packed into one word so that one atomic operation moves it.

/// The queue takes records. The lowest flag, for [`used`] to borrow from.
pub(super) const OPEN: u64 = 1 << WORD_BITS;
/// Whoever drains the queue is to be woken by every record, until told otherwise.
pub(super) const EAGER: u64 = 2 << WORD_BITS;
/// Whoever drains the queue sleeps until the next record.
pub(super) const IDLE: u64 = 4 << WORD_BITS;

/// Bits of the word position, which are the low ones.
const WORD_BITS: u32 = 32;
/// Bits of the flags, which are above it. The record count is on top, so that it wraps by itself.
const FLAG_BITS: u32 = 3;
/// The flags in the high half.
const FLAGS: u32 = (1 << FLAG_BITS) - 1;
/// One record in a packed word.
const ONE: u64 = 1 << (WORD_BITS + FLAG_BITS);

/// Most records a queue can hold: half of what can be counted, so that differences are unambiguous.
pub(super) const MAX_RECORDS: usize = 1 << 28;

/// A number of records and a position in words, both counted from the start of the queue's life and
/// both wrapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cursor {
    /// Records before this point, modulo 2^29, above the place of the flags.
    high: u32,
    /// Words before this point, modulo 2^32.
    pub(super) words: u32,
}

/// What lies between two cursors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Distance {
    /// Records.
    pub(super) records: usize,
    /// Words.
    pub(super) words: usize,
}

impl Cursor {
    /// Where a queue begins.
    pub(super) const START: Self = Self { high: 0, words: 0 };

    /// That of a packed word, whatever its flags.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the word position is the low half, the rest is the high half"
    )]
    #[inline]
    pub(super) fn unpack(word: u64) -> Self {
        Self {
            high: (word >> WORD_BITS) as u32 & !FLAGS,
            words: word as u32,
        }
    }

    /// As one word without flags.
    #[inline]
    pub(super) fn pack(self) -> u64 {
        u64::from(self.high) << WORD_BITS | u64::from(self.words)
    }

    /// The records before this point and the words before another one, as one word without flags.
    #[inline]
    pub(super) fn pack_with_words_of(self, other: Self) -> u64 {
        u64::from(self.high) << WORD_BITS | u64::from(other.words)
    }

    /// The cursor behind one more record of so many words.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a record is shorter than the longest ring"
    )]
    #[inline]
    pub(super) fn after(self, words: usize) -> Self {
        Self {
            high: self.high.wrapping_add(1 << FLAG_BITS),
            words: self.words.wrapping_add(words as u32),
        }
    }

    /// Whether this many records may have been let in before this point.
    pub(super) fn counts(self, records: u64) -> bool {
        records << (WORD_BITS + FLAG_BITS) == self.pack() & !(ONE - 1)
    }

    /// What was put between `start` and here. `start` must not be ahead.
    #[inline]
    pub(super) fn since(self, start: Self) -> Distance {
        Distance {
            records: (self.high.wrapping_sub(start.high) >> FLAG_BITS) as usize,
            words: self.words.wrapping_sub(start.words) as usize,
        }
    }
}

/// Whether a position in words is reached by going from one to the other.
#[expect(
    clippy::cast_possible_wrap,
    reason = "positions wrap, and what is compared is not far apart"
)]
#[inline]
pub(super) fn reaches(at: u32, from: u32, to: u32) -> bool {
    (at.wrapping_sub(from) as i32 > 0) & (at.wrapping_sub(to) as i32 <= 0)
}

/// What is between a packed front and a packed tail that is [`OPEN`]: the records behind those of the
/// front and the words behind its words.
#[expect(
    clippy::cast_possible_truncation,
    reason = "word positions are the low halves"
)]
#[inline]
pub(super) fn used(tail: u64, front: u64) -> Distance {
    Distance {
        // Word positions that wrapped in between borrow one, which the flag gives.
        records: (tail.wrapping_sub(front) >> (WORD_BITS + FLAG_BITS)) as usize,
        words: (tail as u32).wrapping_sub(front as u32) as usize,
    }
}

/// The tail after a record of so many words was claimed. Whoever claims it takes [`IDLE`] along; the
/// other flags stay.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a record is shorter than the longest ring"
)]
#[inline]
pub(super) fn claim(tail: u64, words: usize) -> u64 {
    let high = tail.wrapping_add(ONE) & !(IDLE | u64::from(u32::MAX));
    high | u64::from((tail as u32).wrapping_add(words as u32))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_packing_whatever_the_flags() {
        let cursor = last();
        assert_eq!(Cursor::unpack(cursor.pack() | OPEN | IDLE | EAGER), cursor);
        assert_eq!(cursor.pack() & (OPEN | IDLE | EAGER), 0);
    }

    #[test]
    fn a_claim_takes_one_flag_along_and_leaves_the_others() {
        for flags in [OPEN, OPEN | EAGER] {
            for idle in [0, IDLE] {
                let tail = last().pack() | flags | idle;
                let next = claim(tail, 7);
                assert_eq!(next & (OPEN | IDLE | EAGER), flags);
                assert_eq!(Cursor::unpack(next), last().after(7));
                let before = used(tail, last().pack());
                assert_eq!((before.records, before.words), (0, 0));
                let after = used(next, last().pack());
                assert_eq!((after.records, after.words), (1, 7));
            }
        }
    }

    /// The last one before both counts wrap.
    fn last() -> Cursor {
        Cursor {
            high: !FLAGS,
            words: u32::MAX,
        }
    }

    #[test]
    fn distances_are_right_across_the_wrap() {
        let start = Cursor {
            high: !FLAGS,
            words: u32::MAX - 2,
        };
        let distance = start.after(10).after(5).since(start);
        assert_eq!((distance.records, distance.words), (2, 15));
    }
}
