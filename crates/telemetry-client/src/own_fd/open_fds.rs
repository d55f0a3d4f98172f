//! Which descriptors this process has open for its managers: a table that a forked child can read.
//!
//! A child inherits them without the threads that serve them. Whoever hooks into `fork` closes them
//! there, so that a manager sees the parent's end of a connection close when the parent closes it, and
//! nothing keeps the memory of a region. The table is of fixed size and made of atomics: reading it
//! takes no lock and no memory.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};

/// Descriptors that the table holds; more are served all the same but not listed.
const CAPACITY: usize = 64;
/// Marks a free slot.
const FREE: RawFd = -1;
/// Marks a slot that is being filled.
const CLAIMED: RawFd = -2;

/// The descriptors.
static SLOTS: [Slot; CAPACITY] = [const { Slot::new() }; CAPACITY];

/// How many forks lie between this process and the first one, as far as they were noticed: what was made
/// before the last of them is an ancestor's.
pub(crate) static FORKS: AtomicU32 = AtomicU32::new(0);

/// A socket or a region's file that a server of this process has open, unless the program closed its number and uses it
/// for something else: only what is still the same file may be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenFd {
    /// Its number.
    pub fd: RawFd,
    /// `st_dev` of it, as `fstat` tells.
    pub device: u64,
    /// `st_ino` of it.
    pub inode: u64,
}

/// A place in the table.
#[derive(Debug)]
struct Slot {
    /// The number; written last and taken away first.
    fd: AtomicI32,
    /// What it was when it was listed.
    device: AtomicU64,
    /// The same.
    inode: AtomicU64,
}

impl Slot {
    const fn new() -> Self {
        Self {
            fd: AtomicI32::new(FREE),
            device: AtomicU64::new(0),
            inode: AtomicU64::new(0),
        }
    }
}

/// The listeners, connections, bells and files of regions that this process has open.
///
/// Async-signal-safe. In a child of `fork`, and only before any other thread of the child starts,
/// each of them that is still the file it was may be closed: nothing there uses them.
pub fn open_fds() -> impl Iterator<Item = OpenFd> {
    SLOTS.iter().filter_map(|slot| {
        let fd = slot.fd.load(Ordering::Acquire);
        (fd >= 0).then(|| OpenFd {
            fd,
            device: slot.device.load(Ordering::Relaxed),
            inode: slot.inode.load(Ordering::Relaxed),
        })
    })
}

/// Empties the table of a forked child, in which nothing is open. Async-signal-safe, and for the same
/// moment as [`open_fds`].
pub(crate) fn unlist_all() {
    FORKS.fetch_add(1, Ordering::Relaxed);
    for slot in &SLOTS {
        slot.fd.store(FREE, Ordering::Release);
    }
}

/// A descriptor's place in the table. It must be dropped before the descriptor is closed: a number in the
/// table should not be another file's by the time of a fork.
#[derive(Debug)]
pub(super) struct Listed {
    /// Where it is; `None` if the table was full.
    slot: Option<&'static Slot>,
    /// [`FORKS`] when it was listed; the table of a child has it no more.
    forks: u32,
}

impl Listed {
    /// Lists a descriptor.
    pub(super) fn new(open: OpenFd) -> Self {
        let slot = SLOTS.iter().find(|slot| {
            slot.fd
                .compare_exchange(FREE, CLAIMED, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
        });
        if let Some(slot) = slot {
            slot.device.store(open.device, Ordering::Relaxed);
            slot.inode.store(open.inode, Ordering::Relaxed);
            slot.fd.store(open.fd, Ordering::Release);
        }
        let forks = FORKS.load(Ordering::Relaxed);
        Self { slot, forks }
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        if let Some(slot) = self.slot
            && self.forks == FORKS.load(Ordering::Relaxed)
        {
            slot.fd.store(FREE, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What no other test of this process lists.
    const NOBODYS: OpenFd = OpenFd {
        fd: RawFd::MAX,
        device: 1,
        inode: 2,
    };

    #[test]
    fn a_socket_is_listed_until_its_place_is_dropped() {
        let listed = Listed::new(NOBODYS);
        assert!(open_fds().any(|open| open == NOBODYS));
        drop(listed);
        assert!(open_fds().all(|open| open != NOBODYS));
    }

    #[test]
    fn a_socket_beyond_the_table_is_not_listed() {
        let another = OpenFd {
            fd: RawFd::MAX - 1,
            ..NOBODYS
        };
        let listed: Vec<_> = (0..=CAPACITY).map(|_| Listed::new(another)).collect();
        assert!(listed.iter().any(|listed| listed.slot.is_none()));
    }
}
