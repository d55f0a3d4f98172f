//! The memory of an incarnation that outlives it: a sealed memory file, which its maker maps and others can
//! only read.
//!
//! It lives as long as somebody has it open: the process itself, and the manager that it was handed to. Once it
//! is mapped nobody can write it by another way, shrink it or make it executable. Mappings are never taken down,
//! because core holds their words for ever.
//!
//! A forked child finds the mapping of its parent, and must not write there. Its fork handler calls
//! [`forget_in_child`], which lays memory of its own over it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

use rustix::fs::{
    FallocateFlags, MemfdFlags, Mode, OFlags, SealFlags, fallocate, fcntl_add_seals, ftruncate,
    memfd_create, open,
};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, mmap_anonymous};
use rustix::process::{Resource, getrlimit};
use telemetry_core::{Identity, Layout, Region};

/// Regions of one process at once; one more is had from the heap.
const MAX_REGIONS: usize = 64;
/// Bytes at the beginning of the ring that are made resident at once; the rest becomes so when it is used.
const POPULATED: usize = 64 * 1024;

/// Where the mappings of this process are, for its forked children.
static MAPPED: [Mapped; MAX_REGIONS] = [const { Mapped::new() }; MAX_REGIONS];

/// One mapping.
struct Mapped {
    /// Where it begins; null if there is none.
    at: AtomicPtr<AtomicU64>,
    /// Its length in bytes.
    bytes: AtomicUsize,
}

impl Mapped {
    const fn new() -> Self {
        Self {
            at: AtomicPtr::new(ptr::null_mut()),
            bytes: AtomicUsize::new(0),
        }
    }
}

/// Makes a region of this layout that outlives the process, and the descriptor that others read it by.
///
/// # Errors
///
/// What the system said: it has no such files, no memory, or a limit is in the way. Then the heap has to do.
pub fn region_file(layout: Layout, identity: Identity) -> io::Result<(Region, OwnedFd)> {
    let bytes = layout.bytes();
    let limit = getrlimit(Resource::Fsize).current;
    if limit.is_some_and(|limit| limit < bytes as u64) {
        // Beyond it a signal would end the process.
        return Err(Errno::FBIG.into());
    }
    let file = create()?;
    ftruncate(&file, bytes as u64)?;
    // Room for all of it now, or a write without memory would be a signal later.
    fallocate(&file, FallocateFlags::empty(), 0, bytes as u64)?;
    let words = map(&file, layout)?;
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE | SealFlags::SEAL;
    fcntl_add_seals(&file, seals)?;
    let region = Region::of(words, layout).map_err(io::Error::other)?;
    Ok((region.signed(identity), read_only(file)))
}

/// A memory file that can be sealed.
fn create() -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match memfd_create(c"telemetry", flags | MemfdFlags::NOEXEC_SEAL) {
        // Known since Linux 6.3.
        Err(Errno::INVAL) => Ok(memfd_create(c"telemetry", flags)?),
        made => Ok(made?),
    }
}

/// The same file for those who may only read it; where that cannot be had the seals have to do.
fn read_only(file: OwnedFd) -> OwnedFd {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).unwrap_or(file)
}

/// Maps the whole file for good.
fn map(file: impl AsFd, layout: Layout) -> io::Result<&'static [AtomicU64]> {
    let bytes = layout.bytes();
    let slot = MAPPED
        .iter()
        .find(|slot| {
            slot.bytes
                .compare_exchange(0, bytes, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        })
        .ok_or(Errno::MFILE)?;
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: the system chooses a place where nothing is.
    let mapped = unsafe { mmap(ptr::null_mut(), bytes, access, MapFlags::SHARED, file, 0) };
    let Ok(at) = mapped else {
        slot.bytes.store(0, Ordering::Release);
        return Err(mapped.map(drop).err().unwrap_or(Errno::NOMEM).into());
    };
    let ring = layout.ring_bytes();
    let populated = POPULATED.min(ring.len());
    // SAFETY: within the mapping; it changes nothing that can be seen. Before Linux 5.14 it is refused.
    let _refused = unsafe {
        madvise(
            at.byte_add(ring.start),
            populated,
            Advice::LinuxPopulateWrite,
        )
    };
    let at = at.cast::<AtomicU64>();
    // From here on a forked child lays its own memory over it.
    slot.at.store(at, Ordering::Release);
    // SAFETY: a mapping begins at a page, is as long as this, zero, never taken down, and written by nobody but
    // through these words: the file is sealed before anybody else gets it.
    Ok(unsafe { std::slice::from_raw_parts(at, bytes / size_of::<u64>()) })
}

/// Lays memory of its own over what a forked child has of its parent's regions. It is zero, and what the child
/// still writes there reaches nobody. To be called from the child's fork handler: it does nothing but system
/// calls.
pub fn forget_in_child() {
    for slot in &MAPPED {
        let at = slot.at.load(Ordering::Acquire);
        if at.is_null() {
            continue;
        }
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::PRIVATE | MapFlags::FIXED;
        let bytes = slot.bytes.load(Ordering::Relaxed);
        // SAFETY: exactly the place of a mapping of ours, which is in use as atomic words; those of the new one
        // are as good. In a child no other thread looks at them meanwhile.
        let _kept = unsafe { mmap_anonymous(at.cast(), bytes, access, flags) };
    }
}

#[cfg(test)]
mod tests;
