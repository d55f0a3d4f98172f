//! A manager at whose port workers dial in over TLS, an authority, and workers with their certificates.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use telemetry_client::backend::StreamBackend;
use telemetry_client::{Config, Telemetry};
use telemetry_core::emit::Recorder;
use telemetry_core::ledger::WorkerSnapshot;
use telemetry_core::{Address, SystemClock, Token};
use telemetry_server::ManagerConfig;
use telemetry_server::accept::{AcceptConfig, Acceptor, Certifies};
use telemetry_server::telemetry_tls::TlsConfig;
use telemetry_tests::{NODE, TestManager, WITNESS, eventually};
use telemetry_tls::{Authority, Holder};
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinHandle};

/// The host of the manager's certificate.
pub(crate) const HOST: &str = "localhost";

/// See the module.
pub(crate) struct House {
    pub(crate) manager: TestManager,
    pub(crate) authority: Authority,
    dir: TempDir,
}

impl House {
    /// A manager, without a door so far.
    pub(crate) fn new() -> Self {
        let manager = TestManager::with(ManagerConfig::new(NODE));
        let handler = manager.witness().handler();
        let attached = manager
            .dispatcher()
            .attach(WITNESS, "snakepit.python.*", handler);
        attached.expect("a free id");
        let house = Self {
            manager,
            authority: Authority::new().expect("an authority"),
            dir: tempfile::tempdir().expect("a directory"),
        };
        fs::write(house.path("ca.pem"), house.authority.certificate()).expect("a file");
        house.issue("manager", &Holder::new("manager", &[HOST, "127.0.0.1"]));
        house
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a certificate and its key, as `name.pem` and `name.key`; a reader meanwhile sees whole files.
    pub(crate) fn issue(&self, name: &str, holder: &Holder) {
        let issued = self.authority.issue(holder).expect("a certificate");
        for (end, content) in [("key", issued.key), ("pem", issued.cert)] {
            let draft = self.path(&format!("{name}.{end}.new"));
            fs::write(&draft, content).expect("a file");
            fs::set_permissions(&draft, Permissions::from_mode(0o600)).expect("ours");
            fs::rename(&draft, self.path(&format!("{name}.{end}"))).expect("a file");
        }
    }

    /// Opens the door, with what `change` does to it.
    pub(crate) fn open(&self, change: impl FnOnce(&mut AcceptConfig)) -> Acceptor {
        let mut tls = TlsConfig::default();
        tls.cert = Some(self.path("manager.pem"));
        tls.key = Some(self.path("manager.key"));
        tls.client_ca = Some(self.path("ca.pem"));
        let mut config = AcceptConfig::at("127.0.0.1:0".parse().expect("an address"));
        config.tls = Some(tls);
        config.certifies = Certifies::Worker;
        change(&mut config);
        Acceptor::start(&self.manager, config).expect("a door")
    }

    /// How a worker with the certificate `name` dials in at `door`.
    pub(crate) fn worker(&self, name: &str, door: &Address) -> Config {
        self.issue(name, &Holder::new(name, &[]));
        let mut config = Config::default();
        config.managers = vec![door.clone()];
        config.worker_id = name.to_owned();
        config.tls.ca = Some(self.path("ca.pem"));
        config.tls.cert = Some(self.path(&format!("{name}.pem")));
        config.tls.key = Some(self.path(&format!("{name}.key")));
        config.exit_timeout = Duration::from_secs(10);
        config
    }

    /// The ids of all workers.
    pub(crate) fn ids(&self) -> Vec<String> {
        let streams = self.manager.list_streams();
        streams.iter().map(|it| it.worker_id.to_string()).collect()
    }

    /// Waits until a connection was refused for this reason.
    pub(crate) async fn refused(&self, why: &str) {
        eventually(&format!("a refusal for {why}"), || {
            let refused = self.manager.refused_connections();
            refused.iter().any(|(word, _)| *word == why).then_some(())
        })
        .await;
    }
}

/// A worker that has begun to dial in.
pub(crate) struct Worker {
    telemetry: Telemetry,
    backend: Arc<StreamBackend>,
    exit_timeout: Duration,
}

impl Worker {
    /// Starts one and has it emit.
    pub(crate) fn start(config: &Config, events: u64) -> Self {
        Self::with(config, None, events)
    }

    /// One that shows a token.
    pub(crate) fn with(config: &Config, token: Option<Token>, events: u64) -> Self {
        let clock = Arc::new(SystemClock::new());
        let recorder = Recorder::new(config.recorder(), clock).expect("the default policy");
        let mut connect = config.connection();
        connect.stream = config.stream();
        connect.token = token;
        let managers = config.managers.clone();
        let backend = StreamBackend::connect(managers, Arc::new(recorder), connect);
        let backend = Arc::new(backend.expect("settings that can be used"));
        let telemetry = Telemetry::builder().backend(backend.clone()).build();
        let worker = Self {
            telemetry,
            backend,
            exit_timeout: config.exit_timeout,
        };
        worker.emit(events);
        worker
    }

    /// Emits so many events.
    pub(crate) fn emit(&self, events: u64) {
        for _ in 0..events {
            let measurements = [("bytes", 512.into())];
            self.telemetry
                .emit("tool.result_size", &measurements, &[("tool", "t")], "");
        }
    }

    /// Waits until it says why it has no connection.
    pub(crate) async fn says(&self, said: &str) {
        let what = format!("the worker to say {said:?}");
        let heard = eventually(&what, || {
            let error = self.backend.connection()?.last_error()?;
            error.contains(said).then_some(())
        });
        heard.await;
    }

    pub(crate) fn shutdown(&self) -> WorkerSnapshot {
        self.telemetry.shutdown(self.exit_timeout)
    }
}

/// A token that is nobody's.
pub(crate) fn token(digit: char) -> Token {
    let text: String = std::iter::repeat_n(digit, 32).collect();
    text.parse().expect("a token")
}

/// A cable to a port, which can be cut.
pub(crate) struct Cable {
    pub(crate) address: Address,
    passing: Arc<Mutex<Vec<JoinHandle<()>>>>,
    accepting: AbortHandle,
}

impl Cable {
    pub(crate) async fn to(door: &Address) -> Self {
        let Address::Tcp(door) = *door else {
            panic!("{door} is no port");
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = Address::Tcp(listener.local_addr().expect("a port"));
        let passing = Arc::<Mutex<Vec<JoinHandle<()>>>>::default();
        let all = Arc::clone(&passing);
        let accepting = tokio::spawn(async move {
            while let Ok((mut down, _)) = listener.accept().await {
                let passed = tokio::spawn(async move {
                    if let Ok(mut up) = TcpStream::connect(door).await {
                        // However it ends, it was cut.
                        let _ended = copy_bidirectional(&mut down, &mut up).await;
                    }
                });
                all.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(passed);
            }
        });
        Self {
            address,
            passing,
            accepting: accepting.abort_handle(),
        }
    }

    /// Cuts what is open; says how many there were.
    pub(crate) fn cut(&self) -> usize {
        let mut passing = self.passing.lock().unwrap_or_else(PoisonError::into_inner);
        let open = passing.drain(..).filter(|it| !it.is_finished());
        open.map(|it| it.abort()).count()
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}
