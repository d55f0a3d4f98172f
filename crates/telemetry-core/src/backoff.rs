//! How long to wait before the next attempt: full jitter, so that those who failed together do not try
//! again together.
//!
//! Numbers only; whoever waits has a clock.

use std::time::Duration;

use crate::correlation::random_u64;

/// Waits that grow with each failure in a row.
///
/// The n-th wait is random between zero and `base · 2ⁿ`, at most the cap. (Formula: "Exponential Backoff
/// and Jitter", AWS Architecture Blog, 2015.)
///
/// ```
/// use std::time::Duration;
/// use telemetry_core::wire::Backoff;
///
/// let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
/// assert!(backoff.next_wait() <= Duration::from_millis(100));
/// assert!(backoff.next_wait() <= Duration::from_millis(200));
/// assert_eq!(backoff.failures(), 2);
/// ```
#[derive(Debug, Clone)]
pub struct Backoff {
    /// Upper bound of the first wait.
    base: Duration,
    /// Upper bound of every wait.
    cap: Duration,
    /// Failures in a row.
    failures: u32,
}

impl Backoff {
    /// Nothing has failed yet.
    #[must_use]
    pub fn new(base: Duration, cap: Duration) -> Self {
        Self {
            base,
            cap,
            failures: 0,
        }
    }

    /// How long to wait after one more failure.
    pub fn next_wait(&mut self) -> Duration {
        let bound = self.bound();
        self.failures = self.failures.saturating_add(1);
        let nanos = u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(random_u64() % nanos.max(1))
    }

    /// Forgets the failures.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// Failures in a row.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Upper bound of the next wait.
    #[must_use]
    pub fn bound(&self) -> Duration {
        let factor = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        self.base.saturating_mul(factor).min(self.cap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_cap_and_start_over_after_a_reset() {
        let (base, cap) = (Duration::from_millis(100), Duration::from_secs(10));
        let mut backoff = Backoff::new(base, cap);
        assert_eq!(backoff.bound(), base);
        for _ in 0..100 {
            let bound = backoff.bound();
            assert!(backoff.next_wait() <= bound);
        }
        assert_eq!(backoff.bound(), cap);
        backoff.reset();
        assert_eq!(backoff.bound(), base);
    }
}
