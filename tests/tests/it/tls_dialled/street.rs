//! A manager that dials, a worker that listens with TLS, and what is true of both.

use std::sync::Arc;
use std::time::Duration;

use telemetry_client::backend::StreamBackend;
use telemetry_client::{Config, Telemetry};
use telemetry_core::emit::Recorder;
use telemetry_core::ledger::WorkerSnapshot;
use telemetry_core::{Address, SystemClock};
use telemetry_server::telemetry_tls::TlsConfig;
use telemetry_server::{WorkerContext, WorkerId, WorkerTls};
use telemetry_tests::eventually;
use telemetry_tests::truth::{
    Arrivals, EVENT, Finding, Page, Pages, TAG, by_incarnation, incarnations, judge,
};
use telemetry_tls::Holder;

use super::WORKER;
use crate::tls::house::{HOST, House};

/// A house whose manager dials, and what truly came to it.
pub(super) struct Street {
    pub(super) house: House,
    pub(super) arrivals: Arrivals,
}

impl Street {
    pub(super) fn new() -> Self {
        let house = House::new();
        house.issue(WORKER, &Holder::new(WORKER, &["127.0.0.1", HOST]));
        let arrivals = Arrivals::in_memory();
        let dispatcher = house.manager.dispatcher();
        let attached = dispatcher.attach("truth", "snakepit.python.*", arrivals.handler());
        attached.expect("a free id");
        Self { house, arrivals }
    }

    /// The files of one side.
    pub(super) fn files(&self, name: &str) -> TlsConfig {
        let mut tls = TlsConfig::default();
        tls.ca = Some(self.house.path("ca.pem"));
        tls.cert = Some(self.house.path(&format!("{name}.pem")));
        tls.key = Some(self.house.path(&format!("{name}.key")));
        tls
    }

    /// How the worker listens.
    pub(super) fn worker(&self) -> Config {
        let mut config = Config::default();
        config.address = Some("127.0.0.1:0".parse().expect("an address"));
        config.tls = self.files(WORKER);
        config.worker_id = WORKER.to_owned();
        config.exit_timeout = Duration::from_secs(10);
        config
    }

    /// How the manager dials it.
    pub(super) fn context(&self) -> WorkerContext {
        let mut context = WorkerContext::new(WORKER);
        let tls = WorkerTls::new(self.files("manager"));
        context.tls = Some(tls.expect("a name and files"));
        context
    }

    pub(super) fn dial(&self, address: &Address, context: WorkerContext) -> WorkerId {
        let manager = &self.house.manager;
        let registered = manager.register_worker(address.clone(), context);
        registered.expect("usable")
    }

    /// Waits until the manager says why it has no stream.
    pub(super) async fn manager_says(&self, id: &WorkerId, said: &str) {
        eventually(&format!("the manager to say {said:?}"), || {
            let last = self.house.manager.stream(id)?.last_error?;
            last.contains(said).then_some(())
        })
        .await;
    }

    /// Nothing came, and nobody has it.
    pub(super) fn check_nothing_came(&self, ledger: &WorkerSnapshot, said: &str) {
        assert_eq!((ledger.emitted, ledger.sent), (10, 0), "{said}: {ledger:?}");
        assert!(self.arrivals.all().is_empty(), "{said}");
    }
}

/// A worker that listens, in this process.
pub(super) struct Listening {
    telemetry: Telemetry,
    pub(super) backend: Arc<StreamBackend>,
    page: Page,
    dir: tempfile::TempDir,
    exit_timeout: Duration,
}

impl Listening {
    pub(super) fn start(config: &Config, events: u64) -> Self {
        let clock = Arc::new(SystemClock::new());
        let recorder = Recorder::new(config.recorder(), clock).expect("the default policy");
        let address = config.address.as_ref();
        let backend = StreamBackend::serve(address, Arc::new(recorder), config.serve());
        let backend = Arc::new(backend.expect("a port and files"));
        let dir = tempfile::tempdir().expect("a directory");
        let mut listening = Self {
            telemetry: Telemetry::builder().backend(backend.clone()).build(),
            backend,
            page: Page::begin(dir.path()).expect("a page"),
            dir,
            exit_timeout: config.exit_timeout,
        };
        listening.emit(events);
        listening
    }

    pub(super) fn address(&self) -> Address {
        let server = self.backend.server().expect("it serves");
        server.address().clone()
    }

    pub(super) fn emit(&mut self, events: u64) {
        let tag = std::process::id().to_string();
        for _ in 0..events {
            let number = self.page.begins().expect("written");
            let number = i64::try_from(number).expect("few");
            self.telemetry
                .emit(EVENT, &[("bytes", number.into())], &[(TAG, &tag)], "");
            self.page.returned().expect("written");
        }
    }

    /// Waits until it says whom it turned away.
    pub(super) async fn says(&self, said: &str) {
        let server = self.backend.server().expect("it serves");
        eventually(&format!("the worker to say {said:?}"), || {
            let last = server.last_turned_away()?;
            last.contains(said).then_some(())
        })
        .await;
        assert!(server.turned_away() > 0);
    }

    pub(super) fn shutdown(&self) -> WorkerSnapshot {
        self.telemetry.shutdown(self.exit_timeout)
    }

    /// Waits until all came that its page says, ends it, and compares that with what the manager says.
    pub(super) async fn check_all_came(self, street: &Street) {
        let pid = std::process::id();
        let truth = Pages::new(self.dir.path()).of(pid).expect("a page");
        eventually("every event", || {
            (street.arrivals.of(pid).distinct() == truth.returned).then_some(())
        })
        .await;
        self.shutdown();
        assert_eq!(street.arrivals.of(pid).twice, 0);
        let manager = &street.house.manager;
        let verdict = eventually("the account", || {
            // At a port the system tells no process: there is one alone.
            let rows = by_incarnation(&incarnations(manager));
            assert!(rows.len() <= 1, "{rows:?}");
            let verdict = judge(pid, truth, rows.values().next());
            (verdict.finding == Finding::Exact).then_some(verdict)
        })
        .await;
        assert_eq!((verdict.silent, verdict.missing()), (0, 0), "{verdict}");
        assert_eq!(manager.totals().unaccounted_incarnations, 0);
    }
}
