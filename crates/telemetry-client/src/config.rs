//! The settings of a worker, and starting everything they ask for.
//!
//! A setting that makes no sense is told of in a sentence that says what is allowed; whether it stops the
//! start is for the program to say.
//! How settings are read from the environment is a room of its own.

mod env;
mod token;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use telemetry_core::{
    Address, AddressError, Clock, SystemClock, Token, TraceContext,
    emit::{DEFAULT_QUEUE_EVENTS, Overflow, PolicySpec, Recorder, RecorderConfig},
    wire::ControlError,
};

use crate::backend::{
    Backend, CompositeBackend, MemoryBackend, NoopBackend, StderrBackend, StreamBackend,
};
use crate::context::under;
use crate::region;
use crate::resource::{ResourceError, ResourceSampler, Sampling};
use crate::serve::{
    ConnectConfig, ConnectError, DEFAULT_BATCH_DELAY, Identity, ServeConfig, ServeError,
    StreamConfig,
};
use crate::stall::DEFAULT_STALL_LIMIT;
use crate::telemetry::Telemetry;

/// Time that the end of a program waits for events to leave.
pub const DEFAULT_EXIT_TIMEOUT: Duration = Duration::from_millis(500);
/// Largest queue that can be configured, in events.
pub const MAX_QUEUE_EVENTS: usize = 1 << 20;

/// A kind of backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BackendKind {
    /// Emits nothing.
    None,
    /// Connects to a manager.
    Connect,
    /// Serves a manager that connects.
    Server,
    /// Writes lines to stderr.
    Stderr,
    /// Keeps events for tests.
    Memory,
}

