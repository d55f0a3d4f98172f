//! Events out of a worker's stderr: lines `TELEMETRY:{json}` become events, every other byte passes
//! unchanged.
//!
//! A line is turned into the very bytes that a stream would have carried and goes through an
//! ordinary pipeline, so the catalog, the limits and the counters are those of the stream; metadata
//! says `transport=stderr`. Text of the user that merely looks like such a line is treated by the
//! same rules. A line that does not become an event is counted under its reason and passes on.
//!
//! No I/O here: bytes in, bytes out.

mod lines;
mod record;

use telemetry_core::ledger::{Reason, StreamSnapshot};

use crate::pipeline::{Frame, Pipeline};

pub use lines::MAX_LINE_BYTES;

use lines::{Found, Lines};

/// Separates telemetry lines from the rest of one process's stderr.
#[derive(Debug)]
pub struct StderrCapture {
    lines: Lines,
    pipeline: Pipeline,
}

impl StderrCapture {
    /// A capture whose events go through `pipeline`, which belongs to the process's worker.
    #[must_use]
    pub fn new(pipeline: Pipeline) -> Self {
        Self {
            lines: Lines::default(),
            pipeline,
        }
    }

    /// Takes the next bytes of stderr, of any length; appends to `rest` what is not telemetry.
    ///
    /// Holds back at most one unfinished telemetry line ([`MAX_LINE_BYTES`]); all other bytes pass
    /// at once.
    pub fn feed(&mut self, bytes: &[u8], rest: &mut Vec<u8>) {
        let pipeline = &mut self.pipeline;
        self.lines.feed(bytes, |found| take(pipeline, found, rest));
    }

    /// Says that no more bytes come: what was held back is looked at as it is.
    pub fn finish(&mut self, rest: &mut Vec<u8>) {
        let pipeline = &mut self.pipeline;
        self.lines.finish(|found| take(pipeline, found, rest));
    }

    /// What became of the lines so far.
    #[must_use]
    pub fn snapshot(&self) -> StreamSnapshot {
        self.pipeline.snapshot()
    }
}

fn take(pipeline: &mut Pipeline, found: Found<'_>, rest: &mut Vec<u8>) {
    match found {
        Found::Other(bytes) => rest.extend_from_slice(bytes),
        Found::TooLong(bytes) => {
            pipeline.reject(Reason::DecodeError);
            rest.extend_from_slice(bytes);
        }
        Found::Telemetry { line, json } => match record::to_message(json) {
            Some(message) => {
                if pipeline.process(&message) != Frame::Dispatched {
                    rest.extend_from_slice(line);
                }
            }
            None => {
                pipeline.reject(Reason::DecodeError);
                rest.extend_from_slice(line);
            }
        },
    }
}
