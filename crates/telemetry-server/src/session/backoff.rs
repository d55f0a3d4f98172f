//! When to dial: full-jitter backoff per worker and one limit for all dials of a manager.

use std::time::Duration;

use telemetry_core::Backoff;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

/// First upper bound of a wait.
pub const BACKOFF_BASE: Duration = Duration::from_millis(100);
/// Largest upper bound of a wait.
pub const BACKOFF_CAP: Duration = Duration::from_secs(10);
/// A stream that lived this long ends the memory of earlier failures.
pub const BACKOFF_RESET_AFTER: Duration = Duration::from_secs(5);
/// Shortest time between two dials of one worker.
pub const MIN_REDIAL: Duration = Duration::from_millis(250);
/// Most dials per second over all workers of a manager.
pub const MAX_DIALS_PER_SECOND: u32 = 50;

/// Waits between the attempts at one worker.
pub(super) fn backoff() -> Backoff {
    Backoff::new(BACKOFF_BASE, BACKOFF_CAP)
}

/// Spaces the dials of all sessions of a manager.
#[derive(Debug)]
pub(crate) struct DialLimiter {
    /// Time between two dials.
    spacing: Duration,
    /// When the next dial may happen. Held by whoever waits for that moment; the others queue for
    /// the lock, in order.
    next: Mutex<Option<Instant>>,
}

impl DialLimiter {
    /// A limiter that lets the first dial pass at once.
    pub(crate) fn new(per_second: u32) -> Self {
        let spacing = Duration::from_secs(1) / per_second.max(1);
        Self {
            spacing,
            next: Mutex::new(None),
        }
    }

    /// Waits for a turn, in the order of the calls. Whoever stops waiting takes no turn.
    pub(super) async fn turn(&self) {
        let mut next = self.next.lock().await;
        if let Some(next) = *next {
            sleep_until(next).await;
        }
        *next = Some(Instant::now() + self.spacing);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn dials_are_spaced_and_the_first_is_immediate() {
        let limiter = DialLimiter::new(50);
        let start = Instant::now();
        limiter.turn().await;
        assert!(start.elapsed() < Duration::from_millis(2));
        for _ in 0..50 {
            limiter.turn().await;
        }
        assert!(start.elapsed() >= Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn sessions_that_stop_waiting_hold_nobody_up() {
        let limiter = DialLimiter::new(50);
        limiter.turn().await;
        for _ in 0..1_000 {
            let _left = tokio::time::timeout(Duration::from_millis(1), limiter.turn()).await;
        }
        let asked = Instant::now();
        limiter.turn().await;
        assert!(asked.elapsed() <= Duration::from_millis(20));
    }
}
