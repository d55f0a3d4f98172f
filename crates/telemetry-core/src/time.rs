//! Clocks: the only place that reads the time.
//!
//! Durations come from the monotonic clock, timestamps from the wall clock; neither is ever derived
//! from the other. Everything that needs the time takes a [`Clock`], so that tests can own it.

use std::cell::Cell;
use std::fmt::Debug;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Nanoseconds for which one reading of the wall clock is carried on with the processor's counter.
const ANCHOR_HOLDS_NS: u64 = 10_000_000;
/// Longer than this between two readings of the counter, and the wall clock between them is too
/// uncertain to be carried on.
const ANCHOR_TAKES_NS: u64 = 2_000;

/// A source of wall-clock and monotonic time.
pub trait Clock: Send + Sync + Debug {
    /// Nanoseconds since the Unix epoch; saturates at the ends of `i64` (years 1677 and 2262).
    fn unix_nanos(&self) -> i64;

    /// Nanoseconds since an arbitrary start; never falls, whatever the wall clock does.
    fn monotonic_nanos(&self) -> u64;

    /// Nanoseconds since an arbitrary start that go on while the machine is suspended. For what ends at
    /// some time; it may cost a system call.
    fn boot_nanos(&self) -> u64 {
        self.monotonic_nanos()
    }
}

/// A reading of the counter that is out of reach for centuries, and so too far away to go on from.
const NEVER: u64 = 1 << 63;
/// Binary digits behind the point of a number of nanoseconds per tick.
const SCALE_BITS: u32 = 32;

thread_local! {
    /// Where this thread last read the wall clock: the counter then, and Unix nanoseconds.
    static ANCHOR: Cell<(u64, i64)> = const { Cell::new((NEVER, 0)) };
}

/// The clocks of the machine.
///
/// Where the processor has a counter of constant rate it is read instead of the operating system's
/// clocks, which takes a third of the time. The wall clock is the system's, read by each thread once
/// in 10 ms of emitting and carried on by the counter in between: a correction of the system's clock
/// is seen within that time, and two timestamps of a thread may be a microsecond out of order.
#[derive(Debug, Clone)]
pub struct SystemClock {
    /// The counter and its rate.
    counter: quanta::Clock,
    /// Origin of the monotonic readings.
    start: u64,
    /// Nanoseconds per tick, with [`SCALE_BITS`] behind the point.
    scale: u64,
    /// Ticks for which an anchor holds.
    holds: u64,
}

impl SystemClock {
    /// A clock whose monotonic time starts now. The first one takes a millisecond to measure the rate
    /// of the counter.
    #[must_use]
    pub fn new() -> Self {
        let counter = quanta::Clock::new();
        let scale = counter.delta_as_nanos(0, 1 << SCALE_BITS).max(1);
        Self {
            start: counter.raw(),
            scale,
            holds: (ANCHOR_HOLDS_NS << SCALE_BITS) / scale,
            counter,
        }
    }

    /// Reads the system's wall clock and remembers when that was, unless it was interrupted and does
    /// not know.
    #[cold]
    fn anchor(&self) -> i64 {
        let before = self.counter.raw();
        let unix = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
            Err(before) => {
                i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |nanos| -nanos)
            }
        };
        let after = self.counter.raw();
        let exact = self.counter.delta_as_nanos(before, after) < ANCHOR_TAKES_NS;
        ANCHOR.set((if exact { after } else { NEVER }, unix));
        unix
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[inline]
    fn unix_nanos(&self) -> i64 {
        let (then, unix) = ANCHOR.get();
        // A counter before the anchor is that of another core, or of another machine to which this
        // one moved; that, too, is a great distance.
        let ticks = self.counter.raw().wrapping_sub(then);
        if ticks > self.holds {
            return self.anchor();
        }
        let since = (ticks * self.scale) >> SCALE_BITS;
        unix.saturating_add_unsigned(since)
    }

    #[inline]
    fn monotonic_nanos(&self) -> u64 {
        self.counter.delta_as_nanos(self.start, self.counter.raw())
    }

    #[cfg(target_os = "linux")]
    fn boot_nanos(&self) -> u64 {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        let nanos = u64::try_from(time.tv_nsec).unwrap_or_default();
        seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
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
    fn the_carried_wall_clock_stays_with_that_of_the_system() {
        let clock = SystemClock::new();
        let end = std::time::Instant::now() + Duration::from_millis(25);
        let mut readings = 0;
        while std::time::Instant::now() < end {
            let nanos = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap().as_nanos();
            let (before, unix, after) = (SystemTime::now(), clock.unix_nanos(), SystemTime::now());
            let unix = u128::try_from(unix).unwrap();
            assert!(unix + 50_000 > nanos(before), "{unix} {before:?}");
            assert!(unix < nanos(after) + 50_000, "{unix} {after:?}");
            readings += 1;
        }
        assert!(readings > 10);
    }

    #[test]
    fn an_anchor_that_is_ahead_of_the_counter_or_far_behind_is_taken_anew() {
        let clock = SystemClock::new();
        let now = clock.counter.raw();
        let wrong = [now + 1_000_000_000, 0, NEVER, now.wrapping_sub(NEVER - 1)];
        for then in wrong {
            ANCHOR.set((then, 5));
            let unix = clock.unix_nanos();
            assert!(unix > 1_577_836_800_000_000_000, "{then} gave {unix}");
            assert_ne!(ANCHOR.get(), (then, 5));
        }
    }

    #[test]
    fn system_clock_is_after_2020_and_monotonic() {
        let clock = SystemClock::new();
        assert!(clock.unix_nanos() > 1_577_836_800_000_000_000);
        let first = clock.monotonic_nanos();
        assert!(clock.monotonic_nanos() >= first);
    }
}
