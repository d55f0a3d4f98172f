//! How much of a burst a worker's queue takes, by its bounds, and what memory it has for that.
//!
//! Informs whoever chooses the default bounds; there is no target. A burst is emitted as fast as the
//! thread can, by a worker whose stream comes 100 ms later, and by one whose stream is there.

mod memory;
mod worker;

use crate::environment;
use crate::measure::{Effort, spread};
use crate::report::{Report, Table};
use crate::stream::Role;
use memory::Memory;
use worker::Worker;

/// The parts that run elsewhere.
pub(crate) const ROLES: [(&str, Role); 1] = [("burst-memory", memory::play)];

/// Events and KiB that a queue may hold.
const LIMITS: [(usize, usize); 5] = [
    (1_024, 1_024),
    (4_096, 1_024),
    (8_192, 1_024),
    (16_384, 1_024),
    (16_384, 4_096),
];
/// Events of a burst.
const BURSTS: [usize; 3] = [2_000, 5_000, 10_000];

/// Runs it.
pub(crate) fn run(effort: Effort) -> Report {
    let limits = if effort.quick {
        &LIMITS[2..3]
    } else {
        &LIMITS[..]
    };
    let rounds = if effort.quick { 2 } else { 21 };
    let line = |&(events, kib): &(usize, usize)| {
        let mut cells = vec![events.to_string(), kib.to_string()];
        for burst in BURSTS {
            let mut worker = Worker::start(events, kib * 1_024);
            let unattended = worker.burst(burst);
            worker.attach();
            let mut lost: Vec<_> = (0..rounds).map(|_| worker.burst(burst) as f64).collect();
            worker.finish();
            let lost = spread(&mut lost);
            cells.push(format!(
                "{unattended} / {:.0} ({:.0})",
                lost.median, lost.max
            ));
        }
        let memory = Memory::of(events, kib * 1_024);
        cells.extend([memory.idle, memory.filled].map(|bytes| format!("{:.0}", bytes / 1_024.0)));
        cells
    };
    let columns = ["events", "KiB"].map(str::to_owned).into_iter();
    let columns = columns.chain(BURSTS.map(|burst| format!("lost of {burst}")));
    let columns = columns.chain(["KiB resident, idle", "filled"].map(str::to_owned));
    let table = Table {
        title: "Rust: events of a burst that were lost, no stream for 100 ms / attached (most), by the \
                bounds of the queue"
            .to_owned(),
        columns: columns.collect(),
        rows: limits.iter().map(line).collect(),
    };
    Report {
        suite: "burst".to_owned(),
        quick: effort.quick,
        environment: environment::here(&["h2", "hyper", "tokio"]),
        tables: vec![table],
        ..Report::default()
    }
}
