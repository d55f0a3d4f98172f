//! A manager of ours with a witness attached to everything, and the laws that a story ends with.

use std::ops::Deref;
use std::time::Duration;

use telemetry_core::ledger::WorkerSnapshot;
use telemetry_server::{
    Address, Manager, ManagerConfig, WorkerContext, WorkerId,
    stream::{StreamInfo, StreamState},
};

use tokio::runtime::{Builder, Runtime};

use crate::patience::PATIENCE;
use crate::witness::Witness;
use crate::worker::Worker;

/// What the manager calls its machine.
pub const NODE: &str = "node-of-the-tests";
/// The pool of every registered worker.
pub const POOL: &str = "stories";
/// Id of the witness's handler.
pub const WITNESS: &str = "witness";

/// A running manager. It is used as a [`Manager`]; dropping it ends it.
///
/// It has a runtime of its own: an inline handler that blocks may stop everything on the runtime it
/// runs on, and must not stop the test.
#[derive(Debug)]
pub struct TestManager {
    /// Taken when it is dropped.
    runtime: Option<Runtime>,
    manager: Manager,
    witness: Witness,
}

/// A worker's ledger and what its manager counted for it, both at rest and in balance.
#[derive(Debug, Clone)]
pub struct Account {
    /// The worker's side, read at the worker.
    pub worker: WorkerSnapshot,
    /// The manager's side.
    pub manager: StreamInfo,
}

impl TestManager {
    /// A manager with the built-in catalog, whose witness sees the events of workers.
    ///
    /// # Panics
    ///
    /// When it does not start.
    #[must_use]
    pub fn start() -> Self {
        Self::watched(ManagerConfig::new(NODE))
    }

    /// A manager with these settings, whose witness sees the events of workers.
    ///
    /// # Panics
    ///
    /// When it does not start.
    #[must_use]
    pub fn watched(config: ManagerConfig) -> Self {
        let manager = Self::with(config);
        let handler = manager.witness.handler();
        manager
            .dispatcher()
            .attach(WITNESS, "snakepit.python.*", handler)
            .expect("a free id");
        manager
    }

    /// A manager whose witness is not attached, for floods of which nobody keeps a copy.
    ///
    /// # Panics
    ///
    /// When it does not start.
    #[must_use]
    pub fn blind() -> Self {
        Self::with(ManagerConfig::new(NODE))
    }

