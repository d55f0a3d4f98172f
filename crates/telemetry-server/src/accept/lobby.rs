//! Those that have not introduced themselves, and when to accept again: the same for every door.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use crate::manager::Refusal;

/// Most connections at one address that have not introduced themselves; one more, and the oldest goes.
pub const MAX_UNINTRODUCED: usize = 64;
/// First and longest pause when the system cannot accept.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// Few at a time; one more sends the oldest away.
#[derive(Debug, Default)]
pub(super) struct Lobby {
    /// Ends of those that wait, oldest first.
    waiting: VecDeque<oneshot::Sender<Refusal>>,
}

impl Lobby {
    /// One more comes. It goes when it is told to, unless it has introduced itself by then.
    pub(super) fn enter(&mut self) -> oneshot::Receiver<Refusal> {
        self.waiting.retain(|end| !end.is_closed());
        while self.waiting.len() >= MAX_UNINTRODUCED {
            if let Some(end) = self.waiting.pop_front() {
                let _introduced = end.send(Refusal::Crowded);
            }
        }
        let (end, ended) = oneshot::channel();
        self.waiting.push_back(end);
        ended
    }

    /// All go.
    pub(super) fn close(self) {
        for end in self.waiting {
            // Who has introduced itself meanwhile needs no end.
            let _introduced = end.send(Refusal::Closing);
        }
    }
}

/// Not before when to accept again.
#[derive(Debug)]
pub(super) struct Pause {
    /// How long the next one will be.
    next: Duration,
    until: Instant,
}

impl Default for Pause {
    fn default() -> Self {
        Self {
            next: PAUSES.0,
            until: Instant::now(),
        }
    }
}

impl Pause {
    /// Somebody was accepted.
    pub(super) fn forget(&mut self) {
        self.next = PAUSES.0;
    }

    /// Nobody can be.
    pub(super) fn begin(&mut self, error: &io::Error) {
        let pause = self.next;
        tracing::warn!(%error, ?pause, "cannot accept a worker; trying again");
        self.until = Instant::now() + pause;
        self.next = (pause * 2).min(PAUSES.1);
    }

    /// Resolves when it is over.
    pub(super) async fn over(&self) {
        sleep_until(self.until).await;
    }
}
