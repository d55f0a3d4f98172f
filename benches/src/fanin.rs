//! Many workers and one manager: what a thousand streams, a few and absent ones take, in memory and CPU.
//!
//! Workers and manager are processes of their own, so that what each takes can be read from the
//! kernel; this one only reports.

mod absent;
mod found;
mod manager;
mod steady;
mod workers;

use std::path::{Path, PathBuf};

use crate::environment;
use crate::measure::Effort;
use crate::report::{Bound, Report, Row, Table};
use crate::stream::{Role, spawn};
use found::Found;

/// The parts that run elsewhere.
pub(crate) const ROLES: [(&str, Role); 4] = [
    ("fanin-absent", absent::play),
    ("fanin-manager", manager::play),
    ("fanin-steady", steady::play),
    ("fanin-workers", workers::play),
];

/// Runs it.
pub(crate) fn run(effort: Effort) -> Report {
    let dir = tempfile::tempdir().expect("a directory");
    // Idle for longer than a keep-alive interval, so that its pings are in it.
    let [idle, load] = if effort.quick {
        ["3", "1000"]
    } else {
        ["22", "5000"]
    };
    let path = dir.path().to_string_lossy();
    let found = spawn("fanin-manager", &[&path, idle, load]).hear();
    let found: Found = serde_json::from_str(&found).expect("what the manager found");
    let mut rows = rows(&found);
    rows.extend(steady::rows(effort.quick));
    rows.push(absent::row(effort.quick));
    Report {
        suite: "fanin".to_owned(),
        quick: effort.quick,
        environment: environment::here(&["h2", "hyper", "tokio"]),
        control: None,
        rows,
        tables: vec![table(&found)],
    }
}

/// Where a worker listens.
fn socket(dir: &Path, number: usize) -> PathBuf {
    dir.join(format!("{number}.sock"))
}

/// Counts of the kernel over seconds: there is nothing that a control could tell about them.
fn rows(found: &Found) -> Vec<Row> {
    let kib = |bytes: f64| bytes / 1_024.0;
    let last = found.levels.last();
    vec![
        Row::new("1,000 idle streams, CPU of the manager")
            .target("T9")
            .exact()
            .ours(100.0 * found.idle_share, "% of a core")
            .floor(Bound::value_at_most(3.0))
            .moonshot(Bound::value_at_most(1.0)),
        Row::new("1,000 idle streams, memory of the manager per stream")
            .target("T9")
            .exact()
            .ours(kib(found.resident_per_stream), "KiB")
            .floor(Bound::value_at_most(96.0))
            .moonshot(Bound::value_at_most(40.0)),
        Row::new("1,000 streams after a second of load each, the same with their metrics")
            .ours(kib(found.resident_per_stream_after_load), "KiB"),
        Row::new("1,000 idle streams, memory of the workers per stream")
            .ours(kib(found.worker_resident_per_stream), "KiB")
            .note("recorder, queue, names, service and HTTP/2 of a whole worker"),
        Row::new("1,000 streams at 1,000 events/s each, unaccounted events")
            .target("T9")
            .exact()
            .ours(found.unaccounted as f64, "events")
            .floor(Bound::value_at_most(0.0)),
        Row::new("1,000 streams at 1,000 events/s each, rate reached")
            .ours(last.map_or(0.0, |level| level.rate), "events/s")
            .note("workers and manager share the cores"),
    ]
}

fn table(found: &Found) -> Table {
    let cells = |level: &found::Level| {
        vec![
            level.streams.to_string(),
            format!("{:.0}", level.rate),
            format!("{:.0}", level.cpu_ns),
            format!("{:.1}", level.resident as f64 / f64::from(1 << 20)),
        ]
    };
    Table {
        title: "Manager by number of streams with 1,000 events/s each, 1,000 open".to_owned(),
        columns: ["streams", "events/s", "CPU ns per event", "resident MiB"]
            .map(str::to_owned)
            .to_vec(),
        rows: found.levels.iter().map(cells).collect(),
    }
}
