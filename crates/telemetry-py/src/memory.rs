//! What happens where the system has no memory left: nothing that ends the process.
//!
//! Rust ends a process whose allocation fails. Telemetry must not do that to its host, so the allocator of
//! this module, and of nothing else in the process, goes further. A thread of ours waits until there is memory
//! again: nobody waits for it without a limit. A thread of the host gets what it needs, which is little, from a
//! reserve. What needs much is asked for first ([`has_room`]), and then there is an exception of Python.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::hint::black_box;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Bytes of the reserve. Pages of it that were never used take no memory.
const RESERVE_BYTES: usize = 1024 * 1024;
/// Smallest piece that the reserve gives.
const MIN_PIECE_BYTES: usize = 16;
/// How many sizes of pieces there are. The largest, 256 KiB, is more than an event can be while it is encoded.
const SIZES: usize = 15;
/// How long a thread of ours waits before it asks again.
const WAIT: Duration = Duration::from_millis(20);
/// How often the lock of the reserve is tried; whoever has it does a few additions.
const LOCK_ATTEMPTS: usize = 100_000;

/// The allocator of this module.
#[global_allocator]
static PATIENT: Patient = Patient;

/// The reserve.
static RESERVE: Reserve = Reserve {
    bytes: UnsafeCell::new([0; RESERVE_BYTES]),
    is_locked: AtomicBool::new(false),
    taken: UnsafeCell::new(Taken {
        end: 0,
        free: [None; SIZES],
    }),
};

/// The system's allocator, and what comes after it.
struct Patient;

/// Memory that is there from the start.
#[repr(C, align(4096))]
struct Reserve {
    /// It.
    bytes: UnsafeCell<[u8; RESERVE_BYTES]>,
    /// Whether a thread is at `taken`. A lock of the standard library could need memory.
    is_locked: AtomicBool,
    /// What is in use.
    taken: UnsafeCell<Taken>,
}

/// What of the reserve is in use. Pieces have sizes of powers of two, so that each fits where another one of
/// its size was.
struct Taken {
    /// Where what was never used begins.
    end: usize,
    /// The first free piece of each size; each holds where the next one is.
    free: [Option<NonNull<Piece>>; SIZES],
}

/// A free piece.
struct Piece {
    /// The next one of its size.
    next: Option<NonNull<Piece>>,
}

// SAFETY: `taken` is touched under `is_locked` only; of `bytes` each piece belongs to whoever got it.
unsafe impl Sync for Reserve {}

/// Whether the system would give so many bytes right now.
pub(crate) fn has_room(bytes: usize) -> bool {
    // SAFETY: the size is not zero, and what is given is given back with the same layout.
    unsafe {
        let Ok(layout) = Layout::from_size_align(bytes.max(1), 1) else {
            return false;
        };
        // Unseen by the compiler, which leaves out what is only given back, and then says that there was room.
        let room = black_box(System.alloc(layout));
        if !room.is_null() {
            System.dealloc(room, layout);
        }
        !room.is_null()
    }
}

// SAFETY: all that is not null comes from the system's allocator or is a piece of the reserve that nobody else
// has, of the size and alignment that was asked for; each goes back to where it is from.
unsafe impl GlobalAlloc for Patient {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        let found = unsafe { System.alloc(layout) };
        if found.is_null() {
            return without_memory(layout, || {
                // SAFETY: the caller's promise.
                unsafe { System.alloc(layout) }
            });
        }
        found
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        let found = unsafe { System.alloc_zeroed(layout) };
        if !found.is_null() {
            return found;
        }
        let found = without_memory(layout, || {
            // SAFETY: the caller's promise.
            unsafe { System.alloc_zeroed(layout) }
        });
        if !found.is_null() {
            // SAFETY: it is as large as it was asked to be. A piece of the reserve may have been used.
            unsafe { ptr::write_bytes(found, 0, layout.size()) };
        }
        found
    }

    #[inline]
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        if RESERVE.has(at) {
            // SAFETY: the caller's promise.
            return unsafe { RESERVE.give_back(at, layout) };
        }
        // SAFETY: it is not of the reserve, so it is the system's.
        unsafe { System.dealloc(at, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if !RESERVE.has(at) {
            // SAFETY: it is not of the reserve, so it is the system's; the rest is the caller's promise.
            let found = unsafe { System.realloc(at, layout, new_size) };
            if !found.is_null() {
                return found;
            }
        }
        // SAFETY: the caller promises a size that makes a layout; both blocks are as large as is copied, and
        // the old one is given up only where there is a new one.
        unsafe {
            let new = Layout::from_size_align_unchecked(new_size, layout.align());
            let found = self.alloc(new);
            if !found.is_null() {
                ptr::copy_nonoverlapping(at, found, layout.size().min(new_size));
                self.dealloc(at, layout);
            }
            found
        }
    }
}

