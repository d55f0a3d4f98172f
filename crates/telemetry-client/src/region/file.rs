//! Makes the file of a region: room first, then the mapping, then the seals.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    FallocateFlags, MemfdFlags, Mode, OFlags, SealFlags, fallocate, fcntl_add_seals, ftruncate,
    memfd_create, open,
};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use telemetry_core::emit::{Identity, Layout, Region};

use super::mapped::Mapped;
use crate::own_fd::{Losses, OwnFd};

/// Says whether the system promises more memory than it has: a page of such a file that was not asked for before
/// is then refused at its first use, which is a signal. Else it is as with the heap.
const OVERCOMMIT: &str = "/proc/sys/vm/overcommit_memory";
/// What stands there if it does not.
const NEVER: &str = "2";

/// Makes a region of this layout that outlives the process, and the descriptor that others read it by.
///
/// # Errors
///
/// What the system said: it has no such files, no memory, or a limit is in the way. Then the heap has to do.
pub fn region_file(layout: Layout, identity: Identity) -> io::Result<(Region, OwnedFd)> {
    let (region, mapped) = place(layout, identity)?;
    let file = move_into_file(&mapped, layout, &Losses::default())?;
    Ok((region, file.into_fd().ok_or(Errno::BADF)?))
}

/// A region that ends with the process, and can be moved into a file.
pub(super) fn place(layout: Layout, identity: Identity) -> io::Result<(Region, Mapped)> {
    super::fork::watch()?;
    let (mapped, lease) = Mapped::new(layout)?;
    let region = Region::of(mapped.words(), layout).map_err(io::Error::other)?;
    Ok((region.leased(lease).signed(identity), mapped))
}

/// Makes the file that a region is moved into. Nobody may use the region meanwhile.
pub(super) fn move_into_file(
    mapped: &Mapped,
    layout: Layout,
    losses: &Losses,
) -> io::Result<OwnFd> {
    let bytes = layout.bytes();
    let limit = getrlimit(Resource::Fsize).current;
    if limit.is_some_and(|limit| limit < bytes as u64) {
        // Beyond it a signal would end the process.
        return Err(Errno::FBIG.into());
    }
    // Listed for a fork before it is anything.
    let own = OwnFd::new(create()?, losses)?;
    let file = own.get()?;
    ftruncate(file, bytes as u64)?;
    // A write without memory would be a signal later. All of the ring will be used, and of the rest a few pages,
    // which matter only where the system counts each of them.
    let needed = if never_promises() {
        0..bytes
    } else {
        layout.ring_bytes()
    };
    let (start, length) = (needed.start as u64, needed.len() as u64);
    fallocate(file, FallocateFlags::empty(), start, length)?;
    // Before the mapping, so that nothing can go wrong behind it.
    let read_only = read_only(file)
        .map(|fd| OwnFd::new(fd, losses))
        .transpose()?;
    mapped.move_into(file)?;
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE | SealFlags::SEAL;
    fcntl_add_seals(file, seals)?;
    Ok(read_only.unwrap_or(own))
}

/// Whether the system never promises more memory than it has.
fn never_promises() -> bool {
    fs::read_to_string(OVERCOMMIT).is_ok_and(|mode| mode.trim() == NEVER)
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
fn read_only(file: BorrowedFd<'_>) -> Option<OwnedFd> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()
}
