//! Where one end of the queue stands, packed into one word so that one atomic operation moves it.

/// Whoever drains the queue is to be woken by every record, until told otherwise.
pub(super) const EAGER: u64 = 1 << WORD_BITS;
/// Whoever drains the queue sleeps until the next record.
pub(super) const IDLE: u64 = 2 << WORD_BITS;
/// The queue takes no more records.
pub(super) const CLOSED: u64 = 4 << WORD_BITS;

/// Bits of the word position, which are the low ones.
const WORD_BITS: u32 = 32;
/// Bits of the three flags, which are above it. The record count is on top, so that it wraps by itself.
const FLAG_BITS: u32 = 3;
/// The flags in the high half.
const FLAGS: u32 = (1 << FLAG_BITS) - 1;
/// The flag in the high half that stays when a record is claimed.
const STAYS: u32 = 1;

/// Most records a queue can hold: half of what can be counted, so that differences are unambiguous.
pub(super) const MAX_RECORDS: usize = 1 << 28;
/// Most words a queue can hold, for the same reason.
pub(super) const MAX_WORDS: usize = 1 << 31;

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
    /// That of a packed word, whatever its flags.
    #[inline]
    pub(super) fn unpack(word: u64) -> Self {
        let Self { high, words } = Self::with_flags(word);
        Self {
            high: high & !FLAGS,
            words,
        }
    }

    /// That of a tail where a record is to be claimed. The flag that every record leaves as it is
    /// goes along, so the cursor is good for the next tail and no other comparison.
    #[inline]
    pub(super) fn unpack_tail(word: u64) -> Self {
        let Self { high, words } = Self::with_flags(word);
        Self {
            high: high & (!FLAGS | STAYS),
            words,
        }
    }

    /// That of a head, which has no flags.
    #[inline]
    pub(super) fn unpack_head(word: u64) -> Self {
        Self::with_flags(word)
    }

    /// Both halves as they are.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the word position is the low half, the rest is the high half"
    )]
    #[inline]
    fn with_flags(word: u64) -> Self {
        Self {
            high: (word >> WORD_BITS) as u32,
            words: word as u32,
        }
    }

    /// As one word.
    #[inline]
    pub(super) fn pack(self) -> u64 {
        u64::from(self.high) << WORD_BITS | u64::from(self.words)
    }

    /// The cursor behind one more record of so many words.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a record is shorter than MAX_WORDS"
    )]
    #[inline]
    pub(super) fn after(self, words: usize) -> Self {
        Self {
            high: self.high.wrapping_add(1 << FLAG_BITS),
            words: self.words.wrapping_add(words as u32),
        }
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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_packing_whatever_the_flags() {
        let cursor = last();
        assert_eq!(
            Cursor::unpack(cursor.pack() | CLOSED | IDLE | EAGER),
            cursor
        );
        assert_eq!(cursor.pack() & (CLOSED | IDLE | EAGER), 0);
        assert_eq!(Cursor::unpack_head(cursor.pack()), cursor);
    }

    #[test]
    fn a_claim_keeps_the_one_flag_that_stays_and_no_other() {
        for flags in [0, EAGER] {
            let tail = last().pack() | flags | IDLE;
            let claimed = Cursor::unpack_tail(tail);
            assert_eq!(claimed.since(last()).records, 0);
            let next = claimed.after(1).pack();
            assert_eq!(next & (CLOSED | IDLE | EAGER), flags);
            assert_eq!(Cursor::unpack(next), last().after(1));
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
