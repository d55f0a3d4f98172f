//! The receiving side of one stream: chunks in, messages out, hello and report taken in their place
//! between the events.

use std::sync::Arc;

use prost::Message;
use telemetry_core::{
    Source,
    catalog::escape,
    wire::{FrameError, FrameSplitter, RejectedName},
};
use telemetry_proto::{WorkerHello, WorkerReport};

use super::record::Record;
use super::rest::{Listener, enforcer};
use crate::accounts::LedgerWriter;
use crate::desired::Wanted;
use crate::pipeline::{Frame, Pipeline};

/// Longest message, as in gRPC's other implementations; a longer one ends the stream. An event that
/// is larger than its own limit is counted as undecodable.
pub const MAX_MESSAGE_BYTES: usize = 4 << 20;
/// Longest hello or report that is looked at: decoded, a message of nothing but empty entries takes
/// fifty times its length. A worker keeps the names in its report to half of this.
const MAX_SPEECH_BYTES: usize = 512 << 10;

/// What the session learns from a chunk.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Learned {
    /// The worker said hello on this stream.
    pub(super) hello: Option<Greeted>,
    /// It sent a report.
    pub(super) reported: bool,
    /// Its first message was no hello.
    pub(super) event_first: bool,
    /// The hello is from another incarnation than the one that was introduced.
    pub(super) stranger: bool,
}

/// What the stream needs to know of a hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Greeted {
    /// Bytes that the worker keeps until they are acknowledged; 0 if it does not.
    pub(super) replay_bytes: u64,
    /// Sequence of the oldest event that it could send again.
    pub(super) retained_from: u64,
}

/// Reads one stream.
#[derive(Debug)]
pub(super) struct Reader {
    pipeline: Pipeline,
    record: Arc<Record>,
    /// The incarnation that was introduced, on a connection that the worker opened.
    introduced: Option<String>,
    splitter: FrameSplitter,
    /// What the worker is wanted to do.
    wanted: Arc<Wanted>,
    /// Messages of this stream.
    messages: u64,
    /// Whether this stream had a hello.
    greeted: bool,
    /// Whether something unreadable was logged on this stream; a worker must not fill the log.
    complained: bool,
}

impl Reader {
    pub(super) fn new(
        pipeline: Pipeline,
        record: Arc<Record>,
        introduced: Option<String>,
        wanted: Arc<Wanted>,
    ) -> Self {
        let splitter = FrameSplitter::new(MAX_MESSAGE_BYTES);
        let legacy = record.is_legacy();
        let mut reader = Self {
            pipeline,
            record,
            introduced,
            splitter,
            wanted: Arc::clone(&wanted),
            messages: 0,
            greeted: false,
            complained: false,
        };
        reader.desire(wanted, legacy);
        reader
    }

    /// Takes the next bytes of the stream and handles every message they complete. `each` gets the
    /// length of each message and its number on this stream, from 1.
    pub(super) fn feed(
        &mut self,
        chunk: &[u8],
        mut each: impl FnMut(usize, u64),
    ) -> Result<Learned, FrameError> {
        let Self {
            pipeline,
            record,
            introduced,
            splitter,
            wanted,
            messages,
            greeted,
            complained,
        } = self;
        let mut learned = Learned::default();
        let mut complain = |pipeline: &Pipeline, what: &str, error: String| {
            if !std::mem::replace(complained, true) {
                let worker = pipeline.source().worker_id.as_deref().map(escape);
                tracing::warn!(worker = worker.as_deref(), what, %error,
                    "worker sent what cannot be used; more of it on this stream is not logged");
            }
        };
        let mut batch = pipeline.batch();
        let fed = splitter.feed(chunk, |message| {
            *messages += 1;
            each(message.len(), *messages);
            match batch.process(message) {
                Frame::Hello(hello) => match read::<WorkerHello>(hello) {
                    Ok(hello) if is_other(introduced.as_deref(), &hello) => {
                        learned.stranger = true;
                    }
                    Ok(hello) => {
                        let pipeline = batch.pipeline();
                        record.hello(&hello, pipeline.ledger_mut());
                        if !std::mem::replace(greeted, true) {
                            // What it has understood it carries out, to the letter.
                            let listener = listener(record);
                            pipeline.enforce(enforcer(wanted, listener, pipeline.dispatcher()));
                        }
                        learned.hello = Some(Greeted {
                            replay_bytes: hello.replay_bytes,
                            retained_from: hello.retained_from,
                        });
                        let mut source = pipeline.source().clone();
                        source.python_pid = source.python_pid.or(record.observed_pid());
                        pipeline.set_source(source);
                    }
                    Err(error) => complain(batch.pipeline(), "hello", error),
                },
                Frame::Report(report) => {
                    learned.reported = true;
                    let taken = read::<WorkerReport>(report).and_then(|report| {
                        let ledger = batch.pipeline().ledger_mut();
                        let taken = record.report(&report, ledger);
                        taken.map_err(|error| error.to_string())
                    });
                    if let Err(error) = taken {
                        complain(batch.pipeline(), "report", error);
                    }
                }
                Frame::Dispatched | Frame::Rejected(_) | Frame::Duplicate => {
                    learned.event_first |= !*greeted && *messages == 1;
                }
            }
        });
        drop(batch);
        self.record.arrived();
        fed.map(|()| learned)
    }

