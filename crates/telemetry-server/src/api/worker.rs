//! One worker: its stream, its process if a pool of ours started it, and what became of its events.

use serde::Serialize;
use telemetry_core::ledger::Counts;
#[cfg(feature = "pool")]
use telemetry_core::ledger::StreamSnapshot;

use super::{Ledger, Row};
use crate::accounts::IncarnationInfo;
#[cfg(feature = "pool")]
use crate::pool::{WorkerState, WorkerStatus};
use crate::session::{LinkKind, StreamInfo};

/// Nanoseconds of so many milliseconds.
fn nanos(millis: u64) -> u64 {
    millis.saturating_mul(1_000_000)
}

/// A text that may be empty, which says nothing.
fn said(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// The policy of a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct AppliedPolicy {
    /// The revision that it should have.
    pub revision: u64,
    /// The revision that it says it has; left out of a stock worker, which says none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied: Option<u64>,
    /// Why it refused the last control.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A process that a pool of the manager's started.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct Process {
    /// Where it is in its life: `starting`, `ready`, `draining`, `backoff` or `stopped`.
    pub state: String,
    /// Whether an earlier manager started it.
    pub adopted: bool,
    /// Processes that took the place of an earlier one.
    pub restarts: u64,
    /// Unexpected ends and failed starts in a row.
    pub failures: u32,
    /// For how long it has been running.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_ns: Option<u64>,
    /// How the last process ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<String>,
    /// Whether that end was asked for.
    pub last_exit_planned: bool,
    /// Exit code of the last process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_exit_code: Option<i32>,
    /// The signal that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_signal: Option<i32>,
    /// Its process id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_pid: Option<u32>,
    /// The last line that it wrote to stderr.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_stderr: Option<String>,
}

/// A worker.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct Worker {
    /// Its id.
    pub id: String,
    /// Its pool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// Where its stream stands: `connecting`, `streaming`, `backoff`, `replaced`, `away` or `closed`. Of a worker
    /// without one, where its process is.
    pub state: String,
    /// Who opened its connection: `in`, it did; `out`, the manager did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// Its process id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Whether it is a stock one, which says nothing of itself.
    pub legacy: bool,
    /// When its stream was opened; while it is streaming.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connected_since_ns: Option<i64>,
    /// How long the wait before the next attempt is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ns: Option<u64>,
    /// For how long its program had not been able to run at its last report.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stalled_ns: Option<u64>,
    /// Spans under way at its last report.
    pub open_spans: u32,
    /// Streams opened after the first one.
    pub reconnects: u64,
    /// What went wrong last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// Its policy; left out of a worker without a stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<AppliedPolicy>,
    /// What became of its events.
    pub ledger: Ledger,
    /// Events of `received` that were read from the memory of processes that had ended.
    pub recovered: u64,
    /// Of the latest incarnation that ended without a last word: when it last said one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown_since_ns: Option<i64>,
    /// Its process, if a pool of the manager's started it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
    /// What only a single worker shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<WorkerDetail>,
}

/// What only a single worker shows.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct WorkerDetail {
    /// The worker whose process started it, or the one before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// Where it is dialled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Its present incarnation, 32 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<String>,
    /// The version of its telemetry library.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub package_version: Option<String>,
    /// What it says it can do.
    pub capabilities: Vec<String>,
    /// The accounts of its incarnations, oldest first.
    pub incarnations: Vec<Incarnation>,
}

/// The account of one life of one worker process.
///
/// `emitted = received + gaps + Σ dropped + lost + away + queued`, always.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct Incarnation {
    /// Its id, 32 hexadecimal digits; left out of a process that never said who it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Its process id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Events that it is known to have emitted.
    pub emitted: u64,
    /// Events that arrived here.
    pub received: u64,
    /// Events that were lost on the way.
    pub gaps: u64,
    /// Events that it dropped, by reason.
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, u64>))]
    pub dropped: Counts,
    /// Events that were lost when it ended.
    pub lost: u64,
    /// Events that it sent and that are not here yet.
    pub away: u64,
    /// Events that waited in it when it last reported.
    pub queued: u64,
    /// Events that went to another manager.
    pub elsewhere: u64,
    /// Events of `received` that were read from the memory that it left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovered: Option<u64>,
    /// Whether it is streaming.
    pub streaming: bool,
    /// Whether it is known to have ended.
    pub ended: bool,
    /// Whether it told everything before it ended.
    pub complete: bool,
    /// If it did not: when it said its last word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown_since_ns: Option<i64>,
}

impl From<IncarnationInfo> for Incarnation {
    fn from(info: IncarnationInfo) -> Self {
        Self {
            id: said(info.incarnation),
            pid: info.pid,
            emitted: info.emitted,
            received: info.received,
            gaps: info.gaps,
            dropped: info.dropped,
            lost: info.lost_at_crash,
            away: info.away,
            queued: info.queued,
            elsewhere: info.elsewhere,
            recovered: info.recovered,
            streaming: info.streaming,
            ended: info.ended,
            complete: info.complete,
            unknown_since_ns: info.unknown_since_ns,
        }
    }
}

