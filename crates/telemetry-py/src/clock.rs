//! The clocks of spans. One origin for the whole process, so that a span may outlive a state.

use std::sync::OnceLock;

use telemetry_core::{Clock, SystemClock};

/// The origin of monotonic readings.
static CLOCK: OnceLock<SystemClock> = OnceLock::new();

/// Nanoseconds of a clock that never falls.
pub(crate) fn monotonic_nanos() -> u64 {
    CLOCK.get_or_init(SystemClock::new).monotonic_nanos()
}

/// Wall clock, nanoseconds since the Unix epoch.
pub(crate) fn unix_nanos() -> i64 {
    CLOCK.get_or_init(SystemClock::new).unix_nanos()
}
