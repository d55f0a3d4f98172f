//! Wakes those who wait for workers to get somewhere.
//!
//! Counters that only say "look again"; what changed is read where it is kept. Whoever waits for one
//! worker listens to that worker alone: with a thousand that report, nobody is woken a thousand times.

use tokio::sync::watch;

/// Tells waiting tasks that something changed. Free when nobody waits.
#[derive(Debug)]
pub(crate) struct Changes {
    count: watch::Sender<u64>,
}

impl Default for Changes {
    fn default() -> Self {
        Self {
            count: watch::Sender::new(0),
        }
    }
}

impl Changes {
    /// Listens from now on. Look at what is waited for afterwards.
    pub(crate) fn listen(&self) -> watch::Receiver<u64> {
        self.count.subscribe()
    }

    /// Says that something changed, which whoever listens can see already.
    pub(crate) fn notify(&self) {
        if self.count.receiver_count() > 0 {
            self.count.send_modify(|count| *count += 1);
        }
    }
}
