//! The clocks of spans. One origin for the whole process, so that a span may outlive a state.
//!
//! A span needs the time of day as well as a time that never falls. Both run at the same rate, so
//! the distance between them is measured and used for a few milliseconds: busy spans read one clock,
//! and a time of day that was set is noticed at once by all others.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use telemetry_core::{Clock, SystemClock};

/// How long a measured distance is good for, nanoseconds.
const GOOD_FOR: u64 = 10_000_000;

/// The origin of monotonic readings.
static CLOCK: OnceLock<SystemClock> = OnceLock::new();

/// Unix time less monotonic time, nanoseconds, as last measured.
static DISTANCE: AtomicI64 = AtomicI64::new(0);

/// Monotonic time from which on the distance has to be measured again.
static GOOD_UNTIL: AtomicU64 = AtomicU64::new(0);

/// A clock with the same origin, for a recorder: what is told of open spans is meant by it.
pub(crate) fn of_recorder() -> SystemClock {
    CLOCK.get_or_init(SystemClock::new).clone()
}

/// Nanoseconds of a clock that never falls.
pub(crate) fn monotonic_nanos() -> u64 {
    CLOCK.get_or_init(SystemClock::new).monotonic_nanos()
}

/// Wall clock, nanoseconds since the Unix epoch, at a reading of the other clock that was just made.
pub(crate) fn unix_nanos(monotonic_nanos: u64) -> i64 {
    let monotonic = monotonic_nanos.cast_signed();
    if monotonic_nanos < GOOD_UNTIL.load(Ordering::Relaxed) {
        return monotonic.wrapping_add(DISTANCE.load(Ordering::Relaxed));
    }
    let unix = CLOCK.get_or_init(SystemClock::new).unix_nanos();
    // Attached threads come here one at a time.
    DISTANCE.store(unix.wrapping_sub(monotonic), Ordering::Relaxed);
    GOOD_UNTIL.store(monotonic_nanos + GOOD_FOR, Ordering::Relaxed);
    unix
}