impl From<StreamInfo> for Worker {
    fn from(info: StreamInfo) -> Self {
        let link = match info.link {
            LinkKind::In => "in",
            LinkKind::Out => "out",
        };
        Self {
            ledger: Ledger::of_stream(&info),
            id: info.worker_id.as_str().to_owned(),
            pool: info.pool_name,
            state: info.state.as_str().to_owned(),
            link: Some(link.to_owned()),
            pid: info.pid,
            legacy: info.legacy,
            connected_since_ns: info.connected_since_ns,
            retry_after_ns: info.retry_after_ms.map(nanos),
            stalled_ns: Some(nanos(info.stalled_ms)).filter(|_| info.stalled_ms > 0),
            open_spans: info.open_spans,
            reconnects: info.reconnects,
            last_error: info.last_error,
            policy: Some(AppliedPolicy {
                revision: info.policy_revision,
                applied: (!info.legacy).then_some(info.applied_revision),
                error: said(info.control_error),
            }),
            recovered: info.recovered,
            unknown_since_ns: info.unknown_since_ns,
            process: None,
            detail: Some(WorkerDetail {
                parent: info.parent.map(|it| it.as_str().to_owned()),
                endpoint: info.endpoint.map(|it| it.to_string()),
                incarnation: said(info.incarnation),
                package_version: said(info.package_version),
                capabilities: info.capabilities,
                incarnations: Vec::new(),
            }),
        }
    }
}

#[cfg(feature = "pool")]
impl Worker {
    /// A worker that the manager does not stream with.
    pub(super) fn of_process(pool: Option<String>, status: WorkerStatus) -> Self {
        let mut worker = Self {
            id: status.worker_id.clone(),
            pool,
            state: status.state.as_str().to_owned(),
            link: None,
            pid: None,
            legacy: false,
            connected_since_ns: None,
            retry_after_ns: None,
            stalled_ns: None,
            open_spans: 0,
            reconnects: 0,
            last_error: None,
            policy: None,
            ledger: Ledger::of_lines(&status.stderr),
            recovered: 0,
            unknown_since_ns: None,
            process: None,
            detail: None,
        };
        worker.add_process(status);
        worker
    }

    /// Adds what it printed, beside what came over its stream.
    pub(super) fn add_lines(&mut self, lines: &StreamSnapshot) {
        let ledger = &mut self.ledger;
        ledger.emitted = ledger.emitted.saturating_add(lines.received);
        ledger.received = ledger.received.saturating_add(lines.received);
        ledger.dispatched = ledger.dispatched.saturating_add(lines.dispatched);
        for (reason, count) in lines.rejected.iter() {
            ledger.rejected.add(reason, count);
        }
    }

    /// Adds what the pool knows of its processes.
    pub(super) fn add_process(&mut self, status: WorkerStatus) {
        // Of a process that ended a pid would be taken for that of one that runs.
        self.pid = status.pid;
        if status.state == WorkerState::Backoff {
            status.state.as_str().clone_into(&mut self.state);
        }
        // The end of a process is why its stream ended, and why it has no socket.
        match &status.last_exit {
            Some(_) if status.last_exit_planned => {
                let is_well = ["streaming", "ready", "stopped"].contains(&self.state.as_str());
                self.last_error = self.last_error.take().filter(|_| !is_well);
            }
            Some(exit) => {
                let line = status.last_stderr.as_ref();
                let told = line.map_or_else(|| exit.clone(), |line| format!("{exit}: {line}"));
                self.last_error = Some(told);
            }
            None => {}
        }
        self.process = Some(Process {
            state: status.state.as_str().to_owned(),
            adopted: status.adopted,
            restarts: status.restarts,
            failures: status.failures,
            age_ns: status.age_ms.map(nanos),
            last_exit: status.last_exit,
            last_exit_planned: status.last_exit_planned,
            last_exit_code: status.last_exit_code,
            last_signal: status.last_signal,
            last_pid: status.last_pid,
            last_stderr: status.last_stderr,
        });
    }
}

impl Row for Worker {
    const SORTS: &'static [&'static str] = &[
        "id",
        "received",
        "rejected",
        "dropped",
        "lost",
        "queued",
        "reconnects",
        "stalled",
    ];

    fn name(&self) -> &str {
        &self.id
    }

    fn number(&self, sort: &str) -> u64 {
        match sort {
            "received" => self.ledger.received,
            "rejected" => self.ledger.rejected.total(),
            "dropped" => self.ledger.dropped.total(),
            "lost" => self.ledger.lost,
            "queued" => self.ledger.queued,
            "reconnects" => self.reconnects,
            _ => self.stalled_ns.unwrap_or(0),
        }
    }
}
