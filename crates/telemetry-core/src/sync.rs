//! The atomics and locks of the queue, which `--cfg loom` swaps for those of the model checker.
//!
//! Only the queue and the parts of a region that it lives in take them from here; everything else uses
//! the standard library's.

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU64, Ordering, fence};
#[cfg(loom)]
pub(crate) use loom::sync::{Mutex, MutexGuard};
#[cfg(loom)]
pub(crate) use loom::thread::yield_now;
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU64, Ordering, fence};
#[cfg(not(loom))]
pub(crate) use std::sync::{Mutex, MutexGuard};
#[cfg(not(loom))]
pub(crate) use std::thread::yield_now;

/// This many cells of zero. The system gives their memory page by page when it is first written.
#[cfg(not(loom))]
pub(crate) fn zeroed(cells: usize) -> Box<[AtomicU64]> {
    bytemuck::zeroed_slice_box(cells)
}

/// This many cells of zero.
#[cfg(loom)]
pub(crate) fn zeroed(cells: usize) -> Box<[AtomicU64]> {
    (0..cells).map(|_| AtomicU64::new(0)).collect()
}
