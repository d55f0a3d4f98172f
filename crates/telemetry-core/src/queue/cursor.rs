//! Where one end of the queue stands, packed into one word so that one atomic operation moves it.

/// The queue takes no more records.
pub(super) const CLOSED: u64 = 1 << 63;
/// Whoever drains the queue sleeps until the next record.
pub(super) const IDLE: u64 = 1 << 62;

/// Bits of the word position, which are the low ones.
const WORD_BITS: u32 = 32;
/// Bits of the record count above it, without the flags.
const RECORDS: u64 = (1 << 30) - 1;

/// Most records a queue can hold: half of what can be counted, so that differences are unambiguous.
pub(super) const MAX_RECORDS: usize = 1 << 29;
/// Most words a queue can hold, for the same reason.
pub(super) const MAX_WORDS: usize = 1 << 31;

/// A number of records and a position in words, both counted from the start of the queue's life and
/// both wrapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cursor {
    /// Records before this point, modulo 2^30.
    records: u32,
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
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the word position is the low half, the count is masked to 30 bits"
    )]
    #[inline]
    pub(super) fn unpack(word: u64) -> Self {
        Self {
            records: ((word >> WORD_BITS) & RECORDS) as u32,
            words: word as u32,
        }
    }

    /// As one word without flags.
    #[inline]
    pub(super) fn pack(self) -> u64 {
        u64::from(self.records) << WORD_BITS | u64::from(self.words)
    }

    /// The cursor behind one more record of so many words.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a record is shorter than MAX_WORDS, the count is masked to 30 bits"
    )]
    #[inline]
    pub(super) fn after(self, words: usize) -> Self {
        Self {
            records: ((u64::from(self.records) + 1) & RECORDS) as u32,
            words: self.words.wrapping_add(words as u32),
        }
    }

    /// What was put between `start` and here. `start` must not be ahead.
    #[inline]
    pub(super) fn since(self, start: Self) -> Distance {
        Distance {
            records: (u64::from(self.records.wrapping_sub(start.records)) & RECORDS) as usize,
            words: self.words.wrapping_sub(start.words) as usize,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_packing_whatever_the_flags() {
        let cursor = Cursor {
            records: (1 << 30) - 1,
            words: u32::MAX,
        };
        assert_eq!(Cursor::unpack(cursor.pack() | CLOSED | IDLE), cursor);
        assert_eq!(cursor.pack() & (CLOSED | IDLE), 0);
    }

    #[test]
    fn distances_are_right_across_the_wrap() {
        let start = Cursor {
            records: (1 << 30) - 1,
            words: u32::MAX - 2,
        };
        let distance = start.after(10).after(5).since(start);
        assert_eq!((distance.records, distance.words), (2, 15));
    }
}
