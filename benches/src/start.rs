//! How long a worker that has just begun takes to be heard: from the call that connects it to its first
//! event at a handler of the manager.
//!
//! Worker and manager are in this process and share one clock; between them is a real socket.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use telemetry_client::Telemetry;
use telemetry_client::backend::StreamBackend;
use telemetry_client::serve::ServeConfig;
use telemetry_core::{Address, EventRef, Recorder, RecorderConfig, SystemClock};
use telemetry_server::WorkerContext;

use crate::environment;
use crate::measure::{Effort, spread};
use crate::report::{Report, Row};
use crate::stream::Collector;

/// The only event.
const EVENT: &str = "tool.execution.start";
/// Longest wait for it, and for an end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs it.
pub(crate) fn run(effort: Effort) -> Report {
    let rounds = if effort.quick { 5 } else { 101 };
    Report {
        suite: "start".to_owned(),
        quick: effort.quick,
        environment: environment::here(&["h2", "hyper", "tokio"]),
        rows: vec![dialled_in(rounds), dialled(rounds)],
        ..Report::default()
    }
}

/// The worker connects.
fn dialled_in(_rounds: usize) -> Row {
    Row::skipped(
        "connect to a manager, first event at its handler",
        "the manager does not accept connections",
    )
    .target("T13")
}

/// The worker serves and the manager is told about it.
fn dialled(rounds: usize) -> Row {
    let collector = Collector::start();
    let arrivals = arrivals(&collector);
    let dir = tempfile::tempdir().expect("a directory");
    let mut millis = Vec::new();
    for round in 0..rounds {
        let address = Address::Unix(dir.path().join(format!("{round}.sock")));
        let start = Instant::now();
        let served = StreamBackend::serve(&address, recorder(), ServeConfig::default());
        let telemetry = emitted(served.expect("a free address"));
        let context = WorkerContext::new(format!("worker-{round}").as_str());
        let endpoint = address.to_string().parse().expect("an endpoint");
        let registered = collector.manager().register_worker(endpoint, context);
        registered.expect("a valid worker");
        let arrived = arrivals.recv_timeout(PATIENCE).expect("the event");
        millis.push((arrived - start).as_secs_f64() * 1e3);
        let ledger = telemetry.shutdown(PATIENCE);
        assert_eq!((ledger.emitted, ledger.sent), (1, 1));
    }
    collector.stop();
    let found = spread(&mut millis);
    Row::new("serve and be registered, first event at a handler")
        .ours(found.median, "ms")
        .note(format!("{:.2} to {:.2} ms", found.min, found.max))
}

/// When events arrive.
fn arrivals(collector: &Collector) -> Receiver<Instant> {
    let (sender, arrivals) = channel();
    let handler = move |_: &EventRef<'_>| {
        let _ended = sender.send(Instant::now());
    };
    let dispatcher = collector.manager().dispatcher();
    dispatcher
        .attach("arrival", &format!("snakepit.python.{EVENT}"), handler)
        .expect("a free id");
    arrivals
}

fn recorder() -> Arc<Recorder> {
    let clock = Arc::new(SystemClock::new());
    Arc::new(Recorder::new(RecorderConfig::default(), clock).expect("a policy"))
}

/// A program's telemetry with its first event.
fn emitted(backend: StreamBackend) -> Telemetry {
    let telemetry = Telemetry::builder().backend(Arc::new(backend)).build();
    telemetry.emit(EVENT, &[("count", 1_i64.into())], &[("tool", "hash")], "");
    telemetry
}
