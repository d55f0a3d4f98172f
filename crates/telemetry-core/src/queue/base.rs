//! The base, committed so that whoever finds it after the death of the process finds a whole one.
//!
//! There are two slots and a word that says which of them holds. The other one is written, and then the
//! word.

use super::Queue;
use super::cursor::Cursor;
use crate::region::{BASE_INDEX, BASE_SLOTS, BASE_WORDS, TAIL};
use crate::sync::{Ordering, fence};

/// What is mixed into the word that checks a slot, so that zeros are no slot.
const CHECK: u64 = 0x7465_6c65_6d2d_6261;

/// The oldest place whose records are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Base {
    /// Where.
    pub(super) at: Cursor,
    /// Number of the last record before it that was sent.
    pub(super) number: u64,
    /// Records ever let in before it.
    pub(super) records: u64,
}

impl Base {
    /// Where a queue begins.
    pub(super) const START: Self = Self {
        at: Cursor::START,
        number: 0,
        records: 0,
    };

    /// As the words of a slot.
    fn words(self) -> [u64; BASE_WORDS] {
        let at = self.at.pack();
        [
            at,
            self.number,
            self.records,
            check(at, self.number, self.records),
        ]
    }

    /// What the words of a slot say, if they belong together.
    fn read(words: [u64; BASE_WORDS]) -> Option<Self> {
        let [at, number, records, checked] = words;
        let base = Self {
            at: Cursor::unpack(at),
            number,
            records,
        };
        let is_whole = checked == check(at, number, records)
            && base.at.pack() == at
            && base.at.counts(records)
            && number <= records;
        is_whole.then_some(base)
    }

    /// The base of a queue whose control words these are; `None` if they say none.
    pub(super) fn find(control: &[u64]) -> Option<Self> {
        // A process that died before it had a queue.
        if control.get(TAIL..)?.iter().all(|word| *word == 0) {
            return Some(Self::START);
        }
        let start = *BASE_SLOTS.get(usize::try_from(*control.get(BASE_INDEX)?).ok()?)?;
        let words: [u64; BASE_WORDS] = control.get(start..)?.first_chunk().copied()?;
        Self::read(words)
    }
}

/// A word in which each of the others counts.
fn check(at: u64, number: u64, records: u64) -> u64 {
    CHECK ^ at ^ number.rotate_left(21) ^ records.rotate_left(42)
}

impl Queue {
    /// Commits the base. Nothing that it lets go of has been overwritten yet.
    pub(super) fn commit(&self, base: Base) {
        let index = self.control[BASE_INDEX].load(Ordering::Relaxed) & 1 ^ 1;
        let slot = &self.control[BASE_SLOTS[usize::from(index != 0)]..];
        for (word, value) in slot.iter().zip(base.words()) {
            word.store(value, Ordering::Relaxed);
        }
        self.control[BASE_INDEX].store(index, Ordering::Release);
        // Nothing that is written from here on, zeros or another slot, is seen before the index.
        fence(Ordering::Release);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::queue::QueueLimits;

    #[test]
    fn a_base_is_found_as_it_was_committed_and_not_where_a_bit_fell_over() {
        let queue = Queue::new(QueueLimits::default());
        let read = || -> Vec<u64> {
            let words = queue.control.iter();
            words.map(|word| word.load(Ordering::Relaxed)).collect()
        };
        let mut at = Cursor::unpack(0);
        for records in 1..50 {
            at = at.after(7);
            let base = Base {
                at,
                number: records / 2,
                records,
            };
            queue.commit(base);
            let found = read();
            assert_eq!(Base::find(&found), Some(base));
            for bit in 0..BASE_WORDS * 64 {
                let mut damaged = found.clone();
                let start = BASE_SLOTS[usize::from(damaged[BASE_INDEX] != 0)];
                damaged[start + bit / 64] ^= 1 << (bit % 64);
                assert_eq!(Base::find(&damaged), None);
            }
        }
        let mut control = [0; 64];
        assert_eq!(Base::find(&control), Some(Base::START));
        control[TAIL] = 1;
        assert_eq!(Base::find(&control), None);
        assert_eq!(Base::find(&[]), None);
    }
}
