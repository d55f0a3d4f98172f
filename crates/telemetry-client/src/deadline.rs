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

/// Share of a time-out that last reports and trailers get: a quarter, and no more than this.
const GOODBYE: Duration = Duration::from_millis(100);
/// What they get in any case.
const SHORTEST_GOODBYE: Duration = Duration::from_millis(20);

/// When streams have to hurry so that their last words are said by `deadline`, and when the last words
/// have to be said: then, unless hardly any time was given.
pub(crate) fn last_words(deadline: tokio::time::Instant) -> [tokio::time::Instant; 2] {
    let now = tokio::time::Instant::now();
    let left = deadline.saturating_duration_since(now);
    let hurry = deadline - GOODBYE.min(left / 4);
    [hurry, deadline.max(now + SHORTEST_GOODBYE)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn last_words_are_within_the_time_that_was_given() {
        let now = tokio::time::Instant::now();
        let after = |millis| last_words(now + Duration::from_millis(millis)).map(|at| at - now);
        assert_eq!(after(500), [400, 500].map(Duration::from_millis));
        assert_eq!(after(100), [75, 100].map(Duration::from_millis));
        assert_eq!(after(0), [0, 20].map(Duration::from_millis));
    }
}
