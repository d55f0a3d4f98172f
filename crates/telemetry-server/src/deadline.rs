//! Points in time that may lie beyond what a clock can tell, such as those of `Duration::MAX`.

use std::time::{Duration, Instant};

/// As good as never, and far enough from the end of every clock: thirty years.
const NEVER: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// The moment `after` from now, or one in thirty years.
pub(crate) fn std_deadline(after: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(after.min(NEVER)).unwrap_or(now)
}

/// As [`std_deadline`], on the clock of the runtime.
pub(crate) fn deadline(after: Duration) -> tokio::time::Instant {
    tokio::time::Instant::now() + after.min(NEVER)
}

/// A duration that clocks can be moved by.
pub(crate) fn bounded(duration: Duration) -> Duration {
    duration.min(NEVER)
}

/// A factor of a duration that may be beyond every other.
#[cfg(feature = "pool")]
pub(crate) fn share_of(duration: Duration, share: f64) -> Duration {
    duration.min(NEVER).mul_f64(share.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_longest_duration_is_a_moment_like_any_other() {
        assert!(std_deadline(Duration::MAX) > Instant::now());
        assert!(deadline(Duration::MAX) > tokio::time::Instant::now());
        #[cfg(feature = "pool")]
        assert!(share_of(bounded(Duration::MAX), 0.9) > Duration::from_secs(1));
    }
}
