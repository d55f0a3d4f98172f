//! `tracing`: a callsite below the level that is wanted, and what is wanted formatted into a sink.

use std::hint::black_box;
use std::ops::Range;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::Registry;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;

use super::{ID, TOOLS};
use crate::measure::Batches;

/// Sets the subscriber of the process: a registry and a formatter into a sink, from `INFO` up. It is
/// the global one, because a scoped one makes every callsite of the process dearer.
pub(crate) fn subscribe() {
    let format = fmt::layer().with_ansi(false).with_writer(std::io::sink);
    let subscriber = Registry::default().with(LevelFilter::INFO).with(format);
    // A second call finds the first one's: the same.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// An event below the level that is wanted.
pub(crate) struct DisabledTracing;

impl Batches for DisabledTracing {
    fn run(&mut self, numbers: Range<usize>) {
        for run in numbers {
            tracing::debug!(
                duration = black_box(run),
                count = 1,
                tool = TOOLS[run % 4],
                operation = "read",
                id = ID,
                "tool.execution.stop"
            );
        }
    }

    fn drain(&mut self) {}
}

/// An event with the same fields, formatted.
pub(crate) struct TracingEvent;

impl Batches for TracingEvent {
    fn run(&mut self, numbers: Range<usize>) {
        for run in numbers {
            let run = black_box(run);
            tracing::info!(
                duration = run,
                count = 1,
                tool = TOOLS[run % 4],
                operation = "read",
                id = ID,
                "tool.execution.stop"
            );
        }
    }

    fn drain(&mut self) {}
}

/// A span with two fields, entered and left.
pub(crate) struct TracingSpan;

impl Batches for TracingSpan {
    fn run(&mut self, numbers: Range<usize>) {
        for run in numbers {
            let run = black_box(run);
            let span =
                tracing::info_span!("tool.execution", tool = TOOLS[run % 4], operation = "read");
            drop(span.entered());
        }
    }

    fn drain(&mut self) {}
}
