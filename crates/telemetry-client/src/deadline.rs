//! When a wait ends: a clock reading from a time-out of any length.
//!
//! Adding a time-out to a reading of the clock panics when the sum is beyond what the clock can
//! tell, and callers mean "without end" by the longest one.

use std::time::{Duration, Instant};

/// Time-outs are cut to this; nobody waits for it.
pub(crate) const LONGEST: Duration = Duration::from_secs(10 * 365 * 86_400);

/// The moment at which a wait that begins now ends.
pub(crate) fn deadline_after(timeout: Duration) -> Instant {
    Instant::now() + timeout.min(LONGEST)
}

/// The moment on the runtime's clock that lies a time-out ahead.
pub(crate) fn timer_after(timeout: Duration) -> tokio::time::Instant {
    tokio::time::Instant::now() + timeout.min(LONGEST)
}
