//! What happens when this process forks.
//!
//! The handler that runs in the child does async-signal-safe work only: it marks the inherited
//! state as not ours and closes inherited sockets. Everything else is lazy: the next call finds
//! the mark and makes a state of its own (`state.rs`). The inherited one is leaked, never touched.
//! The handlers that run in the parent keep our threads of Python asleep meanwhile (`naps.rs`).

use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use telemetry_client::serve::OpenFd;

use crate::naps;
use crate::phase::{self, Phase};

/// How many forks lie between the first process that loaded the module and this one.
static GENERATION: AtomicU64 = AtomicU64::new(0);

/// The generation that the random numbers were seeded in.
static SEEDED: AtomicU64 = AtomicU64::new(0);

/// Whether the handler is registered; there is no way to take it back.
static IS_WATCHED: Mutex<bool> = Mutex::new(false);

/// The number of this process among its forked ancestors, from 0.
pub(crate) fn generation() -> u64 {
    GENERATION.load(Ordering::Relaxed)
}

/// Makes sure that a fork is noticed. Called before there is anything to inherit.
pub(crate) fn watch() {
    let mut is_watched = IS_WATCHED.lock().unwrap_or_else(PoisonError::into_inner);
    if !*is_watched {
        naps::prepare();
        // SAFETY: the handlers are functions without captures that live as long as the process; the one
        // of the child calls only what POSIX allows between fork and exec.
        let failed = unsafe {
            libc::pthread_atfork(
                Some(naps::before_fork),
                Some(naps::after_fork_in_parent),
                Some(in_child),
            )
        };
        // Only for want of memory, and then the next call tries again.
        *is_watched = failed == 0;
    }
}

/// Gives a forked child random numbers of its own, before it uses the first.
pub(crate) fn settle() {
    watch();
    let generation = generation();
    if SEEDED.swap(generation, Ordering::Relaxed) != generation {
        telemetry_core::reseed();
    }
}

/// Runs in the child before `fork` returns there. Other threads of the parent do not exist here, and
/// whatever they were doing is half done: no lock, no allocation, no thread-local.
extern "C" fn in_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    phase::set(Phase::Unresolved);
    naps::after_fork_in_child();
    for open in telemetry_client::serve::open_fds() {
        if is_still(open) {
            // SAFETY: closing a number is always sound; this one is a socket that the parent's server
            // had open at the fork, and nothing in this process will use or close it again.
            unsafe { libc::close(open.fd) };
        }
    }
}

/// Whether a number stands for the socket it was listed with: the parent may have closed it and
/// opened a file of its own under the same one.
fn is_still(open: OpenFd) -> bool {
    // SAFETY: `found` is a plain value that the call fills in, and not read unless it did.
    unsafe {
        let mut found: libc::stat = mem::zeroed();
        libc::fstat(open.fd, &raw mut found) == 0
            && (found.st_dev, found.st_ino) == (open.device, open.inode)
    }
}
