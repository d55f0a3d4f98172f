//! What workers write to stderr, as part of the manager's log: as it is in a log for people, one
//! object per line in one of JSON.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use serde_json::{Map, Value};
use telemetry_server::{LogFormat, LossyWriter, StderrTarget};

use super::json::{Line, now};

/// Takes whole chunks of the workers of one pool, as [`StderrTarget::Writer`] gives them.
#[derive(Debug)]
pub(super) struct PassedOn {
    writer: LossyWriter,
    pool: String,
}

impl PassedOn {
    pub(super) fn target(writer: LossyWriter, format: LogFormat, pool: &str) -> StderrTarget {
        match format {
            LogFormat::Text => StderrTarget::Writer(Arc::new(Mutex::new(writer))),
            LogFormat::Json => StderrTarget::Writer(Arc::new(Mutex::new(Self {
                writer,
                pool: pool.to_owned(),
            }))),
        }
    }
}

impl Write for PassedOn {
    /// A line that came in two chunks becomes two objects.
    fn write(&mut self, chunk: &[u8]) -> io::Result<usize> {
        for text in String::from_utf8_lossy(chunk).lines() {
            let line = Line {
                timestamp: now(),
                level: "INFO",
                target: "telemetry::worker::stderr",
                message: text.to_owned(),
                fields: Map::from_iter([("pool".to_owned(), Value::from(self.pool.as_str()))]),
            };
            self.writer.push(line.to_text()?.as_bytes());
        }
        Ok(chunk.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
