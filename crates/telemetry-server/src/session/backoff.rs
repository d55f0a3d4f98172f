//! When to dial: full-jitter backoff per worker and one limit for all dials of a manager.
//!
//! A unix socket that refuses is nobody's dial: to knock at it costs microseconds. So it has pauses of
//! its own, from the few milliseconds between a worker's `bind` and its `listen` up to
//! [`REFUSED_CAP`], and gives its turn of the limit back.

use std::time::Duration;

use telemetry_core::emit::random_u64;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, sleep_until};

/// First upper bound of a wait.
pub const BACKOFF_BASE: Duration = Duration::from_millis(100);
/// Largest upper bound of a wait.
pub const BACKOFF_CAP: Duration = Duration::from_secs(10);
/// A stream that lived this long ends the memory of earlier failures.
pub const BACKOFF_RESET_AFTER: Duration = Duration::from_secs(5);
/// Shortest time between two dials of one worker.
pub const MIN_REDIAL: Duration = Duration::from_millis(250);
/// Most dials per second over all workers of a manager, unless its configuration says otherwise.
pub const MAX_DIALS_PER_SECOND: u32 = 50;
/// How many first dials may be made in the time of one other. A worker has one first dial, so there is
/// no storm in them, and a fleet that starts at once is not kept waiting.
pub const FIRST_DIALS: u32 = 10;
/// Time without first dials that may be made up for: with two milliseconds between them, each late
/// awakening on a busy machine would add up.
const FIRST_SLACK: Duration = Duration::from_millis(250);
/// First pause before a unix socket that refused is tried again.
pub(super) const REFUSED_BASE: Duration = Duration::from_millis(5);
/// Longest such pause. A socket file that is made anew or touched is tried at once.
pub const REFUSED_CAP: Duration = Duration::from_secs(30);

/// Longest wait after a port of this machine refused, so that a worker that is started again streams within seconds.
pub(super) const PORT_REFUSED_CAP: Duration = Duration::from_secs(3);

/// Waits between the attempts at one worker.
#[derive(Debug)]
pub(super) struct Backoff {
    /// Those after failures.
    failures: telemetry_core::wire::Backoff,
    /// Times in a row that the socket refused.
    refusals: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            failures: telemetry_core::wire::Backoff::new(BACKOFF_BASE, BACKOFF_CAP),
            refusals: 0,
        }
    }
}

impl Backoff {
    /// How long to wait after one more failure.
    pub(super) fn next(&mut self) -> Duration {
        self.failures.next_wait()
    }

    /// How long to wait after the socket refused once more: doubled each time, and up to half of it
    /// less, so that sockets of one age are not tried all at once.
    pub(super) fn next_refused(&mut self) -> Duration {
        let factor = 1_u32.checked_shl(self.refusals).unwrap_or(u32::MAX);
        let pause = REFUSED_BASE.saturating_mul(factor).min(REFUSED_CAP);
        self.refusals = self.refusals.saturating_add(1);
        let nanos = u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX);
        pause - Duration::from_nanos(random_u64() % (nanos / 2).max(1))
    }

    /// Forgets the failures.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    /// The socket answered, or another one is there.
    pub(super) fn forget_refusals(&mut self) {
        self.refusals = 0;
    }

    /// Times in a row that the socket refused.
    pub(super) fn refusals(&self) -> u32 {
        self.refusals
    }

    /// Failures in a row.
    pub(super) fn failures(&self) -> u32 {
        self.failures.failures()
    }
}

/// Spaces the dials of all sessions of a manager: first dials of workers in one queue, all others in
/// another, so that neither waits for the other.
#[derive(Debug)]
pub(crate) struct DialLimiter {
    first: Queue,
    again: Queue,
}

