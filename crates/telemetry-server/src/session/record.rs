//! What is remembered about one registered worker, across its streams and incarnations.
//!
//! The session's task is the only writer. Counters are read without a lock; the rest is behind a
//! short one that is taken on hello, report and change of state, never per event. What is counted is
//! the account's business.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use telemetry_core::{Clock, emit::SamplingRule, wire::Position};
use tokio::sync::watch;

use super::changes::Changes;
use super::info::StreamState;
use super::peer::LinkKind;
use crate::accounts::{Account, Book, Gone, Origin};
use crate::identity::{Labels, WorkerContext};
use telemetry_core::Address;

/// Longest text that is kept of what a worker or the system says, in bytes.
const MAX_TEXT_BYTES: usize = 512;

mod death;
mod heard;
mod phases;
mod policy;
mod shown;

pub(crate) use death::Held;
use heard::{Hello, word};
pub(crate) use policy::RulesReport;

/// The memory of one registered worker.
#[derive(Debug)]
pub(crate) struct Record {
    memory: Mutex<Memory>,
    /// Of all workers: states and reports.
    changes: Arc<Changes>,
    /// Of this one: those, and the arrival of events.
    own: Changes,
    /// Tells when something was last heard.
    clock: Arc<dyn Clock>,
}

/// What changes rarely.
#[derive(Debug)]
struct Memory {
    context: WorkerContext,
    /// Where it is dialled, if it is.
    endpoint: Option<Address>,
    /// Who opened the present or last connection, or will open the first.
    link: LinkKind,
    /// Whether somebody will say that its process has ended.
    supervised: bool,
    state: StreamState,
    retry_after: Option<Duration>,
    legacy: bool,
    unsupported_rules: Vec<SamplingRule>,
    seen_pid: Option<u32>,
    claimed_pid: Option<u32>,
    hello: Hello,
    /// Where the worker of the present stream was told that we stand.
    told: Option<Position>,
    /// What is counted.
    account: Account,
    /// What survives its process, if it was handed over.
    held: Option<Held>,
    /// Whether that is being read, by whom it may be.
    is_recovering: bool,
    /// How the process ended whose memory is being read.
    end: Option<Gone>,
    /// Whether the last report promised that nothing stays behind.
    written_through: bool,
    applied_revision: u64,
    /// Revision of the policy that it refused last, as it says; 0 if it did not.
    refused_revision: u64,
    control_error: String,
    /// Whether it was told rules last, or a policy; `None` for both.
    told_rules: Option<bool>,
    /// Its labels, as it says.
    labels: Labels,
    /// What its last report says of its rules.
    rules: RulesReport,
    /// For how long its program had not run, as it reported last, milliseconds.
    stalled_ms: u64,
    /// Spans under way, as it reported last.
    open_spans: u32,
    streams: u64,
    failures: u32,
    last_error: Option<String>,
    /// Why the last stream, as opposed to an attempt at one, ended.
    stream_error: Option<String>,
    connected_since_ns: Option<i64>,
    /// Whether there was a stream before: what a worker that came after it sends is meant for us.
    asked_before: bool,
    /// Whether the present connection has one. One that was asked for and never answered may have been for whoever
    /// was served at that time.
    is_open: bool,
    /// Whether somebody answered a dial, here or elsewhere.
    dialled: bool,
    /// Whether a stream was asked for, here or elsewhere.
    asked: bool,
    /// Whether nobody listens behind its socket.
    is_refused: bool,
    /// When the present process, or the wait for the first one, began.
    since_ns: i64,
}

impl Record {
    pub(crate) fn new(
        context: WorkerContext,
        endpoint: Option<Address>,
        changes: Arc<Changes>,
        book: &Arc<Book>,
        clock: &Arc<dyn Clock>,
    ) -> Self {
        let account = Account::new(
            Arc::clone(book),
            context.worker_id.clone(),
            context.pool_name.clone(),
        );
        let memory = Memory {
            context,
            link: first_link(endpoint.as_ref()),
            endpoint,
            supervised: false,
            state: StreamState::Connecting,
            retry_after: None,
            legacy: false,
            unsupported_rules: Vec::new(),
            seen_pid: None,
            claimed_pid: None,
            hello: Hello::default(),
            told: None,
            account,
            held: None,
            is_recovering: false,
            end: None,
            written_through: false,
            applied_revision: 0,
            refused_revision: 0,
            control_error: String::new(),
            told_rules: None,
            labels: Labels::new(),
            rules: RulesReport::default(),
            stalled_ms: 0,
            open_spans: 0,
            streams: 0,
            failures: 0,
            last_error: None,
            stream_error: None,
            connected_since_ns: None,
            asked_before: false,
            is_open: false,
            dialled: false,
            asked: false,
            is_refused: false,
            since_ns: clock.unix_nanos(),
        };
        Self {
            memory: Mutex::new(memory),
            changes,
            own: Changes::default(),
            clock: Arc::clone(clock),
        }
    }

