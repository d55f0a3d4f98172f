//! A counter that many threads raise without meeting.
//!
//! Whoever counts often takes a cell of its own and writes it with plain stores; a reading adds the
//! cells up. What a cell holds when its owner lets it go stays in the sum.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The counter.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Counted by those without a cell, and in cells that were let go.
    shared: AtomicU64,
    /// The cells given out. Locked when one is given out and when the sum is read.
    cells: Mutex<Vec<Arc<Word>>>,
}

/// A word that has its cache line for itself.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Word(AtomicU64);

/// One counter's part, written by its owner only.
#[derive(Debug)]
pub(super) struct Cell(Arc<Word>);

impl Tally {
    /// Counts one.
    pub(super) fn add_one(&self) {
        self.shared.fetch_add(1, Ordering::Relaxed);
    }

    /// A part of the counter for the caller alone.
    pub(super) fn cell(&self) -> Cell {
        let word = Arc::<Word>::default();
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        // Those let go since are added up now, so that the list stays as long as it has owners.
        cells.retain_mut(|word| match Arc::get_mut(word) {
            Some(last) => {
                self.shared.fetch_add(*last.0.get_mut(), Ordering::Relaxed);
                false
            }
            None => true,
        });
        cells.push(Arc::clone(&word));
        Cell(word)
    }

    /// All that was counted.
    pub(super) fn total(&self) -> u64 {
        let cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        let own = cells.iter().map(|word| word.0.load(Ordering::Relaxed));
        own.sum::<u64>() + self.shared.load(Ordering::Relaxed)
    }

    /// Whether `cell` is one of this counter's.
    #[cfg(test)]
    fn owns(&self, cell: &Cell) -> bool {
        let cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        cells.iter().any(|word| Arc::ptr_eq(word, &cell.0))
    }
}

impl Cell {
    /// Counts one, without a locked instruction: there is one writer.
    #[expect(
        clippy::needless_pass_by_ref_mut,
        reason = "who has the cell to itself is its only writer"
    )]
    #[inline]
    pub(super) fn add_one(&mut self) {
        let count = self.0.0.load(Ordering::Relaxed);
        self.0.0.store(count + 1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn cells_that_come_and_go_lose_nothing() {
        let tally = Tally::default();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        let mut cell = tally.cell();
                        (0..10).for_each(|_| cell.add_one());
                        tally.add_one();
                    }
                });
            }
            let mut last = 0;
            while last < 4_400 {
                let total = tally.total();
                assert!(total >= last, "{total} after {last}");
                last = total;
            }
        });
        assert_eq!(tally.total(), 4_400);
    }

    #[test]
    fn cells_without_an_owner_are_not_kept() {
        let tally = Tally::default();
        let kept = tally.cell();
        for _ in 0..100 {
            tally.cell().add_one();
        }
        assert!(tally.owns(&kept));
        assert!(tally.cells.lock().unwrap().len() <= 2);
        assert_eq!(tally.total(), 100);
    }
}
