//! Where one stream stands: three questions, each with one enum for its answers.
//!
//! * [`Phase`]: does the worker serve it? `Asked → Open`.
//! * [`Speech`]: how is the worker spoken to? `Expected → Extended` with its hello, which comes before
//!   its events, or `Expected → Legacy` when it sends an event first or stays silent; a late hello leads
//!   from there to `Extended` as well.
//! * [`Course`]: does it go on? `Running → Leaving`.
//!
//! It knows times and no sockets; what is done at a time is the stream's business.

use std::time::Duration;

use tokio::time::Instant;

/// A stream that is quiet for this long while leaving is empty.
pub(super) const DRAIN_SILENCE: Duration = Duration::from_millis(50);

/// Whether the worker serves the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The request went out; headers have to come until then.
    Asked {
        /// The last moment.
        due: Instant,
    },
    /// It answered, with headers or, one that has nothing to say, with another sign of life.
    Open {
        /// Since when.
        since: Instant,
    },
}

/// How the worker is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speech {
    /// As one that will say hello, until then.
    Expected {
        /// Who is silent until then is a stock worker.
        due: Instant,
    },
    /// As a stock worker.
    Legacy,
    /// As one that said hello.
    Extended,
}

/// Whether the stream is to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Course {
    /// For ever.
    Running,
    /// It is read to its end.
    Leaving {
        /// When silence means that all is read; of a worker that cannot say so itself.
        silence: Option<Instant>,
        /// The last moment.
        last: Instant,
    },
}

/// A change of how the worker is spoken to, which calls for the policy in the new words.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Retold(pub(super) bool);

impl Phase {
    /// Since when the worker serves the stream.
    pub(super) fn since(self) -> Option<Instant> {
        match self {
            Self::Asked { .. } => None,
            Self::Open { since } => Some(since),
        }
    }

    /// Until when it has to.
    pub(super) fn due(self) -> Option<Instant> {
        match self {
            Self::Asked { due } => Some(due),
            Self::Open { .. } => None,
        }
    }
}

impl Speech {
    /// Until when a hello is expected.
    pub(super) fn due(self) -> Option<Instant> {
        match self {
            Self::Expected { due } => Some(due),
            Self::Legacy | Self::Extended => None,
        }
    }

    /// Whether the worker is spoken to as a stock one.
    pub(super) fn is_legacy(self) -> bool {
        self == Self::Legacy
    }

    /// The worker said hello.
    pub(super) fn hello(&mut self) -> Retold {
        Retold(std::mem::replace(self, Self::Extended) == Self::Legacy)
    }

    /// The worker sent an event before any hello, or nothing in time.
    pub(super) fn no_hello(&mut self) -> Retold {
        let was_expected = matches!(self, Self::Expected { .. });
        if was_expected {
            *self = Self::Legacy;
        }
        Retold(was_expected)
    }
}

impl Course {
    /// Whether the stream is read to its end.
    pub(super) fn is_leaving(self) -> bool {
        matches!(self, Self::Leaving { .. })
    }

    /// When reading ends.
    pub(super) fn until(self) -> Option<Instant> {
        match self {
            Self::Running => None,
            Self::Leaving { silence, last } => {
                Some(silence.map_or(last, |silence| silence.min(last)))
            }
        }
    }

    /// Something arrived: silence begins anew.
    pub(super) fn heard(&mut self) {
        if let Self::Leaving {
            silence: Some(silence),
            ..
        } = self
        {
            *silence = Instant::now() + DRAIN_SILENCE;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected() -> Speech {
        Speech::Expected {
            due: Instant::now(),
        }
    }

    #[test]
    fn a_hello_in_time_changes_no_words() {
        let mut speech = expected();
        assert_eq!(speech.hello(), Retold(false));
        assert_eq!((speech.due(), speech.is_legacy()), (None, false));
        assert_eq!(speech.no_hello(), Retold(false), "it was said");
        assert_eq!(speech, Speech::Extended);
    }

    #[test]
    fn a_late_hello_has_the_policy_told_again() {
        let mut speech = expected();
        assert_eq!(speech.no_hello(), Retold(true));
        assert!(speech.is_legacy());
        assert_eq!(speech.no_hello(), Retold(false), "told once");
        assert_eq!(speech.hello(), Retold(true));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_leaves_is_read_until_it_is_silent_or_time_is_up() {
        let last = Instant::now() + Duration::from_secs(1);
        let silence = Some(Instant::now() + DRAIN_SILENCE);
        let mut course = Course::Leaving { silence, last };
        tokio::time::advance(DRAIN_SILENCE / 2).await;
        course.heard();
        assert_eq!(course.until(), Some(Instant::now() + DRAIN_SILENCE));
        tokio::time::advance(Duration::from_secs(1)).await;
        course.heard();
        assert_eq!(course.until(), Some(last));
        assert_eq!(Course::Running.until(), None);
    }
}
