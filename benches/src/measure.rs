//! Interleaved timing of two things, so that what disturbs one disturbs the other.

use std::time::Duration;

use serde::Serialize;

/// How far an A/A control may be from 1 before a run gets no verdict.
pub(crate) const CONTROL_TOLERANCE: f64 = 0.03;

/// How long a comparison takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    /// Rounds of A B B A.
    rounds: usize,
    /// Target length of one block.
    block: Duration,
}

impl Effort {
    /// A smoke run.
    pub(crate) const QUICK: Self = Self {
        rounds: 7,
        block: Duration::from_millis(2),
    };
    /// A run worth keeping.
    pub(crate) const FULL: Self = Self {
        rounds: 41,
        block: Duration::from_millis(5),
    };
}

/// Something that runs `n` times and says how long the measured part took.
pub(crate) type Subject<'a> = &'a mut dyn FnMut(usize) -> Duration;

/// Ours beside a peer.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Comparison {
    /// What is measured.
    pub(crate) name: String,
    /// Median nanoseconds of one of ours.
    pub(crate) ours_ns: f64,
    /// Median nanoseconds of one of the peer's.
    pub(crate) peer_ns: f64,
    /// Median of peer / ours over the rounds: above 1 ours is faster.
    pub(crate) ratio: f64,
    /// Lowest ratio of a round.
    pub(crate) lowest: f64,
    /// Highest ratio of a round.
    pub(crate) highest: f64,
    /// The floor it has to hold, as a ratio.
    pub(crate) floor: Option<f64>,
}

/// Measures both in the order A B B A, round after round.
pub(crate) fn compare(
    name: &str,
    effort: Effort,
    floor: Option<f64>,
    ours: Subject<'_>,
    peer: Subject<'_>,
) -> Comparison {
    let (ours_runs, peer_runs) = (calibrate(effort, ours), calibrate(effort, peer));
    let (mut ours_all, mut peer_all, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..effort.rounds {
        let first = per_run(ours, ours_runs);
        let second = per_run(peer, peer_runs);
        let third = per_run(peer, peer_runs);
        let fourth = per_run(ours, ours_runs);
        ratios.push((second + third) / (first + fourth));
        ours_all.extend([first, fourth]);
        peer_all.extend([second, third]);
    }
    let lowest = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = ratios.iter().copied().fold(0.0, f64::max);
    Comparison {
        name: name.to_owned(),
        ours_ns: median(ours_all),
        peer_ns: median(peer_all),
        ratio: median(ratios),
        lowest,
        highest,
        floor,
    }
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

/// The middle value.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
