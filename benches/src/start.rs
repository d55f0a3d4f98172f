//! How long a worker that has just begun takes to be heard: from the call that connects it to its first
//! event at a handler of the manager.
//!
//! Worker and manager are in this process and share one clock; between them is a real socket.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use telemetry_client::Telemetry;
use telemetry_client::backend::StreamBackend;
use telemetry_client::serve::{ConnectConfig, ServeConfig};
use telemetry_core::{
    Address, EventRef, SystemClock,
    emit::{Recorder, RecorderConfig},
};
use telemetry_server::WorkerContext;

use crate::environment;
use crate::measure::Effort;
use crate::report::{Bound, Report, Row};
use crate::stream::{Collector, Role, expected, obey, wait};

/// The parts that run elsewhere.
pub(crate) const ROLES: [(&str, Role); 1] = [("start-manager", manage)];

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
fn dialled_in(rounds: usize) -> Row {
    let collector = Collector::start();
    let arrivals = arrivals(&collector);
    let dir = tempfile::tempdir().expect("a directory");
    let address = Address::Unix(dir.path().join("manager.sock"));
    let acceptor = collector.accept(address.clone());
    let connect = |_| {
        let managers = vec![address.clone()];
        let connected = StreamBackend::connect(managers, recorder(), ConnectConfig::default());
        emitted(connected.expect("a thread"))
    };
    let found = first_events(rounds, &arrivals, connect);
    drop(acceptor);
    collector.stop();
    // Milliseconds that a user waits; there is no peer that a control could be about.
    row("connect to a manager, first event at its handler", &found)
        .target("T13")
        .exact()
        .floor(Bound::value_at_most(5.0))
        .moonshot(Bound::value_at_most(1.0))
}

/// The worker serves and the manager is told about it.
fn dialled(rounds: usize) -> Row {
    let collector = Collector::start();
    let arrivals = arrivals(&collector);
    let dir = tempfile::tempdir().expect("a directory");
    let serve = |round| {
        let address = Address::Unix(dir.path().join(format!("{round}.sock")));
        let served = StreamBackend::serve(&address, recorder(), ServeConfig::default());
        let telemetry = emitted(served.expect("a free address"));
        let context = WorkerContext::new(format!("worker-{round}").as_str());
        let endpoint = address.to_string().parse().expect("an endpoint");
        let registered = collector.manager().register_worker(endpoint, context);
        registered.expect("a valid worker");
        telemetry
    };
    let found = first_events(rounds, &arrivals, serve);
    collector.stop();
    row("serve and be registered, first event at a handler", &found)
}

/// Milliseconds from the beginning of `start`, which makes a worker that emits one event, to its arrival,
/// in order.
fn first_events(
    rounds: usize,
    arrivals: &Receiver<Instant>,
    start: impl Fn(usize) -> Telemetry,
) -> Vec<f64> {
    let round = |round| {
        let began = Instant::now();
        let telemetry = start(round);
        let arrived = arrivals.recv_timeout(PATIENCE).expect("the event");
        let ledger = telemetry.shutdown(PATIENCE);
        assert_eq!((ledger.emitted, ledger.sent), (1, 1));
        (arrived - began).as_secs_f64() * 1e3
    };
    let mut millis: Vec<_> = (0..rounds).map(round).collect();
    millis.sort_by(f64::total_cmp);
    millis
}

fn row(bench: &str, millis: &[f64]) -> Row {
    let at = |percent: usize| {
        let place = millis.len() * percent / 100;
        millis.get(place).copied().unwrap_or(f64::NAN)
    };
    Row::new(bench)
        .ours(at(50), "ms")
        .note(format!("95 of 100 within {:.2} ms", at(95)))
}

/// The role of the manager of scripts in Python: `ADDRESS`. Says `accepting` once it does; the order
/// `received N` waits for that many events of all workers and is answered with those that arrived.
fn manage(arguments: &[String]) {
    let [address] = arguments else { return };
    let collector = Collector::start();
    let acceptor = collector.accept(address.parse().expect("an address"));
    println!("accepting");
    let received = || collector.manager().totals().ledger.received;
    obey(|order| {
        wait("the events", || received() >= expected(order));
        received().to_string()
    });
    drop(acceptor);
    collector.stop();
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