    /// A manager with these settings, whose witness is not attached.
    ///
    /// # Panics
    ///
    /// When it does not start.
    #[must_use]
    pub fn with(config: ManagerConfig) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build();
        let runtime = runtime.expect("a runtime");
        let entered = runtime.enter();
        let manager = Manager::start(config).expect("a valid config");
        drop(entered);
        Self {
            runtime: Some(runtime),
            manager,
            witness: Witness::new(),
        }
    }

    /// What was dispatched.
    #[must_use]
    pub fn witness(&self) -> &Witness {
        &self.witness
    }

    /// Registers a worker at its own address and waits for its stream.
    pub async fn connect(&self, worker: &Worker) -> WorkerId {
        let id = self.register(&worker.address(), worker.id());
        self.streaming(&id).await;
        id
    }

    /// Registers whoever listens at `address` under `id`.
    ///
    /// # Panics
    ///
    /// When the manager refuses.
    pub fn register(&self, address: &str, id: &str) -> WorkerId {
        let endpoint: Address = address.parse().expect("an endpoint");
        let context = WorkerContext::new(id).in_pool(POOL);
        self.manager
            .register_worker(endpoint, context)
            .expect("a valid worker")
    }

    /// What the manager says about one worker.
    ///
    /// # Panics
    ///
    /// When it does not know the worker.
    #[must_use]
    pub fn info(&self, id: &WorkerId) -> StreamInfo {
        self.manager.stream(id).expect("a registered worker")
    }

    /// Waits until what the manager says about one worker satisfies `condition`.
    ///
    /// # Panics
    ///
    /// When it takes too long; shows the last reading.
    pub async fn until(
        &self,
        what: &str,
        id: &WorkerId,
        condition: impl Fn(&StreamInfo) -> bool,
    ) -> StreamInfo {
        match self.manager.wait_for(id, condition, PATIENCE).await {
            Ok(info) => info,
            Err(last) => panic!("waited in vain for {what} of {id}; last seen: {last:#?}"),
        }
    }

    /// Waits until the worker's stream is open.
    pub async fn streaming(&self, id: &WorkerId) -> StreamInfo {
        self.until("an open stream", id, |info| {
            info.state == StreamState::Streaming
        })
        .await
    }

    /// Waits until the worker reports that it has the policy it should have.
    pub async fn applied(&self, id: &WorkerId) {
        self.until("a policy to be applied", id, |info| {
            info.state == StreamState::Streaming && info.is_policy_applied()
        })
        .await;
    }

    /// Waits until worker and manager agree that everything the worker emitted is accounted for, and
    /// checks every law of the ledger.
    ///
    /// # Panics
    ///
    /// When they never agree; says by what.
    pub async fn balanced(&self, worker: &Worker) -> Account {
        let id = WorkerId::from(worker.id());
        let account = |info: &StreamInfo| Account {
            worker: worker.ledger(),
            manager: info.clone(),
        };
        let agree = |info: &StreamInfo| account(info).check().is_ok();
        match self.manager.wait_for(&id, agree, PATIENCE).await {
            Ok(info) => account(&info),
            Err(last) => {
                let account = account(&last.expect("a registered worker"));
                panic!("{id} never balanced: {:?}; {account:#?}", account.check());
            }
        }
    }

    /// Waits until every event that was received from a worker that reports nothing is dispatched,
    /// `received` of them, and checks the laws of the stream.
    pub async fn received(&self, id: &WorkerId, received: u64) -> StreamInfo {
        let enough =
            |info: &StreamInfo| info.ledger.received >= received && info.ledger.check().is_ok();
        let info = self
            .until(&format!("{received} received events"), id, enough)
            .await;
        assert_eq!(info.ledger.received, received, "{:?}", info.ledger);
        info
    }

    /// Ends it.
    pub async fn stop(self) {
        self.manager.shutdown(Duration::from_secs(5)).await;
    }
}

impl Drop for TestManager {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Waiting for it is not allowed in a test that is a task itself.
            runtime.shutdown_background();
        }
    }
}

impl Deref for TestManager {
    type Target = Manager;

    fn deref(&self) -> &Manager {
        &self.manager
    }
}

impl Account {
    /// What the story is left with: `emitted = Σ dropped + received + gaps` and all laws.
    ///
    /// # Errors
    ///
    /// What does not hold (yet).
    pub fn check(&self) -> Result<(), String> {
        let Self { worker, manager } = self;
        let ledger = &manager.ledger;
        worker.check().map_err(|broken| broken.to_string())?;
        ledger.check().map_err(|broken| broken.to_string())?;
        let accounted = worker.dropped.total() + ledger.received + ledger.gaps;
        let facts = [
            ("queued at the worker", worker.queued, 0),
            (
                "emitted against dropped + received + gaps",
                worker.emitted,
                accounted,
            ),
            (
                "sent against highest sequence",
                worker.sent,
                ledger.highest_sequence,
            ),
            ("lost at a crash", manager.lost_at_crash, 0),
            (
                "difference shown to operators",
                manager.ledger_difference(),
                0,
            ),
        ];
        for (what, left, right) in facts {
            if left != right {
                return Err(format!("{what}: {left} != {right}"));
            }
        }
        if manager.report.as_ref() != Some(worker) {
            return Err(format!(
                "the manager's view {:?} != {worker:?}",
                manager.report
            ));
        }
        Ok(())
    }
}
