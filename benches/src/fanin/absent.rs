//! What a manager pays for workers that are registered and do not exist.

use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use telemetry_server::{WorkerContext, stream::StreamState};

use crate::report::{Bound, Row};
use crate::stream::{Collector, cpu, spawn};

/// Registered, and never there.
const WORKERS: usize = 1_024;
/// Time after the last one was registered, for what only beginnings do: every one of them was looked
/// for more than once, and waits as long as it ever will.
const SETTLE: Duration = Duration::from_secs(6);

/// Measures it.
pub(super) fn row(quick: bool) -> Row {
    let dir = tempfile::tempdir().expect("a directory");
    let millis = if quick { "1000" } else { "10000" };
    let found = spawn("fanin-absent", &[&dir.path().to_string_lossy(), millis]).hear();
    let share: f64 = found.parse().expect("a share");
    Row::new("1,024 absent workers, CPU of the manager")
        .target("T14")
        .exact()
        .ours(100.0 * share, "% of a core")
        .floor(Bound::value_at_most(0.5))
        .moonshot(Bound::value_at_most(0.1))
        .note("registered at sockets that do not exist; nothing else to do")
}

/// The role: `DIR MILLISECONDS`. Prints the share of a core that the process took while idle.
pub(super) fn play(arguments: &[String]) {
    let [dir, millis] = arguments else { return };
    let idle = Duration::from_millis(millis.parse().expect("a number"));
    let collector = Collector::start();
    let manager = collector.manager();
    for number in 0..WORKERS {
        let path = super::socket(Path::new(dir), number);
        let endpoint = format!("unix:{}", path.display());
        let context = WorkerContext::new(format!("absent-{number}").as_str()).in_pool("bench");
        manager
            .register_worker(endpoint.parse().expect("an endpoint"), context)
            .expect("a valid worker");
    }
    sleep(SETTLE);
    let spent = cpu();
    sleep(idle);
    let share = (cpu() - spent).as_secs_f64() / idle.as_secs_f64();
    let streams = manager.list_streams();
    let absent = streams
        .iter()
        .filter(|stream| stream.state != StreamState::Streaming);
    assert_eq!(absent.count(), WORKERS);
    println!("{share}");
    collector.stop();
}
