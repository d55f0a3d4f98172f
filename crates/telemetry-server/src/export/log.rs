//! The log exporter: every telemetry event becomes one `tracing` event.
//!
//! Uses tracing and nothing else; where the lines go is the subscriber's business. Text is escaped
//! here, because not every subscriber does.

use std::borrow::Cow;
use std::fmt::{self, Write};

use telemetry_core::{
    EventRef, ValueRef,
    catalog::{Rate, escape},
};
use tracing::Level;

use crate::dispatch::{Handler, HandlerError};

/// Writes events to the log, under the target `telemetry::event`.
///
/// | event | level |
/// |---|---|
/// | `….exception`, `….failure`, `….crash`, `….spawn_failed`, `….error.…` | error |
/// | `….lost`, `….timeout`, `….tainted`, `….rejected`, `….exhausted`, `….broken`, `….unmapped` | warn |
/// | of high frequency, `….sampled` | debug |
/// | everything else | info |
///
/// Fields: `event`, `pool`, `worker`, `correlation_id`, of an event in a span `trace_id`, `span_id` and
/// `parent_span_id`, `learned` where no catalog has the event, `timestamp_ns`, and `measurements` and
/// `metadata` as `key=value` lists. When the level is off for the target, nothing is formatted.
///
/// Attach it queued if the subscriber writes to a file or a terminal: inline it makes a worker's
/// stream wait for them.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogHandler;

const ERRORS: [&str; 4] = [".exception", ".failure", ".crash", ".spawn_failed"];
const WARNINGS: [&str; 7] = [
    ".lost",
    ".timeout",
    ".tainted",
    ".rejected",
    ".exhausted",
    ".broken",
    ".unmapped",
];

/// The level of an event.
fn level(event: &EventRef<'_>) -> Level {
    let name = event.name();
    let ends = |suffixes: &[&str]| suffixes.iter().any(|suffix| name.ends_with(suffix));
    if ends(&ERRORS) || name.contains(".error.") {
        Level::ERROR
    } else if ends(&WARNINGS) {
        Level::WARN
    } else if event.spec().rate == Rate::High || name.ends_with(".sampled") {
        Level::DEBUG
    } else {
        Level::INFO
    }
}

impl Handler for LogHandler {
    fn handle(&self, event: &EventRef<'_>) -> Result<(), HandlerError> {
        let span = event.span();
        let parent = span.and_then(|span| span.parent_span_id);
        // The macros want a level that is known when compiling.
        macro_rules! log {
            ($level:expr) => {
                tracing::event!(
                    target: "telemetry::event",
                    $level,
                    event = %escape(event.name()),
                    pool = event.source().pool_name.as_deref().map(escape).as_deref(),
                    worker = event.source().worker_id.as_deref().map(escape).as_deref(),
                    correlation_id = %escape(event.correlation_id()),
                    trace_id = span.map(|span| tracing::field::display(span.trace_id)),
                    span_id = span.map(|span| tracing::field::display(span.span_id)),
                    learned = event.is_learned().then_some(true),
                    parent_span_id = parent.map(tracing::field::display),
                    timestamp_ns = event.timestamp_ns(),
                    measurements = %Measurements(event),
                    metadata = %Metadata(event),
                )
            };
        }
        match level(event) {
            Level::ERROR => log!(Level::ERROR),
            Level::WARN => log!(Level::WARN),
            Level::DEBUG => log!(Level::DEBUG),
            _ => log!(Level::INFO),
        }
        Ok(())
    }
}

struct Measurements<'e>(&'e EventRef<'e>);

impl fmt::Display for Measurements<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (key, value)) in self.0.measurements().enumerate() {
            let space = if place == 0 { "" } else { " " };
            write!(f, "{space}{}=", escape(key))?;
            match value {
                ValueRef::Int(number) => write!(f, "{number}")?,
                ValueRef::Float(number) => write!(f, "{number}")?,
                ValueRef::Str(text) => quoted(f, text)?,
            }
        }
        Ok(())
    }
}

/// Metadata without what has a field of its own.
struct Metadata<'e>(&'e EventRef<'e>);

impl fmt::Display for Metadata<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: [&str; 4] = ["pool_name", "worker_id", "correlation_id", "timestamp_ns"];
        let entries = self
            .0
            .metadata_iter()
            .filter(|(key, _)| !SHOWN.contains(key));
        for (place, (key, value)) in entries.enumerate() {
            let space = if place == 0 { "" } else { " " };
            write!(f, "{space}{}=", escape(key))?;
            quoted(f, &value)?;
        }
        Ok(())
    }
}

/// The text, in quotes if it could be taken for more than one value.
fn quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let text: Cow<'_, str> = escape(text);
    if !text.is_empty() && !text.contains([' ', '"', '=']) {
        return f.write_str(&text);
    }
    f.write_char('"')?;
    f.write_str(&text.replace('"', "\\\""))?;
    f.write_char('"')
}

#[cfg(test)]
mod tests;
