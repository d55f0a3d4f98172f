//! What an event costs a manager whose few streams trickle: a thousand events a second each.
//!
//! The manager is a process of its own with these streams and no others, the workers are in another.
//! They begin at different times within a batch delay, as processes that know nothing of each other
//! do, so that no wake-up is shared by arrangement.

use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::manager::{SETTLE, open, received, unaccounted};
use super::workers::Order;
use crate::measure::spread;
use crate::report::{Bound, Row};
use crate::stream::{Collector, cpu, spawn, wait};

/// Streams, and the floor and the moonshot of the CPU per event, microseconds.
const LEVELS: [(usize, f64, f64); 3] = [(1, 10.0, 3.0), (10, 3.0, 1.0), (100, 1.2, 0.5)];
/// Milliseconds over which the beginnings of streams are spread; what a batch waits for.
const PHASES: usize = 20;

/// What the manager's process found.
#[derive(Debug, Serialize, Deserialize)]
struct Steady {
    /// CPU of the manager per event, nanoseconds, round by round.
    cpu_ns: Vec<f64>,
    /// Events that nobody can account for.
    unaccounted: u64,
}

/// Measures every number of streams.
pub(super) fn rows(quick: bool) -> Vec<Row> {
    let [rounds, millis] = if quick { ["1", "500"] } else { ["5", "3000"] };
    let row = |(streams, floor, moonshot): (usize, f64, f64)| {
        let dir = tempfile::tempdir().expect("a directory");
        let arguments = [
            &dir.path().to_string_lossy(),
            &*streams.to_string(),
            rounds,
            millis,
        ];
        let found = spawn("fanin-steady", &arguments).hear();
        let mut found: Steady = serde_json::from_str(&found).expect("what the manager found");
        assert_eq!(found.unaccounted, 0, "{found:?}");
        let cpu = spread(&mut found.cpu_ns);
        let micros = |nanos: f64| nanos / 1e3;
        let plural = if streams == 1 { "" } else { "s" };
        Row::new(format!(
            "{streams} stream{plural} of 1,000 events/s, CPU of the manager per event"
        ))
        .target("T12")
        .exact()
        .ours(micros(cpu.median), "us")
        .floor(Bound::value_at_most(floor))
        .moonshot(Bound::value_at_most(moonshot))
        .note(format!(
            "{:.2} to {:.2} us by round; 0 unaccounted",
            micros(cpu.min),
            micros(cpu.max)
        ))
    };
    LEVELS.map(row).into()
}

/// The role: `DIR STREAMS ROUNDS LOAD_MILLISECONDS`. Prints one line of JSON.
pub(super) fn play(arguments: &[String]) {
    let [dir, streams, rounds, millis] = arguments else {
        return;
    };
    let number = |text: &String| text.parse().expect("a number");
    let (streams, rounds, millis) = (number(streams), number(rounds), number(millis));
    let found = measure(Path::new(dir), streams, rounds, millis);
    println!("{}", serde_json::to_string(&found).expect("plain data"));
}

fn measure(dir: &Path, streams: usize, rounds: usize, millis: usize) -> Steady {
    let mut workers = spawn(
        "fanin-workers",
        &[&dir.to_string_lossy(), &streams.to_string()],
    );
    assert_eq!(workers.hear(), "ready");
    let collector = Collector::start();
    open(&collector, dir, 0..streams);
    sleep(SETTLE);
    let (mut emitted, mut sum) = (0, 0);
    let mut cpu_ns = Vec::new();
    // The first round warms caches and tables, and does not count.
    for round in 0..=rounds {
        let order = Order {
            streams,
            millis,
            phases: PHASES,
        };
        let spent = cpu();
        let answer = order.give(&mut workers);
        emitted += answer.emitted;
        sum += answer.sum;
        wait("all events", || received(collector.manager()) >= emitted);
        let spent = (cpu() - spent).as_secs_f64() * 1e9 / answer.emitted as f64;
        assert_eq!(answer.emitted, (streams * millis) as u64);
        let (least, longest) = (millis as u64, (millis + PHASES) as u64);
        let took = answer.elapsed.as_millis();
        assert!(took >= u128::from(least), "too fast: {took} ms");
        assert!(
            took < u128::from(longest * 5 / 4 + 100),
            "too slow for 1,000/s: {took} ms"
        );
        if round > 0 {
            cpu_ns.push(spent);
        }
        sleep(Duration::from_millis(50));
    }
    let found = Steady {
        cpu_ns,
        unaccounted: unaccounted(collector.manager(), emitted),
    };
    let counted = collector.counted();
    assert_eq!((counted.observations, counted.sum), (emitted, sum));
    drop(workers);
    found
}
