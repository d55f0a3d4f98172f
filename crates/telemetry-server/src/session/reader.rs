//! The receiving side of one stream: chunks in, messages out, hello and report taken in their place
//! between the events.

use std::sync::Arc;

use prost::Message;
use telemetry_core::{FrameError, FrameSplitter};
use telemetry_proto::{WorkerHello, WorkerReport};

use super::record::Record;
use crate::pipeline::{Frame, Pipeline};

/// Longest message: a report that names 4,096 events with long names has less.
pub const MAX_MESSAGE_BYTES: usize = 4 << 20;

/// What the session learns from a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Learned {
    /// The worker said hello on this stream.
    pub(super) hello: bool,
    /// Its first message was no hello.
    pub(super) event_first: bool,
}

/// Reads one stream.
#[derive(Debug)]
pub(super) struct Reader {
    pipeline: Pipeline,
    record: Arc<Record>,
    splitter: FrameSplitter,
    /// Messages of this stream.
    messages: u64,
    /// Whether this stream had a hello.
    greeted: bool,
}

impl Reader {
    pub(super) fn new(pipeline: Pipeline, record: Arc<Record>) -> Self {
        let splitter = FrameSplitter::new(MAX_MESSAGE_BYTES);
        Self {
            pipeline,
            record,
            splitter,
            messages: 0,
            greeted: false,
        }
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
            splitter,
            messages,
            greeted,
        } = self;
        let mut learned = Learned::default();
        let fed = splitter.feed(chunk, |message| {
            *messages += 1;
            each(message.len(), *messages);
            match pipeline.process(message) {
                Frame::Hello(hello) => match WorkerHello::decode(hello) {
                    Ok(hello) => {
                        record.hello(&hello);
                        *greeted = true;
                        learned.hello = true;
                        let mut source = pipeline.source().clone();
                        source.python_pid = source.python_pid.or(record.observed_pid());
                        pipeline.set_source(source);
                    }
                    Err(error) => tracing::warn!(%error, "a worker's hello cannot be read"),
                },
                Frame::Report(report) => match WorkerReport::decode(report) {
                    Ok(report) => {
                        if let Err(error) = record.report(&report) {
                            tracing::warn!(%error, "a worker's report is not taken over");
                        }
                    }
                    Err(error) => tracing::warn!(%error, "a worker's report cannot be read"),
                },
                Frame::Dispatched | Frame::Rejected(_) | Frame::Duplicate => {
                    learned.event_first |= !*greeted && *messages == 1;
                }
            }
        });
        self.record.changes().notify_progress();
        fed.map(|()| learned)
    }

    /// Messages of this stream so far.
    pub(super) fn messages(&self) -> u64 {
        self.messages
    }

    /// Whether the stream stands between two messages.
    pub(super) fn is_at_boundary(&self) -> bool {
        self.splitter.is_at_boundary()
    }

    /// Who the events are from.
    pub(super) fn source(&self) -> &telemetry_core::Source {
        self.pipeline.source()
    }
}
