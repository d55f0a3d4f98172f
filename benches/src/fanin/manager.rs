//! The manager of a thousand streams, in a process of its own so that what it takes can be read.

use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use telemetry_server::{Manager, WorkerContext, stream::StreamState};

use super::found::{Found, Level};
use super::workers::Order;
use crate::stream::{Collector, Played, cpu, resident, spawn, wait};

/// Streams of each level.
const LEVELS: [usize; 4] = [1, 10, 100, 1_000];
/// Time after the last stream was opened, for what only beginnings do.
pub(super) const SETTLE: Duration = Duration::from_millis(1_500);

/// The role: `DIR IDLE_SECONDS LOAD_MILLISECONDS`. Measures everything, prints one line of JSON.
pub(super) fn play(arguments: &[String]) {
    let [dir, idle, load] = arguments else { return };
    let idle = idle.parse().expect("a number");
    let load = load.parse().expect("a number");
    let found = measure(Path::new(dir), Duration::from_secs(idle), load);
    println!("{}", serde_json::to_string(&found).expect("plain data"));
}

fn measure(dir: &Path, idle: Duration, load_millis: usize) -> Found {
    let most = LEVELS[LEVELS.len() - 1];
    let most_text = most.to_string();
    let mut workers = spawn("fanin-workers", &[&dir.to_string_lossy(), &most_text]);
    assert_eq!(workers.hear(), "ready");
    let collector = Collector::start();
    // One stream first: what the first one of all needs is no cost of a stream.
    open(&collector, dir, 0..1);
    sleep(SETTLE);
    let before = (resident(), worker_resident(&mut workers));
    open(&collector, dir, 1..most);
    sleep(SETTLE);
    let opened = (resident(), worker_resident(&mut workers));
    let spent = cpu();
    sleep(idle);
    let idle_share = (cpu() - spent).as_secs_f64() / idle.as_secs_f64();

    let (mut emitted, mut sum) = (0, 0);
    let mut levels = Vec::new();
    for streams in LEVELS {
        let spent = cpu();
        let order = Order {
            streams,
            millis: load_millis,
            phases: 1,
        };
        let answer = order.give(&mut workers);
        emitted += answer.emitted;
        sum += answer.sum;
        wait("all events", || received(collector.manager()) >= emitted);
        levels.push(Level {
            streams,
            rate: answer.emitted as f64 / answer.elapsed.as_secs_f64(),
            cpu_ns: (cpu() - spent).as_secs_f64() * 1e9 / answer.emitted as f64,
            resident: resident(),
        });
    }
    sleep(SETTLE);
    let per_stream =
        |after: u64, before: u64| after.saturating_sub(before) as f64 / (most - 1) as f64;
    let found = Found {
        resident_per_stream: per_stream(opened.0, before.0),
        worker_resident_per_stream: per_stream(opened.1, before.1),
        resident_per_stream_after_load: per_stream(resident(), before.0),
        idle_share,
        unaccounted: unaccounted(collector.manager(), emitted),
        levels,
    };
    let counted = collector.counted();
    assert_eq!((counted.observations, counted.sum), (emitted, sum));
    drop(workers);
    found
}

/// Has workers dialled and waits for their streams.
pub(super) fn open(collector: &Collector, dir: &Path, numbers: std::ops::Range<usize>) {
    let manager = collector.manager();
    let last = numbers.end;
    for number in numbers {
        let address = format!("unix:{}", super::socket(dir, number).display());
        let context = WorkerContext::new(format!("worker-{number}").as_str()).in_pool("bench");
        manager
            .register_worker(address.parse().expect("an endpoint"), context)
            .expect("a valid worker");
    }
    wait("all streams", || {
        sleep(Duration::from_millis(50));
        let streams = manager.list_streams();
        let open = |state: StreamState| state == StreamState::Streaming;
        streams.iter().filter(|stream| open(stream.state)).count() == last
    });
}

fn worker_resident(workers: &mut Played) -> u64 {
    let answer = workers.ask("usage");
    let resident = answer.split(' ').next().unwrap_or_default();
    resident.parse().expect("a number")
}

pub(super) fn received(manager: &Manager) -> u64 {
    manager.totals().ledger.received
}

/// Events that are neither dispatched nor counted under a reason, and laws that do not hold.
pub(super) fn unaccounted(manager: &Manager, emitted: u64) -> u64 {
    let differences: u64 = manager
        .list_streams()
        .iter()
        .map(|stream| stream.ledger_difference() + stream.lost_at_crash)
        .sum();
    let ledger = manager.totals().ledger;
    let lost = ledger.gaps + ledger.rejected.total();
    differences + lost + emitted.abs_diff(ledger.dispatched)
}
