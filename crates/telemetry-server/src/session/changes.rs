//! Wakes those who wait for workers to get somewhere.
//!
//! Two counters that only say "look again"; what changed is read where it is kept.

use tokio::sync::watch;

/// Tells waiting tasks that something changed.
#[derive(Debug, Clone)]
pub(crate) struct Changes {
    /// Counts changes of state and reports.
    states: watch::Sender<u64>,
    /// Counts also the arrival of events; for those who wait for a number.
    progress: watch::Sender<u64>,
}

impl Default for Changes {
    fn default() -> Self {
        Self {
            states: watch::Sender::new(0),
            progress: watch::Sender::new(0),
        }
    }
}

impl Changes {
    /// Changes of state and reports.
    pub(crate) fn states(&self) -> watch::Receiver<u64> {
        self.states.subscribe()
    }

    /// All changes, events included.
    pub(crate) fn progress(&self) -> watch::Receiver<u64> {
        self.progress.subscribe()
    }

    /// Says that a state changed.
    pub(crate) fn notify(&self) {
        self.states.send_modify(|count| *count += 1);
        self.notify_progress();
    }

    /// Says that events arrived; free when nobody waits.
    pub(super) fn notify_progress(&self) {
        if self.progress.receiver_count() > 0 {
            self.progress.send_modify(|count| *count += 1);
        }
    }
}
