//! Work that fills something which must be emptied now and then.
//!
//! The emptying is not measured: it happens elsewhere, on the pump's thread or in an exporter.

use std::ops::Range;
use std::time::{Duration, Instant};

use crate::allocations;

/// Runs between two drains; fewer than any queue holds.
const BATCH: usize = 512;
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
        each_batch(runs, |numbers| {
            let start = Instant::now();
            work.run(numbers);
            measured += start.elapsed();
            work.drain();
        });
        measured
    }
}

/// How often one run asks the allocator for memory, once everything that is reused is there.
pub(crate) fn allocations_per_run(work: &mut impl Batches) -> f64 {
    let mut count = |runs| {
        let mut counted = 0;
        each_batch(runs, |numbers| {
            counted += allocations::of(|| work.run(numbers));
            work.drain();
        });
        counted
    };
    count(COUNTED);
    count(COUNTED) as f64 / COUNTED as f64
}

/// Splits `runs` into batches.
fn each_batch(runs: usize, mut batch: impl FnMut(Range<usize>)) {
    for start in (0..runs).step_by(BATCH) {
        batch(start..runs.min(start + BATCH));
    }
}
