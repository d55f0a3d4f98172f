//! Real connections against a real server: unix sockets in temporary directories and loopback ports.

mod acks;
mod acks_edges;
mod addresses;
mod authority;
mod batches;
mod connect;
mod crowd;
mod drain;
mod gated;
mod manager;
mod ping;
mod reports;
mod rules;
mod settle;
mod shutdown;
#[cfg(feature = "signals")]
mod signals;
mod streams;
mod takeover;
mod token;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use telemetry_client::serve::{ServeConfig, Server, StreamConfig};
use telemetry_core::{
    Address, Outcome, SystemClock, ValueRef,
    emit::{Fields, Recorder, RecorderConfig},
};
use tempfile::TempDir;

/// Longer than anything here takes; a test that waits this long fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// A worker that serves a unix socket.
struct Worker {
    recorder: Arc<Recorder>,
    server: Server,
    directory: TempDir,
}

impl Worker {
    fn start() -> Self {
        Self::streaming(stream_config())
    }

    fn streaming(stream: StreamConfig) -> Self {
        let mut serve = ServeConfig::default();
        serve.stream = stream;
        Self::with(serve)
    }

    fn with(config: ServeConfig) -> Self {
        let directory = private_directory();
        let recorder = recorder();
        let address = Address::Unix(directory.path().join("worker.sock"));
        let server = Server::start(&address, Arc::clone(&recorder), config).expect("a free socket");
        Self {
            recorder,
            server,
            directory,
        }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("worker.sock")
    }

    fn emit(&self, name: &str, count: i64) -> Outcome {
        let site = self.recorder.callsite(name).expect("a valid name");
        let measurements = [("count", ValueRef::Int(count))];
        self.recorder.record(
            &site,
            &Fields {
                measurements: &measurements,
                ..Fields::default()
            },
        )
    }

    fn emit_many(&self, counts: std::ops::Range<i64>) {
        for count in counts {
            assert_eq!(self.emit("tool.result_size", count), Outcome::Accepted);
        }
    }
}

/// The usual settings, but the first control may come as late as a busy machine lets it.
fn stream_config() -> StreamConfig {
    let mut stream = StreamConfig::default();
    stream.first_control_wait = PATIENCE;
    stream
}

fn recorder() -> Arc<Recorder> {
    let clock = Arc::new(SystemClock::new());
    Arc::new(Recorder::new(RecorderConfig::default(), clock).expect("the default policy"))
}

/// Nobody else can write to it, whatever the umask.
fn private_directory() -> TempDir {
    use std::os::unix::fs::PermissionsExt;
    tempfile::Builder::new()
        .permissions(std::fs::Permissions::from_mode(0o700))
        .tempdir()
        .expect("a temporary directory")
}
