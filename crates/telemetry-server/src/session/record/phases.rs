//! What becomes of a worker's connection: dialled, asked for a stream, streaming, waiting, closed.

use std::time::Duration;

use telemetry_core::catalog::{escape, truncate};

use super::{MAX_TEXT_BYTES, Record};
use crate::accounts::{LedgerWriter, Parting};
use crate::session::info::StreamState;
use crate::session::peer::LinkKind;

impl Record {
    /// A dial begins, or a new process of the worker was registered: nothing that was said of the
    /// last stream holds any more.
    pub(crate) fn connecting(&self) {
        let mut memory = self.lock();
        memory.state = StreamState::Connecting;
        memory.is_open = false;
        memory.retry_after = None;
        memory.connected_since_ns = None;
        // What it has applied is not known until it reports again.
        memory.applied_revision = 0;
        memory.refused_revision = 0;
        memory.stalled_ms = 0;
        memory.open_spans = 0;
        drop(memory);
        self.notify();
    }

    /// Somebody answered a dial, whoever it is.
    pub(in super::super) fn dialled(&self) {
        self.lock().dialled = true;
    }

    /// The request for a stream went out.
    pub(in super::super) fn asked(&self, peer_pid: Option<u32>, link: LinkKind) {
        let mut memory = self.lock();
        memory.seen_pid = peer_pid;
        memory.link = link;
        // One that dials in need not have a socket.
        memory.asked |= link == LinkKind::Out;
    }

    /// The worker accepted the stream. Returns how many streams there were before.
    pub(in super::super) fn streaming(&self, now_ns: i64) -> u64 {
        let mut memory = self.lock();
        memory.state = StreamState::Streaming;
        memory.is_open = true;
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
    pub(in super::super) fn waiting(
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
        memory.asked_before |= memory.is_open;
        // What it has applied is not known until it reports again.
        memory.applied_revision = 0;
        memory.refused_revision = 0;
        memory.stalled_ms = 0;
        memory.open_spans = 0;
        drop(memory);
        self.notify();
    }

    /// The session ended.
    pub(in super::super) fn closed(&self) {
        let mut memory = self.lock();
        memory.state = StreamState::Closed;
        memory.retry_after = None;
        memory.connected_since_ns = None;
        memory.asked_before |= memory.is_open;
        drop(memory);
        self.notify();
    }

    /// A stream begins, once nobody reads what the process before left. Returns the counters for its
    /// events.
    pub(in super::super) async fn begin(&self) -> LedgerWriter {
        loop {
            self.read_out().await;
            if let Some(writer) = self.try_begin() {
                return writer;
            }
        }
    }

    /// The same, unless somebody reads: a stream beside that would tear its counters away.
    pub(super) fn try_begin(&self) -> Option<LedgerWriter> {
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
    pub(in super::super) fn end(&self, writer: LedgerWriter, how: Parting) {
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
}
