//! Clocks: the only place that reads the time.
//!
//! Durations come from the monotonic clock, timestamps from the wall clock; neither is ever derived
//! from the other. Everything that needs the time takes a [`Clock`], so that tests can own it.

use std::fmt::Debug;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A source of wall-clock and monotonic time.
pub trait Clock: Send + Sync + Debug {
    /// Nanoseconds since the Unix epoch; saturates at the ends of `i64` (years 1677 and 2262).
    fn unix_nanos(&self) -> i64;

    /// Nanoseconds since an arbitrary start; never falls, whatever the wall clock does.
    fn monotonic_nanos(&self) -> u64;
}

/// The clocks of the operating system.
#[derive(Debug, Clone)]
pub struct SystemClock {
    /// Origin of the monotonic readings.
    start: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts now.
    #[must_use]
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn unix_nanos(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
            Err(before) => {
                i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |nanos| -nanos)
            }
        }
    }

    fn monotonic_nanos(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// A clock that moves only when told to.
#[derive(Debug, Default)]
pub struct ManualClock {
    /// Wall clock, nanoseconds since the Unix epoch.
    unix: AtomicI64,
    /// Monotonic clock, nanoseconds since the clock was made.
    monotonic: AtomicU64,
}

impl ManualClock {
    /// A clock that shows `unix_nanos` and a monotonic time of zero.
    #[must_use]
    pub fn new(unix_nanos: i64) -> Self {
        Self {
            unix: AtomicI64::new(unix_nanos),
            monotonic: AtomicU64::new(0),
        }
    }

    /// Moves both clocks forward.
    pub fn advance(&self, by: Duration) {
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        self.monotonic.fetch_add(nanos, Ordering::Relaxed);
        self.unix
            .fetch_add(i64::try_from(nanos).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// Sets the wall clock alone, as an operator or NTP would.
    pub fn set_unix(&self, unix_nanos: i64) {
        self.unix.store(unix_nanos, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn unix_nanos(&self) -> i64 {
        self.unix.load(Ordering::Relaxed)
    }

    fn monotonic_nanos(&self) -> u64 {
        self.monotonic.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_clock_jumps_do_not_move_the_monotonic_clock() {
        let clock = ManualClock::new(1_000);
        clock.advance(Duration::from_nanos(5));
        clock.set_unix(-86_400_000_000_000);
        assert_eq!(clock.monotonic_nanos(), 5);
        assert_eq!(clock.unix_nanos(), -86_400_000_000_000);
    }

    #[test]
    fn system_clock_is_after_2020_and_monotonic() {
        let clock = SystemClock::new();
        assert!(clock.unix_nanos() > 1_577_836_800_000_000_000);
        let first = clock.monotonic_nanos();
        assert!(clock.monotonic_nanos() >= first);
    }
}
