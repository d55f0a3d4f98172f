//! What is remembered about one registered worker, across its streams and incarnations.
//!
//! The session's task is the only writer. Counters are read without a lock; the rest is behind a
//! short one that is taken on hello, report and change of state, never per event.

mod attribution;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use telemetry_core::{
    SamplingRule, StreamSnapshot, WorkerSnapshot, escape, snapshot_from_report, truncate,
};
use telemetry_proto::{WorkerHello, WorkerReport};

use super::changes::Changes;
use super::info::{StreamInfo, StreamState};
use crate::endpoint::Endpoint;
use crate::identity::WorkerContext;
use crate::pipeline::StreamLedger;

/// Longest text that is kept of what a worker or the system says, in bytes.
const MAX_TEXT_BYTES: usize = 512;
/// Longest incarnation id, version or capability that is kept.
const MAX_WORD_BYTES: usize = 64;
/// Most capabilities that are kept.
const MAX_CAPABILITIES: usize = 16;
/// Largest count that is believed in a report: beyond it a worker lies or is broken.
const MAX_COUNT: u64 = 1 << 53;

/// The memory of one registered worker.
#[derive(Debug)]
pub(crate) struct Record {
    /// Counters of the present incarnation.
    ledger: Arc<StreamLedger>,
    memory: Mutex<Memory>,
    changes: Changes,
}

/// What changes rarely.
#[derive(Debug)]
struct Memory {
    context: WorkerContext,
    endpoint: Endpoint,
    state: StreamState,
    retry_after: Option<Duration>,
    legacy: bool,
    unsupported_rules: Vec<SamplingRule>,
    seen_pid: Option<u32>,
    claimed_pid: Option<u32>,
    hello: Hello,
    /// Sum over ended incarnations.
    folded: StreamSnapshot,
    /// Sum of the last reports of ended incarnations.
    folded_reports: WorkerSnapshot,
    report: Option<WorkerSnapshot>,
    report_final: bool,
    report_difference: u64,
    lost_at_crash: u64,
    applied_revision: u64,
    control_error: String,
    streams: u64,
    failures: u32,
    last_error: Option<String>,
    /// Why the last stream, as opposed to an attempt at one, ended.
    stream_error: Option<String>,
    connected_since_ns: Option<i64>,
    /// Whether a stream was asked for before: what the worker sent since was meant for us.
    asked_before: bool,
    /// Whether there was a hello on the present stream.
    greeted: bool,
    /// Counters of what the present stream brought, until it is clear whose it is.
    unnamed: Option<Arc<StreamLedger>>,
}

/// What a worker says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Hello {
    incarnation: String,
    package_version: String,
    capabilities: Vec<String>,
}

/// A report that was not taken over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum RefusedReport {
    /// A count beyond belief.
    #[error("the report has counts that cannot be")]
    Absurd,
}

impl Record {
    pub(crate) fn new(context: WorkerContext, endpoint: Endpoint, changes: Changes) -> Self {
        let memory = Memory {
            context,
            endpoint,
            state: StreamState::Connecting,
            retry_after: None,
            legacy: false,
            unsupported_rules: Vec::new(),
            seen_pid: None,
            claimed_pid: None,
            hello: Hello::default(),
            folded: StreamSnapshot::default(),
            folded_reports: WorkerSnapshot::default(),
            report: None,
            report_final: false,
            report_difference: 0,
            lost_at_crash: 0,
            applied_revision: 0,
            control_error: String::new(),
            streams: 0,
            failures: 0,
            last_error: None,
            stream_error: None,
            connected_since_ns: None,
            asked_before: false,
            greeted: false,
            unnamed: None,
        };
        Self {
            ledger: Arc::default(),
            memory: Mutex::new(memory),
            changes,
        }
    }

    /// Who to notify.
    pub(super) fn changes(&self) -> &Changes {
        &self.changes
    }

    /// Who the worker is and where it listens, after a new registration.
    pub(crate) fn relocate(&self, context: WorkerContext, endpoint: Endpoint) {
        let mut memory = self.lock();
        memory.context = context;
        memory.endpoint = endpoint;
        memory.seen_pid = None;
        memory.claimed_pid = None;
        drop(memory);
        self.changes.notify();
    }