/// The settings of a worker.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// Where events go; more than one is a composite, none at all emits nothing.
    pub backends: Vec<BackendKind>,
    /// The manager to connect to, or several of which any will do; required by
    /// [`BackendKind::Connect`].
    pub managers: Vec<Address>,
    /// A user whose manager is connected to at a unix socket, besides our own and root.
    pub manager_uid: Option<u32>,
    /// Where the server listens; `None` is a private unix socket, see
    /// [`Server::start`](crate::serve::Server::start).
    pub address: Option<Address>,
    /// What a manager has to show that dials a port; see [`ServeConfig::token`].
    pub token: Option<Token>,
    /// Serves a port although nothing has to be shown there; see [`ServeConfig::insecure`].
    pub insecure: bool,
    /// A file to write once the server listens.
    pub ready_file: Option<PathBuf>,
    /// The id the worker was given; empty if none was.
    pub worker_id: String,
    /// The pool it is in; empty if none.
    pub pool_name: String,
    /// What it is called by those who run it, as `zone: a`; nothing is decided by it.
    pub labels: BTreeMap<String, String>,
    /// How managers at a port are connected to, and what is spoken at a port that is served: TLS if there is a `cert`, and
    /// with `ca` (or `client_ca`) managers have to show a certificate too.
    #[cfg(feature = "tls")]
    pub tls: telemetry_tls::TlsConfig,
    /// Events that wait for a manager or a slow reader.
    pub max_buffer: usize,
    /// What a full queue does.
    pub overflow: Overflow,
    /// Longest time that an event waits for others to travel with; see
    /// [`StreamConfig::batch_delay`].
    pub batch_delay: Duration,
    /// The policy until a manager sends one.
    pub policy: PolicySpec,
    /// Time between samples of memory and CPU; `None` samples nothing.
    pub resource_interval: Option<Duration>,
    /// For how long a program may not run before that is told of; `None` watches nothing. For a program
    /// that beats: whoever makes its [`Heartbeat`](crate::Heartbeat) reads it.
    pub stall_limit: Option<Duration>,
    /// Time that [`Worker::shutdown`] waits.
    pub exit_timeout: Duration,
    /// The span of the process that started this one, around all that happens here.
    pub caller: Option<TraceContext>,
    /// The correlation id that came along with it; empty if none did.
    pub correlation_id: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            backends: Vec::new(),
            managers: Vec::new(),
            manager_uid: None,
            address: None,
            token: None,
            insecure: false,
            ready_file: None,
            worker_id: String::new(),
            pool_name: String::new(),
            labels: BTreeMap::new(),
            #[cfg(feature = "tls")]
            tls: telemetry_tls::TlsConfig::default(),
            max_buffer: DEFAULT_QUEUE_EVENTS,
            overflow: Overflow::default(),
            batch_delay: DEFAULT_BATCH_DELAY,
            policy: PolicySpec::default(),
            resource_interval: None,
            stall_limit: Some(DEFAULT_STALL_LIMIT),
            exit_timeout: DEFAULT_EXIT_TIMEOUT,
            caller: None,
            correlation_id: String::new(),
        }
    }
}

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A variable has a value that makes no sense.
    #[error("{variable}={value:?} is not allowed; expected {expected}")]
    Value {
        /// The variable.
        variable: &'static str,
        /// Its value.
        value: String,
        /// What would do.
        expected: String,
    },
    /// There is no token where a variable says that there is one. What is there instead is not said.
    #[error("{variable}={value:?} gives no token: {problem}")]
    Token {
        /// The variable.
        variable: &'static str,
        /// Its value: a path, or a number.
        value: String,
        /// Why not.
        problem: String,
    },
    /// A text is no address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The initial policy is not valid.
    #[error("the initial policy is not valid: {0}")]
    Policy(#[from] ControlError),
    /// The server cannot start.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The manager can never be connected to.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Resources cannot be sampled.
    #[error(transparent)]
    Resource(#[from] ResourceError),
}

impl Config {
    /// How a recorder with these settings is set up.
    #[must_use]
    pub fn recorder(&self) -> RecorderConfig {
        let mut config = RecorderConfig::default();
        config.queue.events = self.max_buffer;
        config.overflow = self.overflow;
        config.policy = self.policy.clone();
        config
    }

    /// Who the worker says it is, with an incarnation id of its own.
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity {
            worker_id: self.worker_id.clone(),
            pool_name: self.pool_name.clone(),
            labels: self.labels.clone(),
            ..Identity::default()
        }
    }

    /// How its streams behave.
    #[must_use]
    pub fn stream(&self) -> StreamConfig {
        StreamConfig {
            identity: self.identity(),
            batch_delay: self.batch_delay,
            ..StreamConfig::default()
        }
    }

    /// How it connects to a manager, all but its stream.
    #[must_use]
    pub fn connection(&self) -> ConnectConfig {
        ConnectConfig {
            manager_uid: self.manager_uid,
            labels: self.labels.clone(),
            token: self.token.clone(),
            #[cfg(feature = "tls")]
            tls: self.tls.clone(),
            ..ConnectConfig::default()
        }
    }

    /// How a server with these settings is set up.
    #[must_use]
    pub fn serve(&self) -> ServeConfig {
        ServeConfig {
            stream: self.stream(),
            ready_file: self.ready_file.clone(),
            token: self.token.clone(),
            insecure: self.insecure,
            #[cfg(feature = "tls")]
            tls: self.door(),
            ..ServeConfig::default()
        }
    }

    /// TLS where managers connect: the authority of those that we connect to is that of those that do.
    #[cfg(feature = "tls")]
    fn door(&self) -> telemetry_tls::TlsConfig {
        let mut tls = self.tls.clone();
        tls.client_ca = tls.client_ca.or_else(|| tls.ca.clone());
        tls
    }

    /// Reads the token that managers have to show from a file.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Token`] of a file that cannot be read or holds no token.
    pub fn read_token(&mut self, file: &Path) -> Result<(), ConfigError> {
        let token = token::of_file(file).map_err(|problem| ConfigError::Token {
            variable: env::TOKEN_FILE,
            value: file.display().to_string(),
            problem,
        })?;
        self.token = Some(token);
        Ok(())
    }

    /// Starts everything the settings ask for, on the system's clock. Of what the process was started under
    /// ([`caller`](Self::caller), [`correlation_id`](Self::correlation_id)) the first stays.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if an address, the policy or the platform does not allow it.
    pub fn start(self) -> Result<Worker, ConfigError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let mut parts = Vec::new();
        for kind in &self.backends {
            parts.push(self.backend(*kind, &clock)?);
        }
        let backend = match parts.len() {
            0 => Arc::new(NoopBackend),
            1 => parts.remove(0),
            _ => Arc::new(CompositeBackend::new(parts)),
        };
        let telemetry = Telemetry::builder().backend(backend).clock(clock).build();
        under(self.caller, &self.correlation_id);
        let resource = self
            .resource_interval
            .map(|interval| ResourceSampler::start(telemetry.clone(), Sampling::every(interval)))
            .transpose()?;
        Ok(Worker {
            telemetry,
            resource,
            exit_timeout: self.exit_timeout,
        })
    }

    /// Makes one backend.
    fn backend(
        &self,
        kind: BackendKind,
        clock: &Arc<dyn Clock>,
    ) -> Result<Arc<dyn Backend>, ConfigError> {
        let recorder = self.recorder();
        let clock = Arc::clone(clock);
        Ok(match kind {
            BackendKind::None => Arc::new(NoopBackend),
            BackendKind::Stderr => Arc::new(StderrBackend::new(recorder, clock)?),
            BackendKind::Memory => Arc::new(MemoryBackend::new(recorder, clock)?),
            BackendKind::Connect => {
                let mut stream = self.stream();
                let incarnation = &stream.identity.incarnation_id;
                let (recorder, region) = region::recorder(recorder, clock, incarnation)?;
                if let Some(region) = &region {
                    region.move_in();
                }
                stream.region = region;
                let mut connect = self.connection();
                connect.stream = stream;
                let recorder = Arc::new(recorder);
                let managers = self.managers.clone();
                Arc::new(StreamBackend::connect(managers, recorder, connect)?)
            }
            BackendKind::Server => {
                let serve = self.serve();
                let recorder = Arc::new(Recorder::new(recorder, clock)?);
                let address = self.address.as_ref();
                Arc::new(StreamBackend::serve(address, recorder, serve)?)
            }
        })
    }
}

/// Everything that [`Config::start`] started.
#[derive(Debug)]
#[must_use = "telemetry ends when the worker is dropped"]
pub struct Worker {
    /// What the program emits through.
    telemetry: Telemetry,
    /// Samples this process, if it should.
    resource: Option<ResourceSampler>,
    /// Time for the end.
    exit_timeout: Duration,
}

impl Worker {
    /// A worker that emits nothing.
    pub(crate) fn off() -> Self {
        Self {
            telemetry: Telemetry::off(),
            resource: None,
            exit_timeout: Duration::ZERO,
        }
    }

    /// What the program emits through.
    #[must_use]
    pub fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    /// Ends sampling and telemetry within the configured time; returns the ledger. Dropping the
    /// worker does the same.
    pub fn shutdown(&mut self) -> telemetry_core::ledger::WorkerSnapshot {
        self.resource = None;
        self.telemetry.shutdown(self.exit_timeout)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.shutdown();
    }
}
