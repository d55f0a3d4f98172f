//! What workers write to stderr, as part of the manager's log: as it is in a log for people, one
//! object per line in one of JSON.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Map, Value};
use telemetry_server::{config::LogFormat, pool::StderrTarget, process::LossyWriter};

use super::json::{Line, now};

/// How long what workers wrote waits for room in the log. They wait for nobody meanwhile.
const PATIENCE: Duration = Duration::from_millis(500);

/// Takes whole chunks of the workers of one pool, as [`StderrTarget::Writer`] gives them.
#[derive(Debug)]
pub(super) struct PassedOn {
    writer: LossyWriter,
    format: LogFormat,
    pool: String,
}

impl PassedOn {
    pub(super) fn target(writer: LossyWriter, format: LogFormat, pool: &str) -> StderrTarget {
        StderrTarget::Writer(Arc::new(Mutex::new(Self {
            writer,
            format,
            pool: pool.to_owned(),
        })))
    }
}

impl Write for PassedOn {
    /// A line that came in two chunks becomes two objects.
    fn write(&mut self, chunk: &[u8]) -> io::Result<usize> {
        if self.format == LogFormat::Text {
            self.writer.push_within(chunk, PATIENCE);
            return Ok(chunk.len());
        }
        for text in String::from_utf8_lossy(chunk).lines() {
            let line = Line {
                timestamp: now(),
                level: "INFO",
                target: "telemetry::worker::stderr",
                message: text.to_owned(),
                fields: Map::from_iter([("pool".to_owned(), Value::from(self.pool.as_str()))]),
            };
            self.writer
                .push_within(line.to_text()?.as_bytes(), PATIENCE);
        }
        Ok(chunk.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
