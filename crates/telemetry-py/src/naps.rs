//! Threads of Python that are ours, and forks that Python knows nothing of.
//!
//! A server that is written in C forks without the GIL. In the child the GIL has whoever had it at that
//! moment; if that was a thread, the child waits for it for ever. So no thread of ours may have the GIL, or
//! ask for it, while this process forks: it sleeps in [`Naps`], wakes up only while nothing forks, and
//! whoever forks waits until it sleeps again, which takes it some microseconds.
//!
//! Whoever forks with the GIL, as `os.fork` does, must not wait: nobody else gets it, and a thread that asks for
//! it for long would leave that request to the child, which has nobody to give it to.

use std::ffi::c_void;
use std::mem;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use pyo3::ffi::PyThreadState;
use pyo3::prelude::*;

/// How many threads of ours are awake, and above that how many threads fork.
static AWAKE: AtomicU32 = AtomicU32::new(0);
/// One thread that forks.
const FORK: u32 = 1 << 16;
/// Which thread of Python has the GIL, or runs in this thread, by the version.
type Current = unsafe extern "C" fn() -> *mut PyThreadState;
/// Who answers that; `None` inside if this Python has no such function.
static CURRENT: OnceLock<Option<Current>> = OnceLock::new();

/// How long a fork is held up at most. Who has the GIL so long, although a thread of ours asks for it, is
/// not a thread of ours, and has it after this wait as well.
const MOST_WAIT: Duration = Duration::from_millis(50);
/// How long the beginning of a thread of ours is waited for.
const MOST_BEGIN: Duration = Duration::from_millis(100);
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
    /// How far it is.
    state: Mutex<State>,
    /// Tells of each change of that.
    told: Condvar,
}

/// How far a thread of ours is.
#[derive(Debug, Default)]
struct State {
    /// It runs, and has what it needs of memory.
    begun: bool,
    /// It is to sleep no more.
    ended: bool,
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
        self.change(|state| state.begun = true);
    }

    /// Waits a moment for that. The locals of a thread are made where it needs them first, and where there
    /// is no memory for them by then, the system ends the process.
    fn wait_for_begin(&self, py: Python<'_>) {
        py.detach(|| {
            let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let _in_time = self
                .told
                .wait_timeout_while(state, MOST_BEGIN, |state| !state.begun);
        });
    }

    /// Sleeps; false if it was told to end.
    fn nap(&self, py: Python<'_>, seconds: f64) -> bool {
        let nap = Duration::try_from_secs_f64(seconds.max(0.0));
        let nap = nap.map_or(MAX_NAP, |nap| nap.min(MAX_NAP));
        py.detach(|| self.sleep(nap))
    }

    /// Wakes the thread up for its end.
    fn end(&self) {
        self.change(|state| state.ended = true);
    }
}

impl Naps {
    /// The same without the GIL.
    fn sleep(&self, nap: Duration) -> bool {
        fall_asleep();
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let slept = self
            .told
            .wait_timeout_while(state, nap, |state| !state.ended);
        let (state, _) = slept.unwrap_or_else(PoisonError::into_inner);
        let goes_on = !state.ended;
        drop(state);
        wake_up();
        goes_on
    }

    /// Changes how far it is, and tells.
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.told.notify_all();
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

/// Runs before a fork, in the thread that forks.
pub(crate) extern "C" fn before_fork() {
    AWAKE.fetch_add(FORK, Ordering::AcqRel);
    if has_gil() {
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
}

/// Has whoever forks able to tell whether it has the GIL. The stable interface of Python has no such question,
/// but every Python answers it, by one name or another.
pub(crate) fn prepare() {
    CURRENT.get_or_init(|| {
        let names = [
            c"_PyThreadState_UncheckedGet",
            c"PyThreadState_GetUnchecked",
        ];
        names.into_iter().find_map(|name| {
            // SAFETY: it only looks the name up, in what is loaded already.
            let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
            // SAFETY: a function of that name has this type, in all versions of Python that have it.
            (!found.is_null()).then(|| unsafe { mem::transmute::<*mut c_void, Current>(found) })
        })
    });
}

/// Whether this thread has the GIL; false if nobody knows.
fn has_gil() -> bool {
    let Some(Some(current)) = CURRENT.get() else {
        return false;
    };
    // SAFETY: both only read a word each, need no GIL, and never fail.
    unsafe {
        let of_this_thread = pyo3::ffi::PyGILState_GetThisThreadState();
        !of_this_thread.is_null() && current() == of_this_thread
    }
}
