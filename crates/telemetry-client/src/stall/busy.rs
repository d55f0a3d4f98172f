//! Which of the threads with open spans is at work, by the processor time that it takes.
//!
//! Threads that wait for a lock take none, so the one that holds it is often told apart, unless it waits
//! itself. Where `/proc` does not tell, nobody is known to be busy.

use std::collections::BTreeMap;
use std::fs;
use std::time::Instant;

use telemetry_core::OpenSpan;

/// Threads that are looked at.
const MAX_THREADS: usize = 32;

/// Processor time of threads at one moment.
#[derive(Debug)]
pub(super) struct Busy {
    /// The moment.
    at: Instant,
    /// Processor time by thread, nanoseconds.
    used: BTreeMap<u32, u64>,
}

impl Busy {
    /// Reads that of the threads that have these spans.
    pub(super) fn now(spans: &[OpenSpan]) -> Self {
        let mut used = BTreeMap::new();
        for span in spans {
            if used.len() < MAX_THREADS
                && !used.contains_key(&span.thread)
                && let Some(nanos) = processor_nanos(span.thread)
            {
                used.insert(span.thread, nanos);
            }
        }
        Self {
            at: Instant::now(),
            used,
        }
    }

    /// The span that was begun last by a thread that has been busy since, or by any if none has been.
    /// `spans`: the latest first.
    pub(super) fn innermost<'a>(&self, spans: &'a [OpenSpan]) -> Option<&'a OpenSpan> {
        let half = u64::try_from(self.at.elapsed().as_nanos()).unwrap_or(u64::MAX) / 2;
        let is_busy = |span: &&OpenSpan| {
            let before = self.used.get(&span.thread);
            let used = before.and_then(|before| {
                processor_nanos(span.thread).map(|now| now.saturating_sub(*before))
            });
            used.is_some_and(|used| used > half)
        };
        spans.iter().find(is_busy).or(spans.first())
    }
}

/// The processor time of a thread of this process, nanoseconds.
fn processor_nanos(thread: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/self/task/{thread}/schedstat")).ok()?;
    text.split_ascii_whitespace().next()?.parse().ok()
}
