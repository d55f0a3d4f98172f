//! One worker and its manager in this process, with a real socket between them.

use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use telemetry_client::Telemetry;
use telemetry_client::backend::StreamBackend;
use telemetry_client::serve::ServeConfig;
use telemetry_core::{
    Address, SystemClock,
    emit::{QueueLimits, Recorder, RecorderConfig},
};
use telemetry_server::WorkerId;
use tempfile::TempDir;

use super::collector::{Collector, Counted, assert_clean};
use super::load::Load;

/// Events the queue holds.
const QUEUE_EVENTS: usize = 32 * 1_024;
/// Bytes the queue holds.
const QUEUE_BYTES: usize = 16 * 1_024 * 1_024;
/// Above this many queued events the producer waits: it must lose none.
const MARK: usize = QUEUE_EVENTS / 2;
/// How long it waits before it looks again.
const PAUSE: Duration = Duration::from_micros(100);
/// Events between two looks at the queue.
const STRIDE: usize = 64;
/// Longest wait for the queue to be empty.
const PATIENCE: Duration = Duration::from_secs(30);

/// What lies between the two.
#[derive(Debug, Clone, Copy)]
pub(super) enum Socket {
    /// A unix socket.
    Unix,
    /// Loopback TCP.
    Tcp,
}

/// Both ends of a stream.
#[derive(Debug)]
pub(super) struct Ours {
    telemetry: Telemetry,
    recorder: Arc<Recorder>,
    load: Load,
    collector: Collector,
    id: WorkerId,
    _dir: TempDir,
}

impl Ours {
    /// Starts both ends and opens the stream.
    pub(super) fn start(socket: Socket) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let address = match socket {
            Socket::Unix => Address::Unix(dir.path().join("worker.sock")),
            Socket::Tcp => Address::Tcp(([127, 0, 0, 1], 0).into()),
        };
        let mut config = RecorderConfig::default();
        config.queue = QueueLimits::new(QUEUE_EVENTS, QUEUE_BYTES);
        let recorder = Recorder::new(config, Arc::new(SystemClock::new())).expect("a policy");
        let recorder = Arc::new(recorder);
        let mut config = ServeConfig::default();
        config.insecure = matches!(socket, Socket::Tcp);
        let served = StreamBackend::serve(&address, Arc::clone(&recorder), config);
        let backend = Arc::new(served.expect("a free address"));
        let address = backend.server().expect("a server").address().to_string();
        let telemetry = Telemetry::builder().backend(backend).build();
        let collector = Collector::start();
        let id = collector.register(&address, "worker");
        Self {
            load: Load::new(&telemetry),
            telemetry,
            recorder,
            collector,
            id,
            _dir: dir,
        }
    }

    /// Emits events and waits until the manager has counted all of them.
    pub(super) fn run(&mut self, events: usize) -> Duration {
        let start = Instant::now();
        for run in 0..events {
            if run.is_multiple_of(STRIDE) {
                while self.recorder.queued() > MARK {
                    sleep(PAUSE);
                }
            }
            self.load.emit();
        }
        assert!(self.telemetry.flush(PATIENCE), "the queue did not drain");
        self.collector.received(&self.id, self.load.emitted);
        start.elapsed()
    }

    /// Ends both ends in order and checks that everything is accounted for.
    pub(super) fn finish(self) {
        let emitted = self.load.emitted;
        let ledger = self.telemetry.shutdown(PATIENCE);
        assert_eq!(ledger.check(), Ok(()));
        assert_eq!(
            (ledger.emitted, ledger.sent, ledger.dropped.total()),
            (emitted, emitted, 0)
        );
        let info = self.collector.info(&self.id);
        assert_clean(&info.ledger, emitted);
        assert_eq!(info.ledger_difference(), 0);
        let expected = Counted {
            observations: emitted,
            sum: self.load.sum,
        };
        assert_eq!(self.collector.counted(), expected);
        self.collector.stop();
    }
}