/// What a thread gets where the system has nothing: by and by the same, or a piece of the reserve.
#[cold]
fn without_memory(layout: Layout, again: impl Fn() -> *mut u8) -> *mut u8 {
    if telemetry_core::emit::is_sending_thread() {
        loop {
            std::thread::sleep(WAIT);
            let found = again();
            if !found.is_null() {
                return found;
            }
        }
    }
    RESERVE.take(layout).unwrap_or(ptr::null_mut())
}

/// Which of the sizes a layout takes, and how many bytes that is.
fn size_of_piece(layout: Layout) -> Option<(usize, usize)> {
    // More than a page: nothing asks for such an alignment.
    if layout.align() > 4096 {
        return None;
    }
    let bytes = layout.size().max(layout.align()).max(MIN_PIECE_BYTES);
    let bytes = bytes.checked_next_power_of_two()?;
    let size = usize::try_from((bytes / MIN_PIECE_BYTES).trailing_zeros()).ok()?;
    (size < SIZES).then_some((size, bytes))
}

impl Reserve {
    /// Whether an address is in it.
    #[inline]
    fn has(&self, at: *mut u8) -> bool {
        (at as usize).wrapping_sub(self.bytes.get() as usize) < RESERVE_BYTES
    }

    /// A piece of it.
    fn take(&self, layout: Layout) -> Option<*mut u8> {
        let (size, bytes) = size_of_piece(layout)?;
        self.locked(|taken| {
            let first = taken.free.get_mut(size)?;
            if let Some(piece) = *first {
                // SAFETY: it is free, so it holds what `give_back` wrote.
                *first = unsafe { piece.read() }.next;
                return Some(piece.as_ptr().cast());
            }
            // Aligned to its size, up to a page, as the reserve is.
            let start = taken.end.next_multiple_of(bytes.min(4096));
            let end = start.checked_add(bytes)?;
            if end > RESERVE_BYTES {
                return None;
            }
            taken.end = end;
            Some(self.bytes.get().cast::<u8>().wrapping_add(start))
        })?
    }

    /// Takes a piece back.
    ///
    /// # Safety
    ///
    /// It is one that `take` gave for this layout, and nobody uses it any more.
    #[cold]
    unsafe fn give_back(&self, at: *mut u8, layout: Layout) {
        let (Some((size, _)), Some(piece)) =
            (size_of_piece(layout), NonNull::new(at.cast::<Piece>()))
        else {
            return;
        };
        let _or_it_stays_in_use = self.locked(|taken| {
            if let Some(first) = taken.free.get_mut(size) {
                // SAFETY: the caller's promise; the smallest piece is as large, and aligned, as this needs.
                unsafe { piece.write(Piece { next: *first }) };
                *first = Some(piece);
            }
        });
    }

    /// Looks at what is in use. `None`: the thread that is at it does not exist in this fork.
    fn locked<T>(&self, look: impl FnOnce(&mut Taken) -> T) -> Option<T> {
        for _ in 0..LOCK_ATTEMPTS {
            if !self.is_locked.swap(true, Ordering::Acquire) {
                // SAFETY: nobody else has the lock.
                let result = look(unsafe { &mut *self.taken.get() });
                self.is_locked.store(false, Ordering::Release);
                return Some(result);
            }
            std::thread::yield_now();
        }
        None
    }
}
