//! Several threads that emit into one queue at once.

use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};
use telemetry_core::Outcome;

use super::ours::Worker;
use crate::measure::{Effort, median};
use crate::peers::Naive;
use crate::report::Table;

/// Events of one round, over all threads; the queue holds them all.
const EVENTS: usize = 32_768;
/// How many threads.
const PRODUCERS: [usize; 3] = [1, 2, 4];

/// What one emit costs, by number of producers.
pub(super) fn table(effort: Effort) -> Table {
    let rounds = if effort.quick { 5 } else { 41 };
    let worker = Worker::with_queue(EVENTS);
    let naive = Naive::with_capacity(EVENTS);
    let mut frames = Vec::new();
    let rows = PRODUCERS.map(|producers| {
        let (mut ours, mut theirs) = (Figures::default(), Figures::default());
        for _ in 0..rounds {
            let emit = |run| {
                assert_eq!(worker.emit(run), Outcome::Accepted, "nothing is dropped");
            };
            ours.add(round(producers, &emit));
            assert_eq!(worker.take(&mut frames), EVENTS, "nothing is lost");
            theirs.add(round(producers, &|run| naive.emit(run)));
            assert_eq!(naive.take(), EVENTS, "nothing is lost");
        }
        [
            producers.to_string(),
            nanos(&mut ours.cpu),
            nanos(&mut theirs.cpu),
            nanos(&mut ours.wall),
            nanos(&mut theirs.wall),
        ]
        .to_vec()
    });
    let columns = [
        "producers",
        "ours, CPU ns per emit",
        "prost and queue, CPU ns",
        "ours, ns between emits",
        "prost and queue, ns between",
    ];
    Table {
        title: "Kept emit by number of threads that emit into one queue".to_owned(),
        columns: columns.map(str::to_owned).to_vec(),
        rows: rows.to_vec(),
    }
}

/// Nanoseconds per emit, of all rounds.
#[derive(Debug, Default)]
struct Figures {
    cpu: Vec<f64>,
    wall: Vec<f64>,
}

impl Figures {
    fn add(&mut self, (cpu, wall): (f64, f64)) {
        self.cpu.push(cpu);
        self.wall.push(wall);
    }
}

/// CPU time of all threads and time from first to last emit, both in nanoseconds per emit.
fn round(producers: usize, emit: &(impl Fn(usize) + Sync)) -> (f64, f64) {
    let gate = Barrier::new(producers);
    let each = || {
        gate.wait();
        let (begun, before) = (Instant::now(), thread_nanos());
        for run in 0..EVENTS / producers {
            emit(black_box(run));
        }
        (thread_nanos() - before, begun, Instant::now())
    };
    let spans: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..producers).map(|_| scope.spawn(each)).collect();
        let ended = threads.into_iter().map(|thread| thread.join());
        ended
            .map(|span| span.expect("nothing is dropped"))
            .collect()
    });
    let cpu: f64 = spans.iter().map(|(cpu, _, _)| cpu).sum();
    let begun = spans.iter().map(|(_, begun, _)| *begun).min();
    let ended = spans.iter().map(|(_, _, ended)| *ended).max();
    let wall = begun
        .zip(ended)
        .map_or(0.0, |(begun, ended)| (ended - begun).as_secs_f64() * 1e9);
    (cpu / EVENTS as f64, wall / EVENTS as f64)
}

/// CPU time of the calling thread.
fn thread_nanos() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

fn nanos(figures: &mut [f64]) -> String {
    format!("{:.1}", median(figures))
}
