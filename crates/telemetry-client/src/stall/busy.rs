//! Which of the threads with open spans is at work, by the processor time that it takes.
//!
//! Threads that wait for a lock take none, so the one that holds it is often told apart, unless it waits
//! itself. Where `/proc` does not tell, nobody is known to be busy.

use std::collections::BTreeMap;
use std::fs;
use std::time::Instant;

use telemetry_core::emit::OpenSpan;

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
        let elapsed = u64::try_from(self.at.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let busy = busiest(&self.since(), elapsed);
        let is_busy = |span: &&OpenSpan| busy.contains(&span.thread);
        spans.iter().find(is_busy).or(spans.first())
    }

    /// What threads have used since, nanoseconds.
    fn since(&self) -> Vec<(u32, u64)> {
        let since = |(thread, before): (&u32, &u64)| {
            let now = processor_nanos(*thread)?;
            Some((*thread, now.saturating_sub(*before)))
        };
        self.used.iter().filter_map(since).collect()
    }
}

/// The threads that have been busy for a good part of the time: the busiest one, and those that cannot be
/// told from it. On a busy machine even that may get little of the time.
fn busiest(used: &[(u32, u64)], elapsed: u64) -> Vec<u32> {
    let most = used.iter().map(|(_, used)| *used).max().unwrap_or(0);
    let least = (elapsed / 8).max(most / 2).max(1);
    let is_busy = |(thread, used): &(u32, u64)| (*used >= least).then_some(*thread);
    used.iter().filter_map(is_busy).collect()
}

/// The processor time of a thread of this process, nanoseconds.
fn processor_nanos(thread: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/self/task/{thread}/schedstat")).ok()?;
    text.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_is_told_from_those_that_wait() {
        assert_eq!(busiest(&[(1, 30), (2, 2), (3, 0)], 100), [1]);
        assert_eq!(busiest(&[(1, 40), (2, 35), (3, 3)], 100), [1, 2]);
        assert_eq!(busiest(&[(1, 10), (2, 1)], 100), [] as [u32; 0]);
        assert_eq!(busiest(&[(1, 0)], 0), [] as [u32; 0]);
    }

    #[test]
    fn the_span_of_a_busy_thread_goes_before_a_later_one() {
        let (tell, told) = std::sync::mpsc::channel();
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let busy = std::thread::spawn(move || {
            tell.send(crate::stall::thread_id()).unwrap();
            while stopped.try_recv().is_err() {
                std::hint::spin_loop();
            }
        });
        let span = |operation: &str, thread| OpenSpan {
            operation: operation.to_owned(),
            thread,
            span_id: 0,
            started_ns: 0,
        };
        let (here, there) = (crate::stall::thread_id(), told.recv().unwrap());
        let spans = [span("waits", here), span("works", there)];
        let reading = Busy::now(&spans);
        let used = |reading: &Busy| reading.since().iter().map(|(_, used)| used).sum::<u64>();
        while used(&reading) < 20_000_000 {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let innermost = reading.innermost(&spans).unwrap();
        assert_eq!(innermost.operation, "works");
        stop.send(()).unwrap();
        busy.join().unwrap();
        let idle = [span("later", 0), span("earlier", 0)];
        assert_eq!(Busy::now(&idle).innermost(&idle), Some(&idle[0]));
    }
}
