//! A worker that bursts, and its manager in a process of its own.

use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use telemetry_client::Telemetry;
use telemetry_client::backend::StreamBackend;
use telemetry_client::serve::ServeConfig;
use telemetry_core::{
    Address, Outcome, SystemClock,
    emit::{QueueLimits, Recorder, RecorderConfig},
};
use tempfile::TempDir;

use crate::stream::{Load, Played, spawn};

/// Time until a stream comes.
const UNATTENDED: Duration = Duration::from_millis(100);
/// Time after a burst, so that the telemetry thread sleeps when the next one begins.
const REST: Duration = Duration::from_millis(50);
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(10);

/// A worker with a queue of some size.
pub(super) struct Worker {
    telemetry: Telemetry,
    load: Load,
    /// Events that were not taken.
    lost: u64,
    address: Address,
    manager: Option<Played>,
    _dir: TempDir,
}

impl Worker {
    /// Without a manager.
    pub(super) fn start(events: usize, bytes: usize) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let address = Address::Unix(dir.path().join("worker.sock"));
        let mut config = RecorderConfig::default();
        config.queue = QueueLimits::new(events, bytes);
        let recorder = Recorder::new(config, Arc::new(SystemClock::new())).expect("a policy");
        let served = StreamBackend::serve(&address, Arc::new(recorder), ServeConfig::default());
        let telemetry = Telemetry::builder()
            .backend(Arc::new(served.expect("a free address")))
            .build();
        Self {
            load: Load::new(&telemetry),
            telemetry,
            lost: 0,
            address,
            manager: None,
            _dir: dir,
        }
    }

    /// The manager comes, and takes what is queued.
    pub(super) fn attach(&mut self) {
        sleep(UNATTENDED);
        let mut manager = spawn("overhead-manager", &[&self.address.to_string()]);
        assert_eq!(manager.hear(), "streaming");
        self.manager = Some(manager);
        self.empty();
    }

    /// Emits events and says how many were lost.
    pub(super) fn burst(&mut self, events: usize) -> u64 {
        let lost = (0..events).filter(|_| self.load.offer() != Outcome::Accepted);
        let lost = lost.count() as u64;
        self.lost += lost;
        if self.manager.is_some() {
            self.empty();
        }
        lost
    }

    fn empty(&self) {
        assert!(self.telemetry.flush(PATIENCE), "the queue did not drain");
        sleep(REST);
    }

    /// Checks that what was not lost has arrived.
    pub(super) fn finish(mut self) {
        let ledger = self.telemetry.shutdown(PATIENCE);
        assert_eq!(ledger.check(), Ok(()));
        let counts = (ledger.sent, ledger.dropped.total());
        assert_eq!(counts, (self.load.emitted, self.lost));
        let manager = self.manager.as_mut().expect("a manager");
        let emitted = self.load.emitted.to_string();
        assert_eq!(manager.ask(&format!("received {emitted}")), emitted);
    }
}
