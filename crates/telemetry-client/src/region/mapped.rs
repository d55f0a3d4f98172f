//! Where the regions of this process are mapped: a table that a forked child can read.
//!
//! A place in the address space is used by one region after the other. It is never given back, so that the
//! words in it are there for ever; while nobody uses it, memory lies there that was never touched. A region begins
//! in such memory, which ends with the process, and is moved into a file from there.

use std::io;
use std::os::fd::BorrowedFd;
use std::ptr;
use std::slice;
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU64, AtomicUsize, Ordering};

use rustix::io::{Errno, pwrite};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, mmap_anonymous};
use telemetry_core::emit::Layout;

use crate::own_fd::FORKS;

/// Regions of one process at once; one more is had from the heap.
const MAX_REGIONS: usize = 64;
/// Bytes at the beginning of the ring that are made resident at once; the rest becomes so when it is used.
const POPULATED: usize = 64 * 1024;
/// Words that are copied at once when a region moves; such as are all zero are left out.
const COPIED_WORDS: usize = 512;

/// No place yet.
const FREE: u8 = 0;
/// Somebody is about to map a region there.
const CLAIMED: u8 = 1;
/// A region is there.
const USED: u8 = 2;
/// Nobody uses it, and the next region of its size can have it.
const POOLED: u8 = 3;

/// The places.
static PLACES: [Place; MAX_REGIONS] = [const { Place::new() }; MAX_REGIONS];

/// A place in the address space.
#[derive(Debug)]
struct Place {
    /// What it is used for.
    state: AtomicU8,
    /// Where it begins; null if it is none yet.
    at: AtomicPtr<AtomicU64>,
    /// Its length in bytes; changed only by whoever has claimed it while it was no place.
    bytes: AtomicUsize,
}

/// A region that is mapped.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mapped {
    /// Its words.
    words: &'static [AtomicU64],
    /// Where its ring begins and how long it is, in bytes.
    ring: (usize, usize),
}

/// Held while a region is used.
#[derive(Debug)]
pub(super) struct Lease {
    /// Where it is.
    place: &'static Place,
    /// [`FORKS`] when it was mapped; in a child it is not there any more.
    forks: u32,
}

impl Place {
    const fn new() -> Self {
        Self {
            state: AtomicU8::new(FREE),
            at: AtomicPtr::new(ptr::null_mut()),
            bytes: AtomicUsize::new(0),
        }
    }

    /// Gets hold of it.
    fn claim(&self, state: u8) -> bool {
        let claimed =
            self.state
                .compare_exchange(state, CLAIMED, Ordering::Acquire, Ordering::Relaxed);
        claimed.is_ok()
    }

    /// Finds a place of so many bytes that nobody uses, or makes one.
    fn find(bytes: usize) -> io::Result<&'static Self> {
        let fits = |place: &Self| place.bytes.load(Ordering::Relaxed) == bytes;
        for place in PLACES.iter().filter(|place| fits(place)) {
            if place.claim(POOLED) {
                if fits(place) {
                    return Ok(place);
                }
                place.state.store(POOLED, Ordering::Release);
            }
        }
        let place = PLACES.iter().find(|place| place.claim(FREE));
        let place = place.ok_or(Errno::MFILE)?;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        let none = ProtFlags::empty();
        // SAFETY: the system chooses a place where nothing is.
        match unsafe { mmap_anonymous(ptr::null_mut(), bytes, none, flags) } {
            Ok(at) => {
                place.bytes.store(bytes, Ordering::Relaxed);
                // From here on a forked child lays its own memory over it.
                place.at.store(at.cast(), Ordering::Release);
                Ok(place)
            }
            Err(error) => {
                place.state.store(FREE, Ordering::Release);
                Err(error.into())
            }
        }
    }

    /// Lays memory that was never touched over what is there; whether that was done. Nothing but a system call.
    fn lay_over(&self) -> bool {
        let at = self.at.load(Ordering::Acquire);
        let bytes = self.bytes.load(Ordering::Relaxed);
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE;
        // SAFETY: exactly a place of ours; what may still look at it does so by atomic words, and those of the
        // new memory are as good.
        unsafe { mmap_anonymous(at.cast(), bytes, access, flags) }.is_ok()
    }
}

