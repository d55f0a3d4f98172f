//! `fastrace`: local spans under one root per batch, collected by its own thread.

use std::hint::black_box;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use fastrace::collector::{Config, Reporter, SpanContext, SpanRecord};
use fastrace::{Span, flush, set_reporter};

use super::TOOLS;
use crate::measure::Batches;

/// Spans that reached the reporter.
static REPORTED: AtomicUsize = AtomicUsize::new(0);

/// A local span with two properties.
pub(crate) struct FastTrace {
    /// Spans made so far, roots included.
    made: usize,
}

impl FastTrace {
    /// With a reporter that counts. There is one per process.
    pub(crate) fn new() -> Self {
        set_reporter(Count, Config::default());
        REPORTED.store(0, Ordering::Relaxed);
        Self { made: 0 }
    }
}

/// Counts what it gets.
struct Count;

impl Reporter for Count {
    fn report(&mut self, spans: Vec<SpanRecord>) {
        REPORTED.fetch_add(spans.len(), Ordering::Relaxed);
    }
}

impl Batches for FastTrace {
    fn run(&mut self, numbers: Range<usize>) {
        self.made += numbers.len() + 1;
        let root = Span::root("batch", SpanContext::random());
        let _parent = root.set_local_parent();
        for run in numbers {
            let run = black_box(run);
            let _span = fastrace::local::LocalSpan::enter_with_local_parent("tool.execution")
                .with_properties(|| [("tool", TOOLS[run % 4]), ("operation", "read")]);
        }
    }

    fn drain(&mut self) {
        flush();
        assert_eq!(
            REPORTED.load(Ordering::Relaxed),
            self.made,
            "nothing is lost"
        );
    }
}