    pub(crate) fn context(&self) -> WorkerContext {
        self.lock().context.clone()
    }

    pub(crate) fn state(&self) -> StreamState {
        self.lock().state
    }

    pub(crate) fn is_legacy(&self) -> bool {
        self.lock().legacy
    }

    /// Whether the worker said that it can do something.
    pub(super) fn is_capable_of(&self, capability: &str) -> bool {
        let memory = self.lock();
        memory.hello.capabilities.iter().any(|it| it == capability)
    }

    /// The process id that is not registered but seen or claimed.
    pub(super) fn observed_pid(&self) -> Option<u32> {
        let memory = self.lock();
        memory.seen_pid.or(memory.claimed_pid)
    }

    pub(super) fn set_legacy(&self, legacy: bool, unsupported_rules: Vec<SamplingRule>) {
        let mut memory = self.lock();
        memory.legacy = legacy;
        memory.unsupported_rules = unsupported_rules;
        drop(memory);
        self.changes.notify();
    }

    /// A dial begins, or a new process of the worker was registered: nothing that was said of the
    /// last stream holds any more.
    pub(crate) fn connecting(&self) {
        let mut memory = self.lock();
        memory.state = StreamState::Connecting;
        memory.retry_after = None;
        memory.connected_since_ns = None;
        // What it has applied is not known until it reports again.
        memory.applied_revision = 0;
        drop(memory);
        self.changes.notify();
    }

    /// The request for a stream went out.
    pub(super) fn asked(&self, peer_pid: Option<u32>) {
        self.lock().seen_pid = peer_pid;
    }

    /// The worker accepted the stream. Returns how many streams there were before.
    pub(super) fn streaming(&self, now_ns: i64) -> u64 {
        let mut memory = self.lock();
        memory.state = StreamState::Streaming;
        memory.retry_after = None;
        memory.connected_since_ns = Some(now_ns);
        memory.failures = 0;
        // That it was not there yet is no news any more; why its last stream ended is.
        memory.last_error = memory.stream_error.clone();
        let before = memory.streams;
        memory.streams += 1;
        drop(memory);
        self.changes.notify();
        before
    }

    /// An attempt or stream ended; the next one is due in `retry_after`. `asked`: the worker may
    /// have sent something on it.
    pub(super) fn waiting(
        &self,
        state: StreamState,
        error: &str,
        failures: u32,
        retry_after: Duration,
        asked: bool,
    ) {
        let mut memory = self.lock();
        self.end_stream(&mut memory);
        memory.state = state;
        memory.retry_after = Some(retry_after);
        memory.failures = failures;
        let error = escape(truncate(error, MAX_TEXT_BYTES)).into_owned();
        if asked {
            memory.stream_error = Some(error.clone());
        }
        memory.last_error = Some(error);
        memory.connected_since_ns = None;
        memory.asked_before |= asked;
        // What it has applied is not known until it reports again.
        memory.applied_revision = 0;
        drop(memory);
        self.changes.notify();
    }

    /// The session ended.
    pub(super) fn closed(&self) {
        let mut memory = self.lock();
        self.end_stream(&mut memory);
        memory.state = StreamState::Closed;
        memory.retry_after = None;
        memory.connected_since_ns = None;
        memory.asked_before = true;
        drop(memory);
        self.changes.notify();
    }

    /// Takes in who the worker is. A new incarnation ends the old one: what it had accepted and never
    /// arrived is lost.
    pub(super) fn hello(&self, hello: &WorkerHello) {
        let incarnation = word(&hello.incarnation_id);
        let mut memory = self.lock();
        // A hello that is still open has not named the incarnation before it.
        let is_open = memory.greeted && memory.unnamed.is_some();
        let known = &memory.hello.incarnation;
        let named = (!known.is_empty() && !is_open).then(|| *known == incarnation);
        memory.greeted = true;
        memory.hello = Hello {
            incarnation,
            package_version: word(&hello.package_version),
            capabilities: hello
                .capabilities
                .iter()
                .take(MAX_CAPABILITIES)
                .map(word)
                .collect(),
        };
        if let Some(same) = named.or_else(|| self.goes_on(&memory, None)) {
            self.attribute(&mut memory, same);
        }
        memory.claimed_pid = (hello.pid != 0).then_some(hello.pid);
        memory.legacy = false;
        memory.unsupported_rules.clear();
        drop(memory);
        self.changes.notify();
    }

