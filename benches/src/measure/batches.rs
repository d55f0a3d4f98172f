//! Work that fills something which must be emptied now and then.
//!
//! The emptying is not measured: it happens elsewhere, on the pump's thread or in an exporter.

use std::ops::Range;
use std::time::{Duration, Instant};

use crate::allocations;

/// Runs between two drains; fewer than any queue holds.
pub(crate) const BATCH: usize = 512;
/// Runs whose allocations are counted, after as many that are not.
const COUNTED: usize = 64 * BATCH;

/// Something that runs many times between two drains.
pub(crate) trait Batches {
    /// Runs once for each number; panics if anything is dropped.
    fn run(&mut self, numbers: Range<usize>);

    /// Empties what the runs filled.
    fn drain(&mut self);
}

/// As a subject of a comparison; what is measured is the runs.
pub(crate) fn timed(mut work: impl Batches) -> impl FnMut(usize) -> Duration {
    move |runs| {
        let mut measured = Duration::ZERO;
        each_batch(runs, BATCH, |numbers| {
            let start = Instant::now();
            work.run(numbers);
            measured += start.elapsed();
            work.drain();
        });
        measured
    }
}

/// How often one run asks the allocator for memory, once everything that is reused is there.
pub(crate) fn allocations_per_run(work: &mut dyn Batches) -> f64 {
    let mut count = |runs| {
        let mut counted = 0;
        each_batch(runs, BATCH, |numbers| {
            counted += allocations::of(|| work.run(numbers));
            work.drain();
        });
        counted
    };
    count(COUNTED);
    count(COUNTED) as f64 / COUNTED as f64
}

/// How tools that watch by function name find what is to be counted. No other name holds it.
pub(crate) const COUNTED_FUNCTION: &str = "watched_runs";

/// Runs twice that often, with a drain after each `batch`; the second half in the function that
/// [`COUNTED_FUNCTION`] names.
pub(crate) fn run_and_watch(work: &mut impl Batches, runs: usize, batch: usize) {
    #[inline(never)]
    fn watched_runs(work: &mut impl Batches, numbers: Range<usize>) {
        work.run(numbers);
    }

    each_batch(runs, batch, |numbers| {
        work.run(numbers);
        work.drain();
    });
    each_batch(runs, batch, |numbers| {
        watched_runs(work, numbers);
        work.drain();
    });
}

/// Splits `runs` into batches.
fn each_batch(runs: usize, length: usize, mut batch: impl FnMut(Range<usize>)) {
    for start in (0..runs).step_by(length) {
        batch(start..runs.min(start + length));
    }
}
