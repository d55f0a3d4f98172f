//! What is remembered about one registered worker, across its streams and incarnations.
//!
//! The session's task is the only writer. Counters are read without a lock; the rest is behind a
//! short one that is taken on hello, report and change of state, never per event. What is counted is
//! the account's business.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use telemetry_core::{Clock, Note, Position, SamplingRule, escape, snapshot_from_report, truncate};
use telemetry_proto::{WorkerHello, WorkerReport};
use tokio::sync::watch;

use super::changes::Changes;
use super::info::{StreamInfo, StreamState};
use super::peer::LinkKind;
use crate::accounts::{
    Account, Book, Gone, Implausible, LedgerWriter, Origin, Parting, Place, Said,
};
use crate::identity::WorkerContext;
use telemetry_core::Address;

/// Longest text that is kept of what a worker or the system says, in bytes.
const MAX_TEXT_BYTES: usize = 512;
/// Longest incarnation id, version or capability that is kept.
const MAX_WORD_BYTES: usize = 64;
/// Most capabilities that are kept.
const MAX_CAPABILITIES: usize = 16;

mod death;

pub(crate) use death::Held;

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
    control_error: String,
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
    /// Whether a stream was asked for before: what the worker sent since was meant for us.
    asked_before: bool,
    /// Whether somebody answered a dial, here or elsewhere.
    dialled: bool,
    /// Whether a stream was asked for, here or elsewhere.
    asked: bool,
    /// Whether nobody listens behind its socket.
    is_refused: bool,
    /// When the present process, or the wait for the first one, began.
    since_ns: i64,
}

