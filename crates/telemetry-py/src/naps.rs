//! Threads of Python that are ours, and forks that Python knows nothing of.
//!
//! A server that is written in C forks without the GIL. In the child the GIL has whoever had it at that
//! moment; if that was a thread, the child waits for it for ever. So no thread of ours may have the GIL, or
//! ask for it, while this process forks: it sleeps in [`Naps`], wakes up only while nothing forks, and
//! whoever forks waits until it sleeps again, which takes it some microseconds.
//!
//! `os.fork` has the GIL, so nobody else gets it, and needs no such wait.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use pyo3::prelude::*;

/// How many threads of ours are awake, and above that how many threads fork.
static AWAKE: AtomicU32 = AtomicU32::new(0);
/// One thread that forks.
const FORK: u32 = 1 << 16;
/// The thread that forks as Python does it; 0: none.
static FORKS_BY_PYTHON: AtomicU32 = AtomicU32::new(0);

/// How long a fork is held up at most. Who has the GIL so long, although a thread of ours asks for it, is
/// not a thread of ours, and has it after this wait as well.
const MOST_WAIT: Duration = Duration::from_millis(50);
/// How long a thread of ours sleeps on while somebody forks.
const FORK_NAP: Duration = Duration::from_millis(1);
/// Longest nap; longer ones are cut to it.
const MAX_NAP: Duration = Duration::from_secs(1_000_000_000);

thread_local! {
    /// Ends with the thread, after all that Python does at the end of one.
    static WAKING: Waking = const { Waking };
}

/// A thread of ours that is awake.
struct Waking;

impl Drop for Waking {
    fn drop(&mut self) {
        fall_asleep();
    }
}

/// The sleep of one thread of ours.
#[pyclass(frozen, module = "telemetry_py._native")]
#[derive(Debug, Default)]
pub(crate) struct Naps {
    /// Whether it is to sleep no more.
    ended: Mutex<bool>,
    /// Tells the sleeper.
    told: Condvar,
}

#[pymethods]
impl Naps {
    /// Called before the thread is started: it wakes up as soon as it exists.
    #[new]
    fn new() -> Self {
        AWAKE.fetch_add(1, Ordering::AcqRel);
        Self::default()
    }

    /// There is no thread after all.
    fn no_thread(&self) {
        fall_asleep();
    }

    /// The first call of the thread: from here on it is known when it has ended.
    fn begin(&self) {
        // A thread whose locals cannot be had is taken to be awake.
        let _or_awake = WAKING.try_with(|_| ());
    }

    /// Sleeps; false if it was told to end.
    fn nap(&self, py: Python<'_>, seconds: f64) -> bool {
        let nap = Duration::try_from_secs_f64(seconds.max(0.0));
        let nap = nap.map_or(MAX_NAP, |nap| nap.min(MAX_NAP));
        py.detach(|| self.sleep(nap))
    }

    /// Wakes the thread up for its end.
    fn end(&self) {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.told.notify_all();
    }
}

impl Naps {
    /// The same without the GIL.
    fn sleep(&self, nap: Duration) -> bool {
        fall_asleep();
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let slept = self.told.wait_timeout_while(ended, nap, |ended| !*ended);
        let (ended, _) = slept.unwrap_or_else(PoisonError::into_inner);
        let goes_on = !*ended;
        drop(ended);
        wake_up();
        goes_on
    }
}

/// From here on this thread has no GIL and does not ask for it.
fn fall_asleep() {
    let asleep = |state: u32| (!state.is_multiple_of(FORK)).then(|| state - 1);
    // None is awake in a fork, whatever its parent's threads were.
    let _or_none_was = AWAKE.fetch_update(Ordering::AcqRel, Ordering::Acquire, asleep);
}

/// From here on this thread may have the GIL. Waits while somebody forks.
fn wake_up() {
    let awake = |state: u32| (state < FORK).then_some(state + 1);
    while AWAKE
        .fetch_update(Ordering::AcqRel, Ordering::Acquire, awake)
        .is_err()
    {
        thread::sleep(FORK_NAP);
    }
}

/// `os.fork` begins in this thread, which has the GIL.
#[pyfunction]
pub(crate) fn python_forks() {
    FORKS_BY_PYTHON.store(this_thread(), Ordering::Relaxed);
}

/// It is over, in the parent.
#[pyfunction]
pub(crate) fn python_forked() {
    FORKS_BY_PYTHON.store(0, Ordering::Relaxed);
}

/// Runs before a fork, in the thread that forks.
pub(crate) extern "C" fn before_fork() {
    AWAKE.fetch_add(FORK, Ordering::AcqRel);
    if FORKS_BY_PYTHON.load(Ordering::Relaxed) == this_thread() {
        return;
    }
    let mut begun = None;
    while !AWAKE.load(Ordering::Acquire).is_multiple_of(FORK) {
        if begun.get_or_insert_with(Instant::now).elapsed() > MOST_WAIT {
            return;
        }
        thread::yield_now();
    }
}

/// Runs after a fork, in the thread that forked.
pub(crate) extern "C" fn after_fork_in_parent() {
    AWAKE.fetch_sub(FORK, Ordering::AcqRel);
}

/// The same in the child, where no other thread exists. Async-signal-safe.
pub(crate) fn after_fork_in_child() {
    AWAKE.store(0, Ordering::Relaxed);
    FORKS_BY_PYTHON.store(0, Ordering::Relaxed);
}

/// The number that the system has for this thread.
fn this_thread() -> u32 {
    // SAFETY: it only asks.
    unsafe { libc::gettid() }.unsigned_abs()
}
