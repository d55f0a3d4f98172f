//! The ledgers of recorders that were ended in this process, as when telemetry is started again.

use std::sync::{Arc, Mutex, PoisonError};

use telemetry_core::{emit::Recorder, ledger::WorkerSnapshot};

/// What became of the events of recorders that were ended; one for a process, which its incarnations hand on.
#[derive(Debug, Default, Clone)]
pub(crate) struct Past(Arc<Mutex<Kept>>);

/// What is kept of them.
#[derive(Debug, Default)]
struct Kept {
    /// The sum of those in which nothing is counted any more.
    sum: WorkerSnapshot,
    /// Those that somebody still has, as a span that has not ended.
    open: Vec<Arc<Recorder>>,
}

impl Past {
    /// Adds a recorder that was ended.
    pub(crate) fn add(&self, recorder: &Arc<Recorder>) {
        self.folded(|kept| kept.open.push(Arc::clone(recorder)));
    }

    /// The sum of all.
    pub(crate) fn sum(&self) -> WorkerSnapshot {
        self.folded(|kept| {
            let mut sum = kept.sum.clone();
            for recorder in &kept.open {
                sum.merge(&recorder.snapshot());
            }
            sum
        })
    }

    /// Looks at what is kept, after what nobody else has was added up.
    fn folded<T>(&self, look: impl FnOnce(&mut Kept) -> T) -> T {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Kept { sum, open } = &mut *kept;
        open.retain(|recorder| {
            // Nobody can take another one from here meanwhile: the list is locked.
            let is_open = Arc::strong_count(recorder) > 1;
            if !is_open {
                sum.merge(&recorder.snapshot());
            }
            is_open
        });
        look(&mut kept)
    }
}
