//! What a pool shows of its workers, and the load numbers that only the host knows.
//!
//! Plain data behind short locks; no processes, no events.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde::Serialize;

use telemetry_core::ledger::StreamSnapshot;

/// The pool at one moment.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct PoolStatus {
    /// Name of the pool.
    pub name: String,
    /// One entry per worker, in the order of their numbers.
    pub workers: Vec<WorkerStatus>,
    /// Workers that are ready: streaming, or alive when they report over stderr.
    pub available_workers: u64,
    /// As set by the host through [`PoolLoad`].
    pub busy_workers: u64,
    /// As set by the host through [`PoolLoad`].
    pub queue_depth: u64,
}

/// One worker of a pool at one moment.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct WorkerStatus {
    /// `{pool}-{n}`.
    pub worker_id: String,
    /// Process id, while a process runs.
    pub pid: Option<u32>,
    /// Where it is in its life.
    pub state: WorkerState,
    /// Processes that took the place of an earlier one, for whatever reason.
    pub restarts: u64,
    /// Unexpected exits and failed starts in a row.
    pub failures: u32,
    /// Whether the running process was started by an earlier manager.
    pub adopted: bool,
    /// How the last process ended, e.g. `exit code 1`, `signal 9 (SIGKILL)`; or why it did not start.
    pub last_exit: Option<String>,
    /// Whether that end was asked for.
    pub last_exit_planned: bool,
    /// Exit code of the last process, unless a signal ended it or nobody told us.
    pub last_exit_code: Option<i32>,
    /// The signal that ended the last process.
    pub last_signal: Option<i32>,
    /// Id of the last process that ended.
    pub last_pid: Option<u32>,
    /// The last line that process wrote to stderr and that was no telemetry, as it is, at most
    /// [`MAX_LAST_LINE_BYTES`](crate::pool::MAX_LAST_LINE_BYTES).
    pub last_stderr: Option<String>,
    /// Age of the running process in milliseconds.
    pub age_ms: Option<u64>,
    /// Events that came as stderr lines, by their fate, over all processes of this worker.
    pub stderr: StreamSnapshot,
}

impl WorkerStatus {
    /// A worker of this id whose first process was just started.
    pub fn new(worker_id: impl Into<String>) -> Self {
        Self {
            worker_id: worker_id.into(),
            pid: None,
            state: WorkerState::Starting,
            restarts: 0,
            failures: 0,
            adopted: false,
            last_exit: None,
            last_exit_planned: false,
            last_exit_code: None,
            last_signal: None,
            last_pid: None,
            last_stderr: None,
            age_ms: None,
            stderr: StreamSnapshot::default(),
        }
    }
}

/// Where a worker is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WorkerState {
    /// The process runs, its stream is not open yet.
    Starting,
    /// Its stream is open, or its stderr is read when that is its transport.
    Ready,
    /// It was asked to end and may still finish.
    Draining,
    /// It ended unexpectedly and waits for its restart.
    Backoff,
    /// The pool is shut down.
    Stopped,
}

impl WorkerState {
    /// The word used in documents and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Backoff => "backoff",
            Self::Stopped => "stopped",
        }
    }
}

/// Load numbers of a pool that only the host can know; they appear in `pool.status`. Cheap to clone
/// and to set.
#[derive(Debug, Clone, Default)]
pub struct PoolLoad {
    numbers: Arc<LoadNumbers>,
}

#[derive(Debug, Default)]
struct LoadNumbers {
    busy_workers: AtomicU64,
    queue_depth: AtomicU64,
}

impl PoolLoad {
    /// Sets the number of workers that are executing something.
    pub fn set_busy_workers(&self, workers: u64) {
        self.numbers.busy_workers.store(workers, Ordering::Relaxed);
    }

    /// Sets the number of requests that wait for a worker.
    pub fn set_queue_depth(&self, requests: u64) {
        self.numbers.queue_depth.store(requests, Ordering::Relaxed);
    }

    /// The number last set, 0 at first.
    #[must_use]
    pub fn busy_workers(&self) -> u64 {
        self.numbers.busy_workers.load(Ordering::Relaxed)
    }

    /// The number last set, 0 at first.
    #[must_use]
    pub fn queue_depth(&self) -> u64 {
        self.numbers.queue_depth.load(Ordering::Relaxed)
    }
}

/// What the pool keeps of one worker between its processes.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) state: WorkerState,
    pub(super) pid: Option<u32>,
    pub(super) started: Option<Instant>,
    pub(super) restarts: u64,
    pub(super) failures: u32,
    pub(super) adopted: bool,
    pub(super) last: LastEnd,
    pub(super) commands: u64,
}

/// What is known of the last process that ended.
#[derive(Debug, Default, Clone)]
pub(super) struct LastEnd {
    pub(super) exit: Option<String>,
    pub(super) planned: bool,
    pub(super) code: Option<i32>,
    pub(super) signal: Option<i32>,
    pub(super) pid: Option<u32>,
    pub(super) stderr: Option<String>,
}

impl Slot {
    pub(super) fn new() -> Self {
        Self {
            state: WorkerState::Starting,
            pid: None,
            started: None,
            restarts: 0,
            failures: 0,
            adopted: false,
            last: LastEnd::default(),
            commands: 0,
        }
    }

    /// What `restarts` will be once the next process was started.
    pub(super) fn next_restarts(&self) -> u64 {
        self.restarts + u64::from(self.last.exit.is_some())
    }

    pub(super) fn view(&self, worker: &str, stderr: StreamSnapshot) -> WorkerStatus {
        let age = self.started.map(|started| started.elapsed().as_millis());
        WorkerStatus {
            worker_id: worker.to_owned(),
            pid: self.pid,
            state: self.state,
            restarts: self.restarts,
            failures: self.failures,
            adopted: self.adopted,
            last_exit: self.last.exit.clone(),
            last_exit_planned: self.last.planned,
            last_exit_code: self.last.code,
            last_signal: self.last.signal,
            last_pid: self.last.pid,
            last_stderr: self.last.stderr.clone(),
            age_ms: age.map(|millis| u64::try_from(millis).unwrap_or(u64::MAX)),
            stderr,
        }
    }
}
