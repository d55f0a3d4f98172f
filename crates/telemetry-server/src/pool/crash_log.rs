//! Says in the log that a worker crashes: the first time at once, then now and then with how often
//! meanwhile.

use std::time::{Duration, Instant};

use telemetry_core::escape;

use super::status::LastEnd;

/// Time between two lines about one worker.
const INTERVAL: Duration = Duration::from_secs(30);

/// What was said of one worker.
#[derive(Debug, Default)]
pub(super) struct CrashLog {
    said: Option<Instant>,
    /// Ends since then.
    unsaid: u64,
}

impl CrashLog {
    /// A process ended unasked, or did not start.
    pub(super) fn note(&mut self, worker: &str, end: &LastEnd) {
        let Some(more) = self.due(Instant::now()) else {
            return;
        };
        tracing::warn!(
            worker,
            pid = end.pid,
            exit = end.exit,
            stderr = end.stderr.as_deref().map(escape).as_deref(),
            more,
            "a worker ended unexpectedly and is started again; \"more\" times since the last such line"
        );
    }

    /// How many ends were not said, if one is to be said now.
    fn due(&mut self, now: Instant) -> Option<u64> {
        if self
            .said
            .is_some_and(|said| now.saturating_duration_since(said) < INTERVAL)
        {
            self.unsaid += 1;
            return None;
        }
        self.said = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_is_said_at_once_and_the_others_are_counted() {
        let mut log = CrashLog::default();
        let now = Instant::now();
        assert_eq!(log.due(now), Some(0));
        assert_eq!(log.due(now + Duration::from_secs(1)), None);
        assert_eq!(log.due(now + Duration::from_secs(29)), None);
        assert_eq!(log.due(now + INTERVAL), Some(2));
        assert_eq!(log.due(now + INTERVAL * 3), Some(0));
    }
}