/// One queue for turns.
#[derive(Debug)]
struct Queue {
    /// Time between two dials.
    spacing: Duration,
    /// How much of the time that nobody used, as on a machine too busy to run us, is made up for.
    slack: Duration,
    /// When the next dial may happen. Held by whoever waits for that moment; the others queue for
    /// the lock, in order.
    next: Mutex<Option<Instant>>,
}

/// The right to dial now. The next one has to wait only if it is [`taken`](Self::taken).
#[must_use]
#[derive(Debug)]
pub(super) struct Turn<'a> {
    spacing: Duration,
    slack: Duration,
    next: MutexGuard<'a, Option<Instant>>,
}

impl DialLimiter {
    /// A limiter that lets the first dials pass at once.
    pub(crate) fn new(per_second: u32) -> Self {
        let queue = |per_second: u32, slack| Queue {
            spacing: Duration::from_secs(1) / per_second.max(1),
            slack,
            next: Mutex::new(None),
        };
        Self {
            first: queue(per_second.saturating_mul(FIRST_DIALS), FIRST_SLACK),
            again: queue(per_second, Duration::ZERO),
        }
    }

    /// Waits for a turn, in the order of the calls. Whoever stops waiting takes no turn. Hold it for
    /// no longer than it takes to knock at a local socket.
    pub(super) async fn turn(&self, is_first: bool) -> Turn<'_> {
        let queue = if is_first { &self.first } else { &self.again };
        let next = queue.next.lock().await;
        if let Some(due) = *next {
            sleep_until(due).await;
        }
        Turn {
            spacing: queue.spacing,
            slack: queue.slack,
            next,
        }
    }
}

impl Turn<'_> {
    /// A dial is made.
    pub(super) fn taken(mut self) {
        let now = Instant::now();
        let earliest = now.checked_sub(self.slack).unwrap_or(now);
        let due = self.next.map_or(now, |due| due.max(earliest));
        *self.next = Some(due + self.spacing);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn dials_are_spaced_and_the_first_is_immediate() {
        let limiter = DialLimiter::new(50);
        let start = Instant::now();
        limiter.turn(false).await.taken();
        assert!(start.elapsed() < Duration::from_millis(2));
        for _ in 0..50 {
            limiter.turn(false).await.taken();
        }
        assert!(start.elapsed() >= Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn sessions_that_stop_waiting_hold_nobody_up() {
        let limiter = DialLimiter::new(50);
        limiter.turn(false).await.taken();
        for _ in 0..1_000 {
            let _left = tokio::time::timeout(Duration::from_millis(1), limiter.turn(false)).await;
        }
        let asked = Instant::now();
        limiter.turn(false).await.taken();
        assert!(asked.elapsed() <= Duration::from_millis(20));
    }

    #[test]
    fn a_socket_that_refuses_is_tried_soon_and_then_ever_more_rarely() {
        let mut backoff = Backoff::default();
        assert!(backoff.next_refused() <= REFUSED_BASE);
        for _ in 0..100 {
            assert!(backoff.next_refused() <= REFUSED_CAP);
        }
        assert!(backoff.next_refused() > REFUSED_CAP / 3);
        assert_eq!(backoff.failures.bound(), BACKOFF_BASE, "it was no dial");
        backoff.forget_refusals();
        assert!(backoff.next_refused() <= REFUSED_BASE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_is_given_back_costs_nobody_anything() {
        let limiter = DialLimiter::new(50);
        let start = Instant::now();
        for _ in 0..10_000 {
            drop(limiter.turn(true).await);
        }
        limiter.turn(true).await.taken();
        assert!(start.elapsed() < Duration::from_millis(2));
    }

    #[tokio::test(start_paused = true)]
    async fn first_dials_pass_those_who_dial_again() {
        let limiter = DialLimiter::new(50);
        let start = Instant::now();
        limiter.turn(false).await.taken();
        for _ in 0..256 {
            limiter.turn(true).await.taken();
        }
        assert!(start.elapsed() < Duration::from_secs(1));
        assert!(start.elapsed() >= Duration::from_millis(500));
    }
}
