//! What happens when this process forks.
//!
//! The handler that runs in the child does async-signal-safe work only: it has the client let go of the
//! inherited region, sockets and other descriptors, and marks the inherited state as not ours. Everything else is lazy: the next call finds
//! the mark and makes a state of its own (`state.rs`). The inherited one is leaked, never touched.
//! The handlers that run in the parent keep our threads of Python asleep meanwhile (`naps.rs`).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

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
        telemetry_core::emit::reseed();
    }
}

/// Runs in the child before `fork` returns there. Other threads of the parent do not exist here, and
/// whatever they were doing is half done: no lock, no allocation, no thread-local.
extern "C" fn in_child() {
    telemetry_client::region::forget_in_child();
    GENERATION.fetch_add(1, Ordering::Relaxed);
    phase::set(Phase::Unresolved);
    naps::after_fork_in_child();
}