    /// Takes in the worker's ledger.
    pub(super) fn report(&self, report: &WorkerReport) -> Result<(), RefusedReport> {
        let (mut snapshot, _refused) = snapshot_from_report(report);
        let counts = [
            snapshot.emitted,
            snapshot.accepted,
            snapshot.sent,
            snapshot.queued,
            snapshot.dropped.total(),
            snapshot.notes.total(),
        ];
        if counts.into_iter().any(|count| count > MAX_COUNT) {
            return Err(RefusedReport::Absurd);
        }
        self.attribute_by(snapshot.sent);
        if !self.ledger.has_joined() {
            self.ledger.join_at(snapshot.sent);
        }
        if !self.ledger.announce(snapshot.sent) {
            return Err(RefusedReport::Absurd);
        }
        let counted = self.ledger.snapshot();
        let sent = snapshot.sent.saturating_sub(self.ledger.joined_at());
        let accounted = counted.sequenced.saturating_add(counted.gaps);
        let own = if report.settled {
            snapshot.difference()
        } else {
            0
        };
        let mut memory = self.lock();
        memory.report_difference = sent.abs_diff(accounted).saturating_add(own);
        if let Some(earlier) = &memory.report {
            // A worker that takes counts back is wrong, and must not lower the sums it is part of.
            snapshot.raise(earlier);
        }
        memory.report = Some(snapshot);
        memory.report_final = report.r#final;
        memory.applied_revision = report.policy_revision;
        memory.control_error = escape(truncate(&report.control_error, MAX_TEXT_BYTES)).into_owned();
        drop(memory);
        self.changes.notify();
        Ok(())
    }

    /// A copy for operators. `policy_revision` is what the worker should have.
    pub(crate) fn info(&self, policy_revision: u64) -> StreamInfo {
        let memory = self.lock();
        let mut incarnation_ledger = self.ledger.snapshot();
        let mut ledger = memory.folded.clone();
        ledger.merge(&incarnation_ledger);
        let mut origin = &self.ledger;
        if let Some(unnamed) = &memory.unnamed {
            let counted = unnamed.snapshot();
            ledger.merge(&counted);
            if memory.hello.incarnation.is_empty() || memory.greeted {
                incarnation_ledger.merge(&counted);
            }
            if !self.ledger.has_joined() {
                origin = unnamed;
            }
        }
        let mut reported = memory.folded_reports.clone();
        if let Some(report) = &memory.report {
            reported.merge(report);
        }
        StreamInfo {
            worker_id: memory.context.worker_id.clone(),
            pool_name: memory.context.pool_name.clone(),
            endpoint: memory.endpoint.clone(),
            state: memory.state,
            retry_after_ms: memory
                .retry_after
                .map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
            legacy: memory.legacy,
            unsupported_rules: memory.unsupported_rules.clone(),
            pid: memory
                .context
                .python_pid
                .or(memory.seen_pid)
                .or(memory.claimed_pid),
            incarnation: memory.hello.incarnation.clone(),
            package_version: memory.hello.package_version.clone(),
            capabilities: memory.hello.capabilities.clone(),
            ledger,
            incarnation_ledger,
            report: memory.report.clone(),
            reported,
            report_final: memory.report_final,
            joined_at: origin.joined_at(),
            lost_at_crash: memory.lost_at_crash,
            report_difference: memory.report_difference,
            policy_revision,
            applied_revision: memory.applied_revision,
            control_error: memory.control_error.clone(),
            streams: memory.streams,
            reconnects: memory.streams.saturating_sub(1),
            failures: memory.failures,
            last_error: memory.last_error.clone(),
            connected_since_ns: memory.connected_since_ns,
        }
    }

    /// Ends the present incarnation for good, when the worker is taken away.
    pub(crate) fn fold(&self) {
        let mut memory = self.lock();
        self.end_stream(&mut memory);
        memory.fold(&self.ledger);
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A short text of a worker, fit to be shown.
fn word(text: impl AsRef<str>) -> String {
    escape(truncate(text.as_ref(), MAX_WORD_BYTES)).into_owned()
}

#[cfg(test)]
mod tests;