/// What a worker says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Hello {
    incarnation: String,
    package_version: String,
    capabilities: Vec<String>,
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
            control_error: String::new(),
            stalled_ms: 0,
            open_spans: 0,
            streams: 0,
            failures: 0,
            last_error: None,
            stream_error: None,
            connected_since_ns: None,
            asked_before: false,
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

    /// A dial begins, or a new process of the worker was registered: nothing that was said of the
    /// last stream holds any more.
    pub(crate) fn connecting(&self) {
        let mut memory = self.lock();
        memory.state = StreamState::Connecting;
        memory.retry_after = None;
        memory.connected_since_ns = None;
        // What it has applied is not known until it reports again.
        memory.applied_revision = 0;
        memory.stalled_ms = 0;
        memory.open_spans = 0;
        drop(memory);
        self.notify();
    }

    /// The request for a stream went out.
    pub(super) fn asked(&self, peer_pid: Option<u32>, link: LinkKind) {
        let mut memory = self.lock();
        memory.seen_pid = peer_pid;
        memory.link = link;
        // One that dials in need not have a socket.
        memory.asked |= link == LinkKind::Out;
    }

    /// Whether the last report was the worker's last word before an orderly end.
    pub(super) fn has_said_last(&self) -> bool {
        self.lock().account.sums().report_final
    }

    /// Whether somebody will say that its process has ended.
    pub(crate) fn is_supervised(&self) -> bool {
        self.lock().supervised
    }

    /// Somebody answered a dial, whoever it is.
    pub(super) fn dialled(&self) {
        self.lock().dialled = true;
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

    /// The worker accepted the stream. Returns how many streams there were before.
    pub(super) fn streaming(&self, now_ns: i64) -> u64 {
        let mut memory = self.lock();
        memory.state = StreamState::Streaming;
        memory.retry_after = None;
        memory.connected_since_ns = Some(now_ns);
        memory.failures = 0;
        memory.is_refused = false;
        // That it was not there yet is no news any more; why its last stream ended is.
        memory.last_error = memory.stream_error.clone();
        let before = memory.streams;
        memory.streams += 1;
        drop(memory);
        self.notify();
        before
    }

    /// An attempt or stream ended; the next one is due in `retry_after`, if that is known. `asked`: the worker may
    /// have sent something on it.
    pub(super) fn waiting(
        &self,
        state: StreamState,
        error: &str,
        failures: u32,
        retry_after: Option<Duration>,
        asked: bool,
    ) {
        let mut memory = self.lock();
        memory.state = state;
        memory.retry_after = retry_after;
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
        memory.stalled_ms = 0;
        memory.open_spans = 0;
        drop(memory);
        self.notify();
    }

    /// The session ended.
    pub(super) fn closed(&self) {
        let mut memory = self.lock();
        memory.state = StreamState::Closed;
        memory.retry_after = None;
        memory.connected_since_ns = None;
        memory.asked_before = true;
        drop(memory);
        self.notify();
    }

    /// A stream begins, once nobody reads what the process before left. Returns the counters for its
    /// events.
    pub(super) async fn begin(&self) -> LedgerWriter {
        loop {
            self.read_out().await;
            if let Some(writer) = self.try_begin() {
                return writer;
            }
        }
    }

    /// The same, unless somebody reads: a stream beside that would tear its counters away.
    fn try_begin(&self) -> Option<LedgerWriter> {
        let writer = LedgerWriter::default();
        let mut memory = self.lock();
        if memory.is_recovering {
            return None;
        }
        memory.account.open(&writer);
        memory.written_through = false;
        Some(writer)
    }

    /// The stream that `writer` counted is over, in this way.
    pub(super) fn end(&self, writer: LedgerWriter, how: Parting) {
        let now_ns = self.clock.unix_nanos();
        let mut memory = self.lock();
        let origin = memory.origin();
        memory.account.close(writer, how, origin, now_ns);
        if how != Parting::Cut {
            memory.let_go_of_region();
        }
        drop(memory);
        self.notify();
    }

    /// Takes in who the worker is. A new incarnation ends the old one.
    pub(super) fn hello(&self, hello: &WorkerHello, writer: &mut LedgerWriter) {
        let incarnation = word(&hello.incarnation_id);
        let now_ns = self.clock.unix_nanos();
        let mut memory = self.lock();
        let origin = match (hello.sent_before, hello.given_before) {
            _ if hello.retained_from > 0 => {
                let told = memory.told.as_ref();
                let told = told.filter(|told| told.incarnation_id == hello.incarnation_id);
                let handled = told.map_or(0, |told| told.handled);
                Origin::Resumed {
                    at: handled.max(hello.retained_from - 1),
                    missed: hello.missed_before,
                }
            }
            (Some(sent), Some(given)) => Origin::Told { sent, given },
            _ => memory.origin(),
        };
        let place = match memory.seen_pid {
            Some(pid) => Place::Process(pid),
            None => Place::Address(match &memory.endpoint {
                Some(endpoint) if memory.link == LinkKind::Out => endpoint.to_string(),
                // Where the system tells no process there is nothing but its word.
                _ => String::new(),
            }),
        };
        let account = &mut memory.account;
        if !account.hello(&incarnation, place, writer, origin, now_ns) {
            return;
        }
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
        memory.claimed_pid = (hello.pid != 0).then_some(hello.pid);
        memory.legacy = false;
        memory.unsupported_rules.clear();
        drop(memory);
        self.notify();
    }

    /// Whether the stream that `writer` counts has to wait until another one of its incarnation is read.
    pub(super) fn must_wait(&self, writer: &mut LedgerWriter) -> bool {
        let now_ns = self.clock.unix_nanos();
        let mut memory = self.lock();
        let origin = memory.origin();
        if memory.account.is_waiting() {
            memory.account.claim_again(writer, origin, now_ns);
        }
        memory.account.is_waiting()
    }

    /// Takes in the worker's report. Its word on control holds whatever becomes of its counters.
    pub(super) fn report(
        &self,
        report: &WorkerReport,
        writer: &mut LedgerWriter,
    ) -> Result<(), Implausible> {
        let (snapshot, refused) = snapshot_from_report(report);
        let now_ns = self.clock.unix_nanos();
        let mut memory = self.lock();
        let origin = memory.origin();
        if refused > 0 {
            memory.account.refuse_entries();
        }
        let said = Said {
            snapshot,
            position: report.position,
            settled: report.settled,
            is_final: report.r#final,
            written_through: report.written_through,
            recovered: None,
        };
        let taken = memory.account.report(said, writer, origin, now_ns);
        memory.written_through = report.written_through;
        memory.applied_revision = report.policy_revision;
        memory.stalled_ms = report.stalled_ms;
        memory.open_spans = report.open_spans;
        memory.control_error = escape(truncate(&report.control_error, MAX_TEXT_BYTES)).into_owned();
        drop(memory);
        self.notify();
        taken
    }

    /// A copy for operators. `policy_revision` is what the worker should have.
    pub(crate) fn info(&self, policy_revision: u64) -> StreamInfo {
        let memory = self.lock();
        let sums = memory.account.sums();
        StreamInfo {
            worker_id: memory.context.worker_id.clone(),
            pool_name: memory.context.pool_name.clone(),
            parent: memory.context.parent.clone(),
            link: memory.link,
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
            recovered: sums.ledger.notes.get(Note::Recovered),
            ledger: sums.ledger,
            incarnation_ledger: sums.incarnation_ledger,
            report: sums.report,
            reported: sums.reported,
            report_final: sums.report_final,
            written_through: memory.written_through,
            joined_at: sums.joined_at,
            lost_at_crash: sums.lost_at_crash,
            away: sums.away,
            unaccounted_incarnations: sums.unaccounted,
            unknown_since_ns: sums.unknown_since_ns,
            report_difference: sums.difference,
            policy_revision,
            applied_revision: memory.applied_revision,
            control_error: memory.control_error.clone(),
            stalled_ms: memory.stalled_ms,
            open_spans: memory.open_spans,
            streams: memory.streams,
            reconnects: memory.streams.saturating_sub(1),
            failures: memory.failures,
            last_error: memory.last_error.clone(),
            connected_since_ns: memory.connected_since_ns,
        }
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

/// A short text of a worker, fit to be shown.
fn word(text: impl AsRef<str>) -> String {
    escape(truncate(text.as_ref(), MAX_WORD_BYTES)).into_owned()
}

#[cfg(test)]
mod tests;
