//! What operators and tests see of one worker's stream. Plain data, copied out at one moment.

use serde::Serialize;
use telemetry_core::{
    emit::SamplingRule,
    ledger::{StreamSnapshot, WorkerSnapshot},
};

use super::peer::LinkKind;
use crate::identity::{Labels, WorkerId};
use telemetry_core::Address;

/// Where a session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StreamState {
    /// Dialling, or waiting for the worker's answer.
    Connecting,
    /// The stream is open.
    Streaming,
    /// The last attempt or stream failed; the next attempt is due later.
    Backoff,
    /// Another manager took the worker's stream; the next attempt is due much later.
    Replaced,
    /// A worker that dialled in lost its connection and may come back; it leaves when it does not.
    Away,
    /// The session has ended.
    Closed,
}

impl StreamState {
    /// The word used in documents, JSON and labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Streaming => "streaming",
            Self::Backoff => "backoff",
            Self::Replaced => "replaced",
            Self::Away => "away",
            Self::Closed => "closed",
        }
    }
}

/// One worker's stream.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct StreamInfo {
    /// The worker.
    pub worker_id: WorkerId,
    /// Its pool.
    pub pool_name: Option<String>,
    /// The worker whose process started it, or the one before it, if the manager knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<WorkerId>,
    /// What it is called beside its id: its pool's labels, and those that it says of itself.
    #[serde(skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// Who opened its connection, the present or the last one, or will open the first.
    pub link: LinkKind,
    /// Where it is dialled; none of a worker that only dials in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Address>,
    /// Where the session stands.
    pub state: StreamState,
    /// Milliseconds that the wait before the next attempt was given, in `Backoff` and `Replaced`, and not
    /// while a socket is waited for that is not there: it is dialled when it appears; in `Away`, that the
    /// worker was given to come back.
    pub retry_after_ms: Option<u64>,
    /// Whether the worker is a stock one, which knows neither hello nor policy.
    pub legacy: bool,
    /// Rules of the policy that a legacy worker cannot be told.
    pub unsupported_rules: Vec<SamplingRule>,
    /// Its process id: registered, seen behind its socket, or claimed.
    pub pid: Option<u32>,
    /// The worker's incarnation, as it says; empty before its hello.
    pub incarnation: String,
    /// Version of the worker's telemetry library, as it says.
    pub package_version: String,
    /// What the worker says it can do.
    pub capabilities: Vec<String>,
    /// What was counted for this worker over all its incarnations; never falls.
    pub ledger: StreamSnapshot,
    /// What was counted for the present incarnation. Events before the hello of a stream are in it
    /// from that hello on, if it names this incarnation, or if none has a name.
    pub incarnation_ledger: StreamSnapshot,
    /// The worker's own ledger: the last report of the present incarnation.
    pub report: Option<WorkerSnapshot>,
    /// What became of the events of all incarnations, each from where this manager knows it: `emitted` are
    /// those that have come to an end, here or at the worker, and never falls; those that have not are
    /// `queued` at the worker, or `away`.
    pub reported: WorkerSnapshot,
    /// Whether the last report was the worker's last word before an orderly end.
    pub report_final: bool,
    /// Whether the last report promised that nothing stays behind in the worker, as after a drain.
    pub written_through: bool,
    /// Sequences that the present incarnation had sent before this manager joined; they went to
    /// another manager and are no loss.
    pub joined_at: u64,
    /// Events that incarnations which ended had accepted, as they reported, and that never arrived. Of
    /// those counted in `unaccounted_incarnations` it is what is known, and there may be more.
    pub lost_at_crash: u64,
    /// Events of `ledger` that were read from the memory of incarnations that had ended.
    pub recovered: u64,
    /// Events that the present incarnation says it sent and that have not arrived so far: on the way, or
    /// lost with a stream that was cut, which its next stream will tell.
    pub away: u64,
    /// Incarnations that ended without a last word: what they emitted after their last report and did
    /// not send is unknown.
    pub unaccounted_incarnations: u64,
    /// Wall clock of the last word of the latest of those, nanoseconds since the Unix epoch.
    pub unknown_since_ns: Option<i64>,
    /// By how many events the last report and what was counted until then disagree; 0 is right.
    pub report_difference: u64,
    /// Revision of the policy that the worker should have.
    pub policy_revision: u64,
    /// Revision of the policy that the worker reports; 0 before its first report on this stream.
    pub applied_revision: u64,
    /// Why the worker refused the last control; empty when it did not.
    pub control_error: String,
    /// For how long the worker's program had not been able to run at its last report, milliseconds; 0: it
    /// ran, or is not watched.
    pub stalled_ms: u64,
    /// Spans under way at its last report.
    pub open_spans: u32,
    /// Streams opened so far.
    pub streams: u64,
    /// Streams opened after the first one.
    pub reconnects: u64,
    /// Attempts that failed since the last stream.
    pub failures: u32,
    /// Why the last attempt or stream ended; while streaming, why the stream before this one did.
    pub last_error: Option<String>,
    /// Wall clock at which the stream was opened, nanoseconds since the Unix epoch; while streaming.
    pub connected_since_ns: Option<i64>,
}

impl StreamInfo {
    /// By how many events the ledger of this worker does not balance; must read 0.
    ///
    /// For every worker it covers T1 and M1. For one that reports it also covers, as of its last
    /// report, W1, W2 and that everything it sent was received or is a counted gap.
    #[must_use]
    pub fn ledger_difference(&self) -> u64 {
        self.ledger
            .difference()
            .saturating_add(self.report_difference)
    }

    /// Whether the worker reports that it applied the policy it should have.
    #[must_use]
    pub fn is_policy_applied(&self) -> bool {
        self.applied_revision == self.policy_revision
    }
}
