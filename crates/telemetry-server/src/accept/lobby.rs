//! Those that have not introduced themselves, and when to accept again: the same for every door.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use crate::manager::Refusal;

/// Most connections at one address that have not introduced themselves; one more, and of the source with the most of
/// them the oldest goes.
pub const MAX_UNINTRODUCED: usize = 64;
/// First and longest pause when the system cannot accept.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// Few at a time. Whoever holds the most places makes room, so that nobody can send those of others away.
///
/// `S` is who is behind a connection as far as that is known before it says anything.
#[derive(Debug)]
pub(super) struct Lobby<S> {
    /// Ends of those that wait and where they come from, oldest first.
    waiting: VecDeque<(S, oneshot::Sender<Refusal>)>,
}

impl<S> Default for Lobby<S> {
    fn default() -> Self {
        let waiting = VecDeque::new();
        Self { waiting }
    }
}

impl<S: PartialEq> Lobby<S> {
    /// One more comes. It goes when it is told to, unless it has introduced itself by then.
    pub(super) fn enter(&mut self, source: S) -> oneshot::Receiver<Refusal> {
        self.waiting.retain(|(_, end)| !end.is_closed());
        while self.waiting.len() >= MAX_UNINTRODUCED {
            let leaves = self.next_to_leave(&source);
            if let Some((_, end)) = leaves.and_then(|place| self.waiting.remove(place)) {
                let _introduced = end.send(Refusal::Crowded);
            }
        }
        let (end, ended) = oneshot::channel();
        self.waiting.push_back((source, end));
        ended
    }

    /// The place of the oldest of the source that has the most places, with the one that is about to come.
    fn next_to_leave(&self, coming: &S) -> Option<usize> {
        let held = |source: &S| {
            let waiting = self.waiting.iter().filter(|(it, _)| it == source).count();
            waiting + usize::from(source == coming)
        };
        // Of several it finds the last, which is the oldest.
        let places = self.waiting.iter().enumerate().rev();
        let most = places.max_by_key(|(_, (source, _))| held(source));
        most.map(|(place, _)| place)
    }

    /// All go.
    pub(super) fn close(self) {
        for (_, end) in self.waiting {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether it was told to go.
    fn was_sent_off(ended: &mut oneshot::Receiver<Refusal>) -> bool {
        ended.try_recv().is_ok()
    }

    #[test]
    fn a_crowd_of_one_source_sends_nobody_else_away() {
        let mut lobby = Lobby::default();
        let mut honest = lobby.enter("honest");
        let mut crowd: Vec<_> = (0..1_000).map(|_| lobby.enter("crowd")).collect();
        assert!(!was_sent_off(&mut honest));
        let gone = crowd.iter_mut().map(was_sent_off).filter(|gone| *gone);
        assert_eq!(gone.count(), 1_000 - (MAX_UNINTRODUCED - 1));
        let mut late = lobby.enter("late");
        crowd.extend((0..1_000).map(|_| lobby.enter("crowd")));
        assert!(!was_sent_off(&mut honest) && !was_sent_off(&mut late));
    }

    #[test]
    fn sources_that_hold_equally_many_lose_the_oldest() {
        let mut lobby = Lobby::default();
        let mut all: Vec<_> = (0..MAX_UNINTRODUCED).map(|it| lobby.enter(it)).collect();
        let _newest = lobby.enter(MAX_UNINTRODUCED);
        let gone: Vec<_> = all.iter_mut().map(was_sent_off).collect();
        assert_eq!(gone.iter().filter(|gone| **gone).count(), 1);
        assert!(gone[0], "the oldest");
        // Who is about to have two loses the one that it has.
        let _second = lobby.enter(7);
        assert!(was_sent_off(&mut all[7]));
        assert!(!was_sent_off(&mut all[1]));
    }
}
