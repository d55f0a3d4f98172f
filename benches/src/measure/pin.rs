//! Keeping the measuring thread on one core, so that it takes its caches with it nowhere.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The calling thread stays on one core until this is dropped. Threads it starts inherit that, so
/// what has threads of its own is made before.
#[derive(Debug)]
#[must_use]
pub(crate) struct Pinned {
    /// Where the thread was allowed to run; none: it could not be pinned and runs as it did.
    before: Option<CpuSet>,
}

impl Pinned {
    /// Pins the calling thread to the last core it may use: the first one serves most interrupts.
    pub(crate) fn to_last_core() -> Self {
        let before = sched_getaffinity(None).ok().filter(|before| {
            let last = (0..CpuSet::MAX_CPU).rev().find(|cpu| before.is_set(*cpu));
            last.is_some_and(|last| {
                let mut one = CpuSet::new();
                one.set(last);
                sched_setaffinity(None, &one).is_ok()
            })
        });
        Self { before }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // Staying pinned is no harm to a thread that is about to end.
            let _ = sched_setaffinity(None, before);
        }
    }
}