    /// What is wanted of the worker from now on. What it cannot be told is held against its events here, and
    /// all of it before it has said hello.
    pub(super) fn desire(&mut self, wanted: Arc<Wanted>, legacy: bool) {
        let listener = match (self.greeted, legacy) {
            (true, _) => listener(&self.record),
            (false, true) => Listener::Stock,
            (false, false) => Listener::Nobody,
        };
        let dispatcher = self.pipeline.dispatcher();
        self.pipeline
            .enforce(enforcer(&wanted, listener, dispatcher));
        self.wanted = wanted;
    }

    /// Names that were refused since they were last taken.
    pub(super) fn take_refused(&mut self) -> &[RejectedName] {
        self.pipeline.take_refused()
    }

    /// Messages of this stream so far.
    pub(super) fn messages(&self) -> u64 {
        self.messages
    }

    /// Whether another stream of the same incarnation has to be read before this one.
    pub(super) fn must_wait(&mut self) -> bool {
        self.record.must_wait(self.pipeline.ledger_mut())
    }

    /// Sequence of the last event that was handled or is known to be lost.
    pub(super) fn position(&self) -> u64 {
        self.pipeline.position()
    }

    /// Whether the stream stands between two messages.
    pub(super) fn is_at_boundary(&self) -> bool {
        self.splitter.is_at_boundary()
    }

    /// The counters, when the stream is read to its end.
    pub(super) fn into_ledger(self) -> LedgerWriter {
        self.pipeline.into_ledger()
    }

    /// Who the events are from.
    pub(super) fn source(&self) -> &Source {
        self.pipeline.source()
    }
}

/// How a worker that said hello understands what it is told.
fn listener(record: &Record) -> Listener {
    match record.knows_rules() {
        Some(true) => Listener::Ours,
        _ => Listener::Older,
    }
}

/// Whether a hello is from another incarnation than the one that was introduced.
fn is_other(introduced: Option<&str>, hello: &WorkerHello) -> bool {
    introduced.is_some_and(|introduced| introduced != hello.incarnation_id)
}

/// Reads what a worker says of itself, unless it is too long to be honest.
fn read<M: Message + Default>(bytes: &[u8]) -> Result<M, String> {
    if bytes.len() > MAX_SPEECH_BYTES {
        let length = bytes.len();
        return Err(format!(
            "it has {length} bytes, more than the {MAX_SPEECH_BYTES} allowed"
        ));
    }
    M::decode(bytes).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use telemetry_proto::ReasonCount;

    use super::*;

    #[test]
    fn a_report_is_not_decoded_when_it_is_larger_than_an_honest_one() {
        let report = |entries: usize| WorkerReport {
            dropped: vec![ReasonCount::default(); entries],
            ..WorkerReport::default()
        };
        let honest = report(1_000).encode_to_vec();
        assert_eq!(read::<WorkerReport>(&honest), Ok(report(1_000)));
        let huge = report(MAX_SPEECH_BYTES / 2 + 1).encode_to_vec();
        let error = read::<WorkerReport>(&huge).expect_err("too long");
        assert!(error.contains("524288"), "{error}");
    }
}
