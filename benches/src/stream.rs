//! End to end on one machine: worker to manager, every event decoded, checked, enriched, dispatched
//! and counted, beside tonic and prost that do none of it.
//!
//! Both ends of each are in this process, so that a rate is what the machine's cores do together.
//! Every run ends with a balanced ledger and equal sums at both ends, or there is no report.

mod collector;
mod feeder;
mod load;
mod ours;
mod role;
mod rounds;
mod usage;

use std::time::{Duration, Instant};

use crate::environment;
use crate::measure::Effort;
use crate::naive::Naive;
use crate::report::{Bound, Report, Row, Spread};
use collector::Counted;
use feeder::Feeder;
use ours::{Ours, Socket};
use rounds::{Rounds, compare};

pub(crate) use collector::{Collector, assert_clean, wait};
pub(crate) use load::{Load, Sample, naive_event, samples};
pub(crate) use role::{Played, Role, expected, obey, play, spawn};
pub(crate) use usage::{cpu, resident};

/// Events per second of the Elixir manager, fed in the same way on a machine of this kind: with one
/// event in each DATA frame and with 64. Recorded; there is no Elixir here.
const RECORDED: [(usize, f64); 2] = [(1, 53_000.0), (64, 115_000.0)];

/// Runs all of them.
pub(crate) fn run(effort: Effort) -> Report {
    let rounds = Rounds::of(effort.quick);
    let mut unix = Ours::start(Socket::Unix);
    let control = rounds.control(&mut |events| unix.run(events));
    let mut naive = Naive::start();
    let mut rows = stream_rows(rounds, "unix socket", &mut unix, &mut naive);
    unix.finish();
    let mut tcp = Ours::start(Socket::Tcp);
    rows.extend(stream_rows(rounds, "loopback TCP", &mut tcp, &mut naive));
    tcp.finish();
    drop(naive);
    rows.extend(RECORDED.map(|(per_frame, recorded)| fed_row(rounds, per_frame, recorded)));
    Report {
        suite: "stream".to_owned(),
        quick: effort.quick,
        environment: environment::here(&["h2", "hyper", "prost", "tokio", "tonic"]),
        control: Some(control),
        rows,
        ..Report::default()
    }
}

/// One transport beside the peer.
fn stream_rows(rounds: Rounds, socket: &str, ours: &mut Ours, naive: &mut Naive) -> Vec<Row> {
    let peer = "tonic + prost that drop every event";
    let found = compare(rounds, &mut |events| ours.run(events), &mut |events| {
        naive.run(events)
    });
    let rate = Row::new(format!("stream, {socket}, both ends, 2 cores"))
        .target("T7")
        .ours(found.ours.rate, "events/s")
        .peer(peer, found.peer.rate, "events/s")
        .gain(found.rate)
        .floor(Bound::value_at_least(1.5e6))
        .floor(Bound::ratio_at_least(1.0))
        .moonshot(Bound::value_at_least(4e6))
        .moonshot(Bound::ratio_at_least(2.8))
        .note("validated, enriched, counted in a histogram; 0 unaccounted, equal sums");
    let cpu = Row::new(format!("stream, {socket}, CPU of both ends per event"))
        .ours(found.ours.cpu_ns, "ns")
        .peer(peer, found.peer.cpu_ns, "ns")
        .gain(found.cpu);
    let mut rows = vec![rate, cpu];
    if let (Some(ours), Some(theirs)) = (found.ours.writes, found.peer.writes) {
        let calls = Row::new(format!("stream, {socket}, write calls per 1,000 events"))
            .ours(ours.per_event * 1e3, "syscalls")
            .peer(peer, theirs.per_event * 1e3, "syscalls");
        let bytes = Row::new(format!("stream, {socket}, bytes per write call"))
            .ours(ours.bytes, "bytes")
            .peer(peer, theirs.bytes, "bytes");
        rows.extend([calls, bytes].map(|row| row.note("wake-ups of threads included")));
    }
    rows
}

/// The manager alone, fed with prepared frames of a stock worker.
fn fed_row(rounds: Rounds, per_frame: usize, recorded: f64) -> Row {
    let dir = tempfile::tempdir().expect("a directory");
    let mut feeder = Feeder::start(dir.path(), per_frame);
    let collector = Collector::start();
    let id = collector.register(&feeder.address(), "stock");
    let mut total = Counted::default();
    let mut feed = |events: usize| -> Duration {
        let start = Instant::now();
        let fed = feeder.feed(events as u64).expect("a stream");
        total.observations += fed.events;
        total.sum += fed.sum;
        collector.received(&id, total.observations);
        start.elapsed()
    };
    let found = rounds.alone(&mut feed);
    assert_clean(&collector.info(&id).ledger, total.observations);
    assert_eq!(collector.counted(), total);
    collector.stop();
    let plural = if per_frame == 1 { "" } else { "s" };
    let row = Row::new(format!(
        "manager fed by a stock worker, {per_frame} event{plural} per DATA frame"
    ))
    .ours(found.rate.median, "events/s")
    .peer("recorded reference: Elixir manager", recorded, "events/s")
    .gain(Spread {
        median: found.rate.median / recorded,
        min: found.rate.min / recorded,
        max: found.rate.max / recorded,
    })
    .note(format!(
        "CPU of feeder and manager {:.0} ns per event",
        found.cpu_ns
    ));
    if per_frame > 1 {
        return row;
    }
    row.target("T10")
        .floor(Bound::ratio_at_least(10.0))
        .moonshot(Bound::ratio_at_least(20.0))
}
