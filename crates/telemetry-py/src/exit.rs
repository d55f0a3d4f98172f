//! The end of the process.
//!
//! It comes in two steps. Where the exit hooks run, what is queued gets time to be sent, and what runs
//! goes on. It is ended when the interpreter is gone: a hook that was registered before ours runs
//! after it, finalizers run even later, and what they emit is an event like any other. Both steps
//! together take no longer than the time for the exit.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pyo3::ffi;
use pyo3::prelude::*;

use crate::convert::guarded;
use crate::ending::{drain, exit_timeout, shut};
use crate::fork;
use crate::heartbeat;
use crate::state::{self, State};

/// How much of the time for the exit is used up, nanoseconds.
static SPENT: AtomicU64 = AtomicU64::new(0);

/// [`fork::generation`] of the process that used it up.
static SPENT_BY: AtomicU64 = AtomicU64::new(0);

/// Whether the last step is registered, which is tried once; there is no way to take it back.
static REGISTERED: OnceLock<bool> = OnceLock::new();

/// The first step: gives what is queued time to be sent. Nothing is made for it and nothing ends.
#[pyfunction]
pub(crate) fn flush_at_exit(py: Python<'_>) -> PyResult<()> {
    guarded(py, || {
        let Some(state) = state::own() else {
            return Ok(());
        };
        // The thread that beats will not run any more when the interpreter ends.
        heartbeat::rest();
        let begun = Instant::now();
        py.detach(|| drain(&state, begun + time_left(&state)));
        let spent = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        SPENT.fetch_add(spent, Ordering::Relaxed);
        Ok(())
    })
}

/// The last step of a process whose interpreter is never gone, as a child of `multiprocessing`.
#[pyfunction]
pub(crate) fn end_at_exit(py: Python<'_>) -> PyResult<()> {
    guarded(py, || {
        if let Some(state) = state::own() {
            shut(py, &state, time_left(&state));
        }
        Ok(())
    })
}

/// Has the last step taken when the interpreter is gone; false if that cannot be had.
#[pyfunction]
pub(crate) fn close_at_exit() -> bool {
    // SAFETY: attached; `close` calls nothing of Python. It fails if there are 32 functions already.
    *REGISTERED.get_or_init(|| unsafe { ffi::Py_AtExit(Some(close)) } == 0)
}

/// The last step. The interpreter is gone, or never was this process's: nothing of Python may be
/// touched, not even let go of.
extern "C" fn close() {
    let _panicked = catch_unwind(AssertUnwindSafe(|| {
        if let Some(state) = state::own() {
            state.incarnation.end(time_left(&state));
            std::mem::forget(state);
        }
    }));
}

/// What is left of the time for the exit. A process that was forked from one at its end has all of it.
fn time_left(state: &State) -> Duration {
    let generation = fork::generation();
    if SPENT_BY.swap(generation, Ordering::Relaxed) != generation {
        SPENT.store(0, Ordering::Relaxed);
    }
    let spent = Duration::from_nanos(SPENT.load(Ordering::Relaxed));
    exit_timeout(state).saturating_sub(spent)
}
