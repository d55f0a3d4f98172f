//! Interleaved timing of two things, so that what disturbs one disturbs the other.
//!
//! Knows neither what is measured nor what becomes of the figures.

mod batches;
mod pin;

use std::time::Duration;

use crate::report::{CONTROL_TOLERANCE, Control, Row, Spread};

pub(crate) use batches::{
    BATCH, Batches, COUNTED_FUNCTION, allocations_per_run, run_and_watch, timed,
};
pub(crate) use pin::Pinned;

/// How long a comparison takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    /// A smoke run.
    pub(crate) quick: bool,
    /// Rounds of A B B A.
    rounds: usize,
    /// Target length of one block. Short, so that most blocks run undisturbed and the median is
    /// one of those.
    block: Duration,
}

impl Effort {
    /// A smoke run.
    pub(crate) const QUICK: Self = Self {
        quick: true,
        rounds: 15,
        block: Duration::from_micros(500),
    };
    /// A run worth keeping.
    pub(crate) const FULL: Self = Self {
        quick: false,
        rounds: 301,
        block: Duration::from_millis(1),
    };
}

/// Something that runs `n` times and says how long the measured part took.
pub(crate) type Subject<'a> = &'a mut dyn FnMut(usize) -> Duration;

/// The cost of ours beside that of a peer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Comparison {
    /// Median nanoseconds of one of ours.
    pub(crate) ours_ns: f64,
    /// Median nanoseconds of one of the peer's.
    pub(crate) peer_ns: f64,
    /// Peer / ours over the rounds: above 1 ours is cheaper.
    pub(crate) gain: Spread,
}

/// Measures both in the order A B B A, round after round. Finding the length of a block, unmeasured, warms
/// caches, branch predictors and pages.
pub(crate) fn compare(effort: Effort, ours: Subject<'_>, peer: Subject<'_>) -> Comparison {
    let (ours_runs, peer_runs) = (calibrate(effort, ours), calibrate(effort, peer));
    let (mut ours_all, mut peer_all, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..effort.rounds {
        let first = per_run(ours, ours_runs);
        let second = per_run(peer, peer_runs);
        let third = per_run(peer, peer_runs);
        let fourth = per_run(ours, ours_runs);
        // Of two blocks one that was interrupted says nothing; the same rule for both.
        ratios.push(second.min(third) / first.min(fourth));
        ours_all.extend([first, fourth]);
        peer_all.extend([second, third]);
    }
    Comparison {
        ours_ns: median(&mut ours_all),
        peer_ns: median(&mut peer_all),
        gain: sections(&mut ratios),
    }
}

/// The same thing, made twice by `make`, against itself. Repeated while it is off.
pub(crate) fn control<S: FnMut(usize) -> Duration>(
    effort: Effort,
    mut make: impl FnMut() -> S,
) -> Control {
    Control::of(CONTROL_TOLERANCE, || {
        compare(effort, &mut make(), &mut make()).gain
    })
}

impl Comparison {
    /// A row about the gain.
    pub(crate) fn row(&self, bench: &str, peer: &str) -> Row {
        Row::new(bench)
            .ours(self.ours_ns, "ns")
            .peer(peer, self.peer_ns, "ns")
            .gain(self.gain)
    }

    /// A row about the price: what ours costs as a multiple of the peer.
    pub(crate) fn price_row(&self, bench: &str, peer: &str) -> Row {
        self.row(bench, peer).price(Spread {
            median: self.gain.median.recip(),
            min: self.gain.max.recip(),
            max: self.gain.min.recip(),
        })
    }
}

/// Sections of a full run whose medians are its spread: a round in which the machine did something else
/// says nothing about the program.
const SECTIONS: usize = 10;
/// Rounds of a section, at least.
const SECTION_ROUNDS: usize = 5;

/// The median of all, lowest and highest median of a section.
fn sections(ratios: &mut [f64]) -> Spread {
    let length = ratios.len().div_ceil(SECTIONS).max(SECTION_ROUNDS);
    let mut medians: Vec<_> = ratios.chunks_mut(length).map(median).collect();
    Spread {
        median: median(ratios),
        ..spread(&mut medians)
    }
}

/// Median, lowest and highest.
pub(crate) fn spread(ratios: &mut [f64]) -> Spread {
    Spread {
        median: median(ratios),
        min: ratios.first().copied().unwrap_or(f64::NAN),
        max: ratios.last().copied().unwrap_or(f64::NAN),
    }
}

/// The middle value; not a number where there is none. Leaves the values in order.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// How many runs fill one block.
fn calibrate(effort: Effort, subject: Subject<'_>) -> usize {
    let mut runs = 256;
    while subject(runs) < effort.block && runs < 1 << 28 {
        runs *= 2;
    }
    runs
}

/// Nanoseconds of one run.
fn per_run(subject: Subject<'_>, runs: usize) -> f64 {
    subject(runs).as_secs_f64() * 1e9 / runs as f64
}
