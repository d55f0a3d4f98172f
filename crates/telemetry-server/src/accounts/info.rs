//! What operators and tests see of one incarnation. Plain data, copied out at one moment.

use serde::Serialize;
use telemetry_core::ledger::Counts;

use crate::identity::WorkerId;

/// The account of one life of one worker process.
///
/// `emitted = received + gaps + Σ dropped + lost_at_crash + away + queued`, always.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct IncarnationInfo {
    /// Its id, 32 hexadecimal digits; empty for a process that never said who it is.
    pub incarnation: String,
    /// The worker it last was.
    pub worker_id: WorkerId,
    /// The pool that worker is in.
    pub pool_name: Option<String>,
    /// Its process id, as seen behind its socket or registered.
    pub pid: Option<u32>,
    /// Events it is known to have emitted since this manager knows it: as it reported, and what is
    /// evident from arrivals after its last report.
    pub emitted: u64,
    /// Events it had emitted before, or that another manager has to account for.
    pub emitted_before: u64,
    /// Events that arrived here.
    pub received: u64,
    /// Events that were sent to this manager and lost on the way.
    pub gaps: u64,
    /// Events that the worker dropped, by reason.
    pub dropped: Counts,
    /// Events that were lost when it ended.
    pub lost_at_crash: u64,
    /// Events it says it sent, which have not arrived so far: on the way, or lost with a stream that
    /// was cut, which its next stream will tell.
    pub away: u64,
    /// Events that waited in its queue when it last reported and have not arrived so far.
    pub queued: u64,
    /// Sequences that went to another manager in between.
    pub elsewhere: u64,
    /// Whether a stream of it is open.
    pub streaming: bool,
    /// Whether it is known to have ended.
    pub ended: bool,
    /// Of one that ended, whether it told everything before: with a final report, or because it was
    /// drained first.
    pub complete: bool,
    /// Of one that ended and did not, or that was taken away while it lived: wall clock of its last word, or of its
    /// beginning if it never said one, nanoseconds since the Unix epoch. What it emitted after that nobody knows.
    pub unknown_since_ns: Option<i64>,
    /// How many of the events that were received were read from the memory that it left when it ended; none if
    /// that was not read: it had none, it did not reach this manager, or it could not be read.
    pub recovered: Option<u64>,
    /// Spans that were open when it ended, as far as it left them, the latest first and at most 16.
    pub lost_spans: Vec<LostSpan>,
}

/// A span that was open when its process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LostSpan {
    /// What was being done, cut to 64 bytes.
    pub operation: String,
    /// Its id, 16 hexadecimal digits; zeros if it had none.
    pub span_id: String,
    /// The thread that began it, as the system numbers threads; 0 if that is not known.
    pub thread: u32,
    /// Wall clock at which it began, nanoseconds since the Unix epoch.
    pub began_ns: i64,
    /// For how long it was open until its end was noticed, milliseconds.
    pub open_ms: u64,
}

impl IncarnationInfo {
    /// By how many events the account does not balance; must read 0.
    #[must_use]
    pub fn difference(&self) -> u64 {
        let accounted = [
            self.received,
            self.gaps,
            self.dropped.total(),
            self.lost_at_crash,
            self.away,
            self.queued,
        ];
        let accounted = accounted.into_iter().fold(0, u64::saturating_add);
        self.emitted.abs_diff(accounted)
    }
}
