//! Interleaved runs of two pipelines, with what they cost.
//!
//! The blocks are longer than those of the single steps: a stream has to be filled and emptied in
//! each of them.

use std::time::Duration;

use super::usage::{self, Written};
use crate::measure::{median, spread};
use crate::report::{CONTROL_TOLERANCE, Control, Spread};

/// How long a comparison takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rounds {
    /// Rounds of A B B A.
    rounds: usize,
    /// Events of a block.
    events: usize,
}

/// Something that moves `n` events and says how long it took.
pub(super) type Subject<'a> = &'a mut dyn FnMut(usize) -> Duration;

/// What one block took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    /// Events per second.
    pub(super) rate: f64,
    /// CPU time of the process per event, nanoseconds.
    pub(super) cpu_ns: f64,
    /// How the process wrote, where the kernel counts it.
    pub(super) writes: Option<Writes>,
}

/// How a process writes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Writes {
    /// Calls per event.
    pub(super) per_event: f64,
    /// Bytes per call.
    pub(super) bytes: f64,
}

/// Two pipelines side by side: their medians, and how many times better ours is.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) ours: Reading,
    pub(super) peer: Reading,
    pub(super) rate: Spread,
    pub(super) cpu: Spread,
}

/// One pipeline.
#[derive(Debug)]
pub(super) struct Alone {
    pub(super) rate: Spread,
    pub(super) cpu_ns: f64,
}

impl Rounds {
    /// A smoke run, or one worth keeping.
    pub(super) fn of(quick: bool) -> Self {
        if quick {
            Self {
                rounds: 3,
                events: 100_000,
            }
        } else {
            Self {
                rounds: 15,
                events: 500_000,
            }
        }
    }

    /// A subject against itself. Repeated while it is off.
    pub(super) fn control(self, subject: Subject<'_>) -> Control {
        Control::of(CONTROL_TOLERANCE, || {
            let mut blocks = || Reading::of(subject, self.events).rate.recip();
            blocks();
            let mut ratios: Vec<_> = (0..self.rounds)
                .map(|_| [blocks(), blocks(), blocks(), blocks()])
                .map(|[first, second, third, fourth]| (second + third) / (first + fourth))
                .collect();
            spread(&mut ratios)
        })
    }

    /// One subject by itself.
    pub(super) fn alone(self, subject: Subject<'_>) -> Alone {
        subject(self.events);
        let readings: Vec<_> = (0..4 * self.rounds)
            .map(|_| Reading::of(subject, self.events))
            .collect();
        Alone {
            rate: spread(&mut readings.iter().map(|it| it.rate).collect::<Vec<_>>()),
            cpu_ns: middle(&readings).cpu_ns,
        }
    }
}

impl Reading {
    /// Runs a block.
    fn of(subject: Subject<'_>, events: usize) -> Self {
        let (cpu, written) = (usage::cpu(), usage::written());
        let took = subject(events);
        let count = events as f64;
        let writes = |(before, after): (Written, Written)| {
            let calls = (after.calls - before.calls) as f64;
            Writes {
                per_event: calls / count,
                bytes: (after.bytes - before.bytes) as f64 / calls,
            }
        };
        Self {
            rate: count / took.as_secs_f64(),
            cpu_ns: (usage::cpu() - cpu).as_secs_f64() * 1e9 / count,
            writes: written.zip(usage::written()).map(writes),
        }
    }
}

/// Runs both in the order A B B A, round after round, after one round that is not looked at.
pub(super) fn compare(rounds: Rounds, ours: Subject<'_>, peer: Subject<'_>) -> Pair {
    let (mut ours_all, mut peer_all) = (Vec::new(), Vec::new());
    let (mut rates, mut cpus) = (Vec::new(), Vec::new());
    for round in 0..=rounds.rounds {
        let first = Reading::of(ours, rounds.events);
        let second = Reading::of(peer, rounds.events);
        let third = Reading::of(peer, rounds.events);
        let fourth = Reading::of(ours, rounds.events);
        if round == 0 {
            continue;
        }
        // Of times, not of rates: both blocks of a pair have the same number of events.
        let slowness = |a: &Reading, b: &Reading| a.rate.recip() + b.rate.recip();
        rates.push(slowness(&second, &third) / slowness(&first, &fourth));
        cpus.push((second.cpu_ns + third.cpu_ns) / (first.cpu_ns + fourth.cpu_ns));
        ours_all.extend([first, fourth]);
        peer_all.extend([second, third]);
    }
    Pair {
        ours: middle(&ours_all),
        peer: middle(&peer_all),
        rate: spread(&mut rates),
        cpu: spread(&mut cpus),
    }
}

/// The median of each figure.
fn middle(readings: &[Reading]) -> Reading {
    let of =
        |figure: fn(&Reading) -> f64| median(&mut readings.iter().map(figure).collect::<Vec<_>>());
    let writes: Option<Vec<Writes>> = readings.iter().map(|reading| reading.writes).collect();
    Reading {
        rate: of(|reading| reading.rate),
        cpu_ns: of(|reading| reading.cpu_ns),
        writes: writes.map(|writes| {
            let of = |figure: fn(&Writes) -> f64| {
                median(&mut writes.iter().map(figure).collect::<Vec<_>>())
            };
            Writes {
                per_event: of(|writes| writes.per_event),
                bytes: of(|writes| writes.bytes),
            }
        }),
    }
}
