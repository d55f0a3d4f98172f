//! Counts how often a thread asks for memory. Ours and peers pay the same for being counted.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    /// How often this thread allocated or reallocated. Neither lazy nor dropped, so that reading it
    /// allocates nothing and is possible at any time.
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, counted per thread.
struct Counting;

// SAFETY: every call goes to `System` unchanged; the counter neither allocates nor panics.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: `block` came from `System` with this layout.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: `block` came from `System` with this layout.
        unsafe { System.realloc(block, layout, size) }
    }
}

fn count() {
    COUNT.set(COUNT.get() + 1);
}

/// How often the calling thread asks for memory while `work` runs.
pub(crate) fn of(work: impl FnOnce()) -> u64 {
    let before = COUNT.get();
    work();
    COUNT.get() - before
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::*;

    #[test]
    fn every_box_is_counted_and_nothing_else() {
        assert_eq!(of(|| drop(black_box(Box::new(1)))), 1);
        assert_eq!(of(|| assert_eq!(black_box(1), 1)), 0);
    }

    #[test]
    fn another_thread_counts_for_itself() {
        let other = || std::thread::spawn(|| of(|| drop(black_box(Box::new(1))))).join();
        assert_eq!(other().unwrap(), 1);
    }
}
