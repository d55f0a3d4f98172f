//! A manager as a program embeds it: every event counted in a Prometheus histogram.
//!
//! It also reads back, from the exposition, what must have been counted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use telemetry_core::{Address, ledger::StreamSnapshot};
use telemetry_server::{
    Manager, ManagerConfig, WorkerContext, WorkerId,
    accept::{AcceptConfig, Acceptor},
    export::{PrometheusConfig, PrometheusExporter},
    stream::{StreamInfo, StreamState},
};
use tokio::runtime::{Builder, Runtime};

use super::load::NAMES;

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks.
const PAUSE: Duration = Duration::from_micros(100);
/// Workers dialled per second; the default spreads a fleet over more time than a benchmark has.
const DIALS_PER_SECOND: u32 = 1_000;

/// A running manager and its exporter.
#[derive(Debug)]
pub(crate) struct Collector {
    runtime: Runtime,
    manager: Manager,
    exporter: PrometheusExporter,
}

/// What the exporter says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    /// Observations in the histograms of `duration`.
    pub(crate) observations: u64,
    /// Sum of `count`.
    pub(crate) sum: u64,
}

impl Collector {
    /// A manager on a runtime of two threads.
    pub(crate) fn start() -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let mut config = ManagerConfig::new("bench");
        config.dials_per_second = DIALS_PER_SECOND;
        let manager = {
            let _entered = runtime.enter();
            Manager::start(config).expect("a valid policy")
        };
        let catalog = Arc::clone(manager.catalog());
        let exporter = PrometheusExporter::new(catalog, PrometheusConfig::default());
        manager
            .dispatcher()
            .attach("prometheus", "snakepit.python.*", exporter.clone())
            .expect("a free id");
        Self {
            runtime,
            manager,
            exporter,
        }
    }

    /// The manager.
    pub(crate) fn manager(&self) -> &Manager {
        &self.manager
    }

    /// Lets workers dial in at `address`, until what this returns is dropped.
    pub(crate) fn accept(&self, address: Address) -> Acceptor {
        let _entered = self.runtime.enter();
        Acceptor::start(&self.manager, AcceptConfig::at(address)).expect("a free address")
    }

    /// Has a worker dialled and waits for its stream.
    pub(crate) fn register(&self, address: &str, worker: &str) -> WorkerId {
        let endpoint: Address = address.parse().expect("an endpoint");
        let context = WorkerContext::new(worker).in_pool("bench");
        let id = self
            .manager
            .register_worker(endpoint, context)
            .expect("a valid worker");
        wait("the stream", || {
            self.info(&id).state == StreamState::Streaming
        });
        id
    }

    /// What the manager says of a worker.
    pub(crate) fn info(&self, id: &WorkerId) -> StreamInfo {
        self.manager.stream(id).expect("a registered worker")
    }

    /// Waits until this many events of a worker were received.
    pub(crate) fn received(&self, id: &WorkerId, events: u64) {
        wait("the events", || self.info(id).ledger.received >= events);
    }

    /// Sums over all series.
    pub(crate) fn counted(&self) -> Counted {
        let text = self.exporter.render();
        let total = |suffix: &str| {
            NAMES
                .iter()
                .map(|name| {
                    let name = name
                        .strip_prefix("python.")
                        .unwrap_or(name)
                        .replace('.', "_");
                    sum_of(&text, &format!("snakepit_python_{name}_{suffix}"))
                })
                .sum()
        };
        Counted {
            observations: total("duration_seconds_count"),
            sum: total("counted_total"),
        }
    }

    /// Ends it.
    pub(crate) fn stop(self) {
        self.runtime
            .block_on(self.manager.shutdown(Duration::from_secs(5)));
        self.runtime.shutdown_timeout(Duration::from_secs(1));
    }
}

/// Nothing was refused, lost or taken twice, and the laws hold.
pub(crate) fn assert_clean(ledger: &StreamSnapshot, emitted: u64) {
    assert_eq!(ledger.check(), Ok(()));
    let counts = (ledger.received, ledger.dispatched, ledger.gaps);
    assert_eq!(counts, (emitted, emitted, 0), "{ledger:?}");
    assert_eq!((ledger.rejected.total(), ledger.notes.total()), (0, 0));
}

/// Waits until something holds.
pub(crate) fn wait(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(PAUSE);
    }
}

/// The sum of all series of a metric; they are whole numbers here.
fn sum_of(exposition: &str, metric: &str) -> u64 {
    exposition
        .lines()
        .filter_map(|line| {
            line.strip_prefix(metric)?
                .strip_prefix('{')?
                .rsplit_once("} ")
        })
        .map(|(_, rest)| {
            let number = rest.split(' ').next().unwrap_or_default();
            number
                .parse::<u64>()
                .or_else(|_| number.trim_end_matches(".0").parse())
                .expect("a whole number")
        })
        .sum()
}
