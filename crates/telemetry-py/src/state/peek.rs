//! A look at the state in force that costs two writes to memory that no other core touches.
//!
//! The state is replaced by attached threads only, so a thread that looks at it from attached code
//! sees it whole. What it must not do is end while somebody still looks: an object's method, or a
//! finalizer that the collector runs, can replace it in the midst of an event. So looks are counted,
//! and a state that is replaced while there are any is put aside, to be let go with the next one that
//! is replaced while there are none.

use std::mem;
use std::ops::Deref;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::Python;

use super::State;
use crate::phase::{self, Phase};

/// The state in force; never dangling while the phase is `On` or `Due`.
static CURRENT: AtomicPtr<State> = AtomicPtr::new(ptr::null_mut());

/// Looks that have not ended. Written by attached threads only, one at a time, so that loads and
/// stores suffice.
static LOOKS: AtomicUsize = AtomicUsize::new(0);

/// States that were replaced while somebody looked.
static RETIRED: Mutex<Vec<Arc<State>>> = Mutex::new(Vec::new());

/// A look at the state in force. It stays valid whatever runs meanwhile.
#[derive(Debug)]
pub(crate) struct Look {
    /// What is looked at.
    state: *const State,
}

impl Look {
    /// Looks, if there is a state with a backend.
    #[inline]
    pub(crate) fn new(_attached: Python<'_>) -> Option<Self> {
        if !phase::is(Phase::On) {
            return None;
        }
        LOOKS.store(LOOKS.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        Some(Self {
            state: CURRENT.load(Ordering::Relaxed),
        })
    }
}

impl Look {
    /// Keeps what is looked at beyond the look.
    pub(crate) fn hold(&self) -> Arc<State> {
        // SAFETY: it points into an `Arc`, which is held elsewhere at least until the look ends.
        unsafe {
            Arc::increment_strong_count(self.state);
            Arc::from_raw(self.state)
        }
    }
}

impl Deref for Look {
    type Target = State;

    #[inline]
    fn deref(&self) -> &State {
        // SAFETY: it was in force when the look began, and is not dropped before the look ends.
        unsafe { &*self.state }
    }
}

impl Drop for Look {
    #[inline]
    fn drop(&mut self) {
        LOOKS.store(
            LOOKS.load(Ordering::Relaxed).saturating_sub(1),
            Ordering::Relaxed,
        );
    }
}

/// Makes `state` the one that is seen; `STATE` keeps it until it is retired.
pub(super) fn show(state: &Arc<State>) {
    CURRENT.store(Arc::as_ptr(state).cast_mut(), Ordering::Relaxed);
}

/// Lets go of a state that is no longer in force, now or when nobody looks any more. That may run
/// Python code.
pub(super) fn retire(state: Arc<State>) {
    let mut retired = RETIRED.lock().unwrap_or_else(PoisonError::into_inner);
    retired.push(state);
    if LOOKS.load(Ordering::Relaxed) == 0 {
        let ended = mem::take(&mut *retired);
        drop(retired);
        drop(ended);
    }
}
