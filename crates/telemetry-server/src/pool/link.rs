//! All that a pool asks of the manager, in one place.

use std::path::Path;
use std::time::Duration;

use tokio::task::spawn_blocking;

use crate::identity::{WorkerContext, WorkerId};
use crate::manager::Manager;
use crate::pipeline::Pipeline;
use telemetry_core::Address;

/// The manager as a pool sees it.
#[derive(Debug)]
pub(super) struct Link {
    manager: Manager,
}

impl Link {
    pub(super) fn new(manager: Manager) -> Self {
        Self { manager }
    }

    /// Has the worker's socket dialled. An older process of the same id is replaced; its desired
    /// control stays.
    pub(super) fn register(
        &self,
        worker: &str,
        pool: &str,
        socket: &Path,
        pid: u32,
    ) -> Result<(), String> {
        let endpoint = Address::Unix(socket.to_owned());
        let registered = self
            .manager
            .register_supervised(endpoint, context(worker, pool, pid));
        registered.map(drop).map_err(|error| error.to_string())
    }

    /// Resolves when the worker's stream is open, or that of a process that it has started.
    pub(super) async fn streaming(&self, worker: &str) {
        let worker = WorkerId::from(worker);
        let mut changes = self.manager.subscribe();
        loop {
            if self.manager.is_heard(&worker) {
                return;
            }
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Has the worker send all it has and hold nothing back from now on; whether it did so in time.
    pub(super) async fn drain(&self, worker: &str, timeout: Duration) -> bool {
        self.manager
            .drain_worker(&WorkerId::from(worker), timeout)
            .await
    }

    /// Says that the worker's process has ended; `drained`: in order. Waits until what it left is read.
    pub(super) async fn ended(&self, worker: &str, drained: bool) {
        let (manager, worker) = (self.manager.clone(), WorkerId::from(worker));
        let told = spawn_blocking(move || manager.process_ended(&worker, drained));
        // It fails only together with the runtime.
        let _told = told.await;
    }

    /// Lets the stream end and forgets the worker.
    pub(super) async fn unregister(&self, worker: &str) {
        self.manager
            .unregister_worker(&WorkerId::from(worker))
            .await;
    }

    /// The checks that a stream's events go through, for events that came as stderr lines.
    pub(super) fn capture(&self, worker: &str, pool: &str, pid: u32) -> Pipeline {
        self.manager.capture_pipeline(&context(worker, pool, pid))
    }
}

fn context(worker: &str, pool: &str, pid: u32) -> WorkerContext {
    let mut context = WorkerContext::new(worker).in_pool(pool);
    context.python_pid = Some(pid);
    context
}
