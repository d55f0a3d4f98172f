//! A worker of ours inside the test's process: the real client crate behind a real unix socket.
//!
//! Real except for two things: it reports often, so that a story does not wait for a whole second, and
//! it waits for the first control as long as it takes, so that no story depends on how soon the control
//! gets its turn on a busy machine.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use telemetry_client::backend::StreamBackend;
use telemetry_client::serve::{Identity, RejectedNames, ServeConfig, ServeLimits, StreamConfig};
use telemetry_client::{Telemetry, TelemetryBuilder};
use telemetry_core::{
    Address, Outcome, SystemClock,
    emit::{PolicySpec, QueueLimits, Recorder, RecorderConfig},
    ledger::WorkerSnapshot,
};
use tempfile::TempDir;

use crate::patience::{PATIENCE, eventually};

/// Time between two reports.
const REPORT_INTERVAL: Duration = Duration::from_millis(20);
/// Bytes in the queue for each event it may hold.
const QUEUE_BYTES_PER_EVENT: usize = 4_096;

/// A running worker. Dropping it ends it in order, as far as that goes quickly.
#[derive(Debug)]
pub struct Worker {
    id: String,
    incarnation: String,
    telemetry: Telemetry,
    backend: Arc<StreamBackend>,
    rejected: Arc<RejectedNames>,
    address: Address,
    dir: TempDir,
}

/// How a worker differs from the usual one.
#[derive(Debug, Clone)]
pub struct WorkerBuilder {
    id: String,
    queue: usize,
    policy: PolicySpec,
    tcp: bool,
}

/// A worker with the id `worker`, a queue of 1,024 events and a unix socket.
#[must_use]
pub fn worker() -> WorkerBuilder {
    WorkerBuilder {
        id: "worker".to_owned(),
        queue: telemetry_core::emit::DEFAULT_QUEUE_EVENTS,
        policy: PolicySpec::default(),
        tcp: false,
    }
}

impl WorkerBuilder {
    /// Another id.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = id.into();
        self
    }

    /// A queue of another size, in events; it has room for 4 KiB each.
    #[must_use]
    pub fn queue(mut self, events: usize) -> Self {
        self.queue = events;
        self
    }

    /// On a loopback port.
    #[must_use]
    pub fn on_tcp(mut self) -> Self {
        self.tcp = true;
        self
    }

    /// Starts it.
    ///
    /// # Panics
    ///
    /// When it cannot listen.
    #[must_use]
    pub fn start(self) -> Worker {
        let dir = tempfile::tempdir().expect("a directory for the socket");
        let address = if self.tcp {
            Address::Tcp(([127, 0, 0, 1], 0).into())
        } else {
            Address::Unix(dir.path().join("worker.sock"))
        };
        let bytes = self.queue.saturating_mul(QUEUE_BYTES_PER_EVENT);
        let mut config = RecorderConfig::default();
        config.queue = QueueLimits::new(self.queue, bytes);
        config.policy = self.policy;
        let recorder = Recorder::new(config, Arc::new(SystemClock::new()));
        let recorder = Arc::new(recorder.expect("a valid policy"));
        let mut identity = Identity::default();
        identity.worker_id = self.id.clone();
        let incarnation = identity.incarnation_id.clone();
        let mut stream = StreamConfig::default();
        stream.identity = identity;
        stream.report_interval = REPORT_INTERVAL;
        stream.first_control_wait = PATIENCE;
        let rejected = Arc::clone(&stream.rejected);
        // A manager that a story holds still, or a machine that has no time, is no dead peer.
        let mut limits = ServeLimits::default();
        limits.handshake_timeout = PATIENCE;
        limits.keep_alive_timeout = PATIENCE;
        limits.write_timeout = PATIENCE;
        let mut config = ServeConfig::default();
        config.stream = stream;
        config.limits = limits;
        config.insecure = self.tcp;
        let backend = StreamBackend::serve(&address, recorder, config);
        let backend = Arc::new(backend.expect("a free address"));
        let address = backend
            .server()
            .expect("a server of its own")
            .address()
            .clone();
        let telemetry = TelemetryBuilder::default().backend(backend.clone()).build();
        Worker {
            id: self.id,
            incarnation,
            telemetry,
            backend,
            rejected,
            address,
            dir,
        }
    }
}

impl Worker {
    /// The id under which it is to be registered.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The id of its incarnation, as it says in its hello.
    #[must_use]
    pub fn incarnation(&self) -> &str {
        &self.incarnation
    }

    /// What a program would hold.
    #[must_use]
    pub fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    /// What managers said they do not take, in words.
    #[must_use]
    pub fn rejected(&self) -> Vec<String> {
        let names = self.rejected.list();
        names.iter().map(ToString::to_string).collect()
    }

    /// Where to dial: `unix:/path` or `127.0.0.1:port`.
    #[must_use]
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// The path of its socket.
    ///
    /// # Panics
    ///
    /// When it has none because it is on TCP.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        match &self.address {
            Address::Unix(path) => path.clone(),
            address => panic!("a worker at {address} has no socket file"),
        }
    }

    /// A private directory that lives as long as the worker.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Emits one event with one measurement, `count` = 1.
    pub fn emit(&self, name: &str) -> Outcome {
        self.telemetry
            .emit(name, &[("count", 1_i64.into())], &[], "")
    }

    /// Emits so many of them, waiting for room in the queue where that is needed.
    ///
    /// # Panics
    ///
    /// When no room comes because nobody reads.
    pub fn emit_many(&self, name: &str, count: u64) {
        for _ in 0..count {
            self.emit(name);
            self.make_room();
        }
    }

    /// Waits until the queue is not nearly full.
    ///
    /// # Panics
    ///
    /// When no room comes because nobody reads.
    pub fn make_room(&self) {
        if self.backend.recorder().queued() > 512 {
            assert!(self.telemetry.flush(PATIENCE), "nobody reads the events");
        }
    }

    /// Its ledger.
    #[must_use]
    pub fn ledger(&self) -> WorkerSnapshot {
        self.telemetry.ledger()
    }

    /// Waits until so many streams are open.
    pub async fn until_streams(&self, count: usize) {
        let server = self.backend.server().expect("a server of its own");
        eventually("the worker's streams", || {
            (server.clients() == count).then_some(())
        })
        .await;
    }
}
