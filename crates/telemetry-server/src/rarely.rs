//! Says the same kind of thing now and then only, and how often it was left out meanwhile.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Between two lines of the log of the same kind.
pub(crate) const LOG_EVERY: Duration = Duration::from_secs(10);

/// Which kinds were said when.
#[derive(Debug, Default)]
pub(crate) struct Rarely {
    /// When each was said last, and how often it was not since.
    last: Mutex<HashMap<&'static str, (Instant, u64)>>,
}

impl Rarely {
    /// Whether this kind may be said again, and how often it was not since the last time.
    pub(crate) fn is_due(&self, kind: &'static str) -> Option<u64> {
        let mut all = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match all.get_mut(kind) {
            Some((at, suppressed)) if now < *at + LOG_EVERY => {
                *suppressed += 1;
                None
            }
            known => {
                let suppressed = known.map_or(0, |(_, suppressed)| *suppressed);
                all.insert(kind, (now, 0));
                Some(suppressed)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_kind_is_logged_now_and_then_with_the_number_of_the_others() {
        let complaints = Rarely::default();
        assert_eq!(complaints.is_due("a"), Some(0));
        for _ in 0..3 {
            assert_eq!(complaints.is_due("a"), None);
        }
        assert_eq!(complaints.is_due("b"), Some(0));
        tokio::time::advance(LOG_EVERY).await;
        assert_eq!(complaints.is_due("a"), Some(3));
    }
}