impl Mapped {
    /// A place for a region, all zeros, in memory that ends with the process.
    pub(super) fn new(layout: Layout) -> io::Result<(Self, Lease)> {
        let bytes = layout.bytes();
        let place = Place::find(bytes)?;
        if !place.lay_over() {
            // Whatever is there now, nobody gets it.
            return Err(Errno::NOMEM.into());
        }
        let at = place.at.load(Ordering::Relaxed);
        place.state.store(USED, Ordering::Release);
        let lease = Lease {
            place,
            forks: FORKS.load(Ordering::Relaxed),
        };
        let ring = layout.ring_bytes();
        let mapped = Self {
            // SAFETY: a place begins at a page, is as long as this, zero and never taken down, and is written by
            // nobody but through these words: a file that is laid there is sealed before anybody else gets it.
            words: unsafe { slice::from_raw_parts(at, bytes / size_of::<u64>()) },
            ring: (ring.start, ring.len()),
        };
        Ok((mapped, lease))
    }

    /// Lays a file of zeros over the place, which goes on with the same content. What others write meanwhile may be
    /// lost, and so may all of it if the system has no memory left for an entry of its tables.
    pub(super) fn move_into(&self, file: BorrowedFd<'_>) -> io::Result<()> {
        let mut copy = Vec::with_capacity(COPIED_WORDS * size_of::<u64>());
        for (number, words) in self.words.chunks(COPIED_WORDS).enumerate() {
            copy.clear();
            copy.extend(
                words
                    .iter()
                    .flat_map(|word| word.load(Ordering::Acquire).to_ne_bytes()),
            );
            if copy.iter().any(|byte| *byte != 0) {
                write_all(file, &copy, number * COPIED_WORDS * size_of::<u64>())?;
            }
        }
        let at = self.words.as_ptr().cast_mut();
        let bytes = size_of_val(self.words);
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::SHARED | MapFlags::FIXED;
        // SAFETY: exactly a place of ours; who looks at it meanwhile does so by atomic words, and those of the file
        // are as good.
        if let Err(error) = unsafe { mmap(at.cast(), bytes, access, flags, file, 0) } {
            // Older systems take away what was there before they find that they cannot.
            let flags = MapFlags::PRIVATE | MapFlags::FIXED_NOREPLACE | MapFlags::NORESERVE;
            // SAFETY: a place of ours, and only if nothing is there any more.
            let _nothing_more = unsafe { mmap_anonymous(at.cast(), bytes, access, flags) };
            return Err(error.into());
        }
        self.advise(POPULATED);
        Ok(())
    }

    /// Its words.
    pub(super) fn words(&self) -> &'static [AtomicU64] {
        self.words
    }

    /// Has the system give the memory of the whole ring.
    pub(super) fn populate(&self) {
        self.advise(usize::MAX);
    }

    /// Has the system give the first so many bytes of the ring. Before Linux 5.14 it refuses.
    fn advise(&self, bytes: usize) {
        let (start, length) = self.ring;
        let page = rustix::param::page_size();
        let begin = start / page * page;
        let end = (start + length.min(bytes)).min(size_of_val(self.words));
        let at = self.words.as_ptr().cast_mut();
        // SAFETY: within a place of ours; it changes nothing that can be seen.
        let _refused = unsafe {
            madvise(
                at.byte_add(begin).cast(),
                end - begin,
                Advice::LinuxPopulateWrite,
            )
        };
    }
}

/// Writes all of it at this place of a file.
fn write_all(file: BorrowedFd<'_>, mut bytes: &[u8], mut offset: usize) -> io::Result<()> {
    while !bytes.is_empty() {
        match pwrite(file, bytes, offset as u64) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                bytes = bytes.get(written..).unwrap_or_default();
                offset += written;
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

impl Drop for Lease {
    fn drop(&mut self) {
        let is_here = self.forks == FORKS.load(Ordering::Relaxed);
        if is_here && self.place.lay_over() {
            self.place.state.store(POOLED, Ordering::Release);
        }
    }
}

/// Lays memory of its own over what a forked child has of its parent's regions. Async-signal-safe. It is zero;
/// what the child still writes there reaches nobody, or is in the region that the child makes there itself.
pub(super) fn lay_over_all() {
    for place in &PLACES {
        match place.state.load(Ordering::Acquire) {
            CLAIMED if place.at.load(Ordering::Acquire).is_null() => {
                place.state.store(FREE, Ordering::Release);
            }
            CLAIMED | USED => {
                let state = if place.lay_over() { POOLED } else { CLAIMED };
                place.state.store(state, Ordering::Release);
            }
            _ => {}
        }
    }
}
