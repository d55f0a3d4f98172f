//! What telemetry costs a worker whose calls take a millisecond each, every call a span.
//!
//! The worker is this process, the manager another one, and the figure is CPU time, so that it holds
//! what the telemetry thread does too.

mod manager;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use telemetry_client::Telemetry;
use telemetry_client::backend::StreamBackend;
use telemetry_client::serve::ServeConfig;
use telemetry_core::{
    Address, SystemClock,
    emit::{Recorder, RecorderConfig},
};
use tempfile::TempDir;

use crate::environment;
use crate::measure::{Effort, median, spread};
use crate::report::{Bound, CONTROL_TOLERANCE, Control, Report, Row};
use crate::stream::{Played, Role, cpu, spawn};

/// The part that runs elsewhere.
pub(crate) const ROLES: [(&str, Role); 1] = [("overhead-manager", manager::play)];

/// What one call computes for.
const CALL: Duration = Duration::from_millis(1);
/// How far equal work may differ from itself where a hundredth decides.
const TOLERANCE: f64 = 0.005;
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(10);

/// A worker and its manager.
struct Worker {
    telemetry: Telemetry,
    manager: Played,
    calls: u64,
    /// Steps of the work that take a millisecond.
    steps: u64,
    _dir: TempDir,
}

/// Runs it.
pub(crate) fn run(effort: Effort) -> Report {
    // Each block ends with a flush, which a program that goes on does not pay for.
    let (rounds, calls) = if effort.quick { (3, 200) } else { (30, 300) };
    let mut worker = Worker::start();
    let (mut without, mut prices) = (vec![], vec![]);
    let control = Control::of(tolerance(effort), || {
        let mut controls = vec![];
        prices.clear();
        for _ in 0..rounds {
            let first = worker.traced(calls);
            let second = worker.plain(calls);
            let third = worker.plain(calls);
            let fourth = worker.traced(calls);
            prices.push((first + fourth) / (second + third));
            // Equal work twice, at the same distance from spans.
            controls.push(second / third);
            without.extend([second, third]);
        }
        spread(&mut controls)
    });
    worker.finish();
    let price = spread(&mut prices);
    let plain = median(&mut without);
    let extra = price.median - 1.0;
    let row = Row::new("a call of 1 ms as a span, more CPU of the worker")
        .target("T11")
        .ours(100.0 * extra, "%")
        .peer("the same call without telemetry", plain * 1e3, "ms")
        .price(price)
        .floor(Bound::value_at_most(1.0))
        .moonshot(Bound::value_at_most(0.1))
        .note(format!(
            "{:.1} us per call: two events, sent within 20 ms",
            extra * plain * 1e6
        ));
    Report {
        suite: "overhead".to_owned(),
        quick: effort.quick,
        environment: environment::here(&["h2", "hyper", "tokio"]),
        control: Some(control),
        rows: vec![row],
        ..Report::default()
    }
}

/// A smoke run is too short for more than the usual.
fn tolerance(effort: Effort) -> f64 {
    if effort.quick {
        CONTROL_TOLERANCE
    } else {
        TOLERANCE
    }
}

impl Worker {
    fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let address = Address::Unix(dir.path().join("worker.sock"));
        let clock = Arc::new(SystemClock::new());
        let recorder = Recorder::new(RecorderConfig::default(), clock).expect("a policy");
        let served = StreamBackend::serve(&address, Arc::new(recorder), ServeConfig::default());
        let telemetry = Telemetry::builder()
            .backend(Arc::new(served.expect("a free address")))
            .build();
        let mut manager = spawn("overhead-manager", &[&address.to_string()]);
        assert_eq!(manager.hear(), "streaming");
        Self {
            telemetry,
            manager,
            calls: 0,
            steps: calibrated(),
            _dir: dir,
        }
    }

    /// CPU seconds per call, each a span.
    fn traced(&mut self, calls: u32) -> f64 {
        let operation = self.telemetry.operation("tool.execution");
        let start = cpu();
        for _ in 0..calls {
            let span = operation
                .span()
                .metadata("tool", "hash")
                .metadata("operation", "digest")
                .start();
            work(self.steps);
            span.finish();
        }
        // What is still queued belongs to these calls.
        assert!(self.telemetry.flush(PATIENCE), "the queue did not drain");
        self.calls += u64::from(calls);
        (cpu() - start).as_secs_f64() / f64::from(calls)
    }

    /// CPU seconds per call, without a word about it.
    fn plain(&self, calls: u32) -> f64 {
        let start = cpu();
        for _ in 0..calls {
            work(self.steps);
        }
        (cpu() - start).as_secs_f64() / f64::from(calls)
    }

    /// Checks that the manager has all of it.
    fn finish(mut self) {
        let ledger = self.telemetry.shutdown(PATIENCE);
        let events = 2 * self.calls;
        assert_eq!((ledger.emitted, ledger.sent), (events, events));
        assert_eq!(
            self.manager.ask(&format!("received {events}")),
            events.to_string()
        );
    }
}

/// Steps that take a millisecond.
fn calibrated() -> u64 {
    const STEPS: u64 = 200_000;
    let mut fastest = Duration::MAX;
    for _ in 0..20 {
        let start = cpu();
        work(STEPS);
        fastest = fastest.min(cpu() - start);
    }
    let steps = CALL.as_nanos() * u128::from(STEPS) / fastest.as_nanos().max(1);
    u64::try_from(steps).unwrap_or(STEPS)
}

/// Hashes, in registers only: nothing that others do to the caches may slow it down.
fn work(steps: u64) {
    let mut hash = black_box(0xcbf2_9ce4_8422_2325_u64);
    for step in 0..steps {
        hash = (hash ^ step).wrapping_mul(0x0100_0000_01b3);
    }
    black_box(hash);
}