    /// Wall clock, nanoseconds since the Unix epoch.
    pub(super) fn now_ns(&self) -> i64 {
        self.clock.unix_nanos()
    }

    /// Listens to changes of this worker, the arrival of events included.
    pub(crate) fn listen(&self) -> watch::Receiver<u64> {
        self.own.listen()
    }

    /// Says that something about it changed.
    pub(crate) fn notify(&self) {
        self.own.notify();
        self.changes.notify();
    }

    /// Says that events arrived, to those who wait for this worker.
    pub(super) fn arrived(&self) {
        self.own.notify();
    }

    /// Who the worker is and where it listens, after a new registration.
    pub(crate) fn relocate(&self, context: WorkerContext, endpoint: Option<Address>) {
        let mut memory = self.lock();
        // At another place another process may have been at work for long.
        memory.asked_before &= memory.endpoint == endpoint;
        memory.context = context;
        memory.link = first_link(endpoint.as_ref());
        memory.endpoint = endpoint;
        memory.seen_pid = None;
        memory.claimed_pid = None;
        memory.since_ns = self.clock.unix_nanos();
        drop(memory);
        self.notify();
    }

    pub(crate) fn endpoint(&self) -> Option<Address> {
        self.lock().endpoint.clone()
    }

    /// From now on somebody says when its process has ended, and how.
    pub(crate) fn supervise(&self) {
        self.lock().supervised = true;
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

    /// Whether the worker said hello when it was there last.
    pub(super) fn is_ours(&self) -> bool {
        let memory = self.lock();
        !memory.legacy && !memory.hello.incarnation.is_empty()
    }

    /// Where we stand with the worker, for the hello of a stream that is about to be opened: with the
    /// incarnation that introduced itself in a process, or else the one that was there last.
    pub(super) fn tell_position(
        &self,
        introduced: Option<(&str, Option<u32>)>,
    ) -> Option<Position> {
        let mut memory = self.lock();
        let position = match introduced {
            Some((id, Some(pid))) => memory.account.position(Some((id, pid))),
            // Where the system tells no process an id alone is not enough.
            Some((_, None)) => None,
            None => memory.account.position(None),
        };
        // Nothing durable is behind us: what is handled may be released.
        memory.told = position.map(|(incarnation_id, handled)| Position {
            incarnation_id,
            handled,
            acknowledged: handled,
        });
        memory.told.clone()
    }

    /// Whether the worker said that it can do something.
    pub(super) fn is_capable_of(&self, capability: &str) -> bool {
        let memory = self.lock();
        memory.hello.capabilities.iter().any(|it| it == capability)
    }

    /// The process id that is not registered but seen or claimed.
    pub(crate) fn observed_pid(&self) -> Option<u32> {
        let memory = self.lock();
        memory.seen_pid.or(memory.claimed_pid)
    }

    pub(super) fn set_legacy(&self, legacy: bool, unsupported_rules: Vec<SamplingRule>) {
        let mut memory = self.lock();
        memory.legacy = legacy;
        memory.unsupported_rules = unsupported_rules;
        drop(memory);
        self.notify();
    }

    /// Whether the last report was the worker's last word before an orderly end.
    pub(super) fn has_said_last(&self) -> bool {
        self.lock().account.sums().report_final
    }

    /// Whether somebody will say that its process has ended.
    pub(crate) fn is_supervised(&self) -> bool {
        self.lock().supervised
    }

    /// The process that was started as this worker by somebody who says when it ends.
    pub(super) fn started_pid(&self) -> Option<u32> {
        let memory = self.lock();
        memory.context.python_pid.filter(|_| memory.supervised)
    }

    /// Nobody listens behind its socket, or somebody may.
    pub(super) fn set_refused(&self, is_refused: bool) {
        self.lock().is_refused = is_refused;
    }

    /// Whether its socket is there and refuses, and not only while its worker starts.
    #[cfg(feature = "pool")]
    pub(crate) fn is_refused(&self) -> bool {
        self.lock().is_refused
    }

    /// Whether a stream was ever asked for.
    pub(super) fn was_asked(&self) -> bool {
        self.lock().asked
    }

    /// Whether somebody ever answered a dial.
    pub(super) fn was_dialled(&self) -> bool {
        self.lock().dialled
    }

    /// The worker is taken away. Its incarnation may come back elsewhere.
    pub(crate) fn depart(&self) {
        self.lock().account.depart();
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    /// Since when what a new incarnation sends is meant for us.
    fn origin(&self) -> Origin {
        if self.asked_before {
            Origin::Birth
        } else {
            Origin::FirstSight
        }
    }
}

/// Who opens the first connection.
fn first_link(endpoint: Option<&Address>) -> LinkKind {
    match endpoint {
        Some(_) => LinkKind::Out,
        None => LinkKind::In,
    }
}

#[cfg(test)]
mod tests;
