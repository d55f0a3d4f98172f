//! Says in the log that a worker crashes: the first time at once, then now and then with how often
//! meanwhile.

use std::time::{Duration, Instant};

use telemetry_core::catalog::escape;

use super::status::LastEnd;

/// Time between two lines about one worker.
const INTERVAL: Duration = Duration::from_secs(30);

/// What was said of one worker.
#[derive(Debug, Default)]
pub(super) struct CrashLog {
    said: Option<(Kind, Instant)>,
    /// Ends since then.
    unsaid: u64,
}

/// What went wrong: another kind than the last one is said at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A process ended unasked.
    Crash,
    /// None could be started.
    NoStart,
}

impl CrashLog {
    /// A process ended unasked, or did not start.
    pub(super) fn note(&mut self, worker: &str, kind: Kind, end: &LastEnd) {
        let Some(more) = self.due(kind, Instant::now()) else {
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
    fn due(&mut self, kind: Kind, now: Instant) -> Option<u64> {
        let is_said = |(said, at): (Kind, Instant)| {
            said == kind && now.saturating_duration_since(at) < INTERVAL
        };
        if self.said.is_some_and(is_said) {
            self.unsaid += 1;
            return None;
        }
        self.said = Some((kind, now));
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
        assert_eq!(log.due(Kind::Crash, now), Some(0));
        assert_eq!(log.due(Kind::Crash, now + Duration::from_secs(1)), None);
        assert_eq!(log.due(Kind::Crash, now + Duration::from_secs(29)), None);
        assert_eq!(log.due(Kind::Crash, now + INTERVAL), Some(2));
        assert_eq!(log.due(Kind::Crash, now + INTERVAL * 3), Some(0));
        assert_eq!(log.due(Kind::NoStart, now + INTERVAL * 3), Some(0));
        assert_eq!(log.due(Kind::NoStart, now + INTERVAL * 3), None);
    }
}
