//! A worker that dials in: it connects to its manager and serves on that connection.
//!
//! The roles on the wire are those of a [`Server`](super::Server), byte for byte; only who opens the
//! connection changes. So nothing listens, no file is left behind, and any number of processes share one
//! address.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use telemetry_core::{Address, AddressError, Token, emit::Recorder, wire::Introduction};

use super::config::StreamConfig;
use super::dial_in::{Dialler, Standing};
use super::program::own_name;
use super::road::Ways;
use super::server::{DEFAULT_CLOSE_TIMEOUT, ServeLimits};
use super::service::TelemetryService;
use super::threads::Threads;
use crate::region::{RegionKind, SharedRegion};

/// Most bytes of all labels together, names and values: an introduction has 4 KiB.
pub const MAX_LABEL_BYTES: usize = 1_024;

/// How a [`Connection`] is set up.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ConnectConfig {
    /// Who the worker is and how its streams behave. A worker without an id calls itself
    /// `{program}-{host}-{pid}`.
    pub stream: StreamConfig,
    /// What the manager may take; `allowed_uid` is the user whose manager is connected to, beside root's.
    pub limits: ServeLimits,
    /// One more user whose manager is connected to at a unix socket. What this process emits goes to whoever runs as
    /// that user and listens there.
    pub manager_uid: Option<u32>,
    /// How managers at a port are connected to: `ca` at least. Files that are not there yet are waited for.
    #[cfg(feature = "tls")]
    pub tls: telemetry_tls::TlsConfig,
    /// What a manager at a port is shown, if it asks for that.
    pub token: Option<Token>,
    /// What the worker is called by those who run it; nothing is decided by it.
    pub labels: BTreeMap<String, String>,
}

impl ConnectConfig {
    /// Whether managers at a port can be connected to.
    fn has_tls(&self) -> bool {
        #[cfg(feature = "tls")]
        return !self.tls.is_unset();
        #[cfg(not(feature = "tls"))]
        false
    }
}

/// Why a worker cannot begin to dial in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// There is nobody to connect to.
    #[error("no manager is named; set TELEMETRY_MANAGER to unix:/path/to/manager.sock")]
    NoManager,
    /// A manager's address cannot be used.
    #[error("{address}: {problem}")]
    Address {
        /// The address.
        address: Address,
        /// What is wrong with it.
        problem: AddressError,
    },
    /// A port, which needs TLS.
    #[error(
        "{address} is a port, and there is no TLS; set TELEMETRY_TLS_CA to the file of the authority of the \
         manager's certificate, or connect to a unix socket such as unix:/run/telemetry/manager.sock"
    )]
    NoTls {
        /// The address.
        address: Address,
    },
    /// TLS as it is set up cannot be.
    #[cfg(feature = "tls")]
    #[error(
        "{0}; these are TELEMETRY_TLS_CA, TELEMETRY_TLS_CERT, TELEMETRY_TLS_KEY and TELEMETRY_TLS_SERVER_NAME"
    )]
    Tls(#[from] telemetry_tls::TlsError),
    /// Labels that do not fit into an introduction.
    #[error("labels take {bytes} bytes; at most {MAX_LABEL_BYTES} are allowed for all of them")]
    Labels {
        /// How many they take.
        bytes: usize,
    },
    /// The operating system gave no thread.
    #[error("cannot start the telemetry thread: {0}")]
    Thread(#[source] std::io::Error),
}

/// A worker's connection to its manager, present or not. Dropping it closes it with
/// [`DEFAULT_CLOSE_TIMEOUT`].
#[derive(Debug)]
#[must_use = "a connection that is dropped is closed"]
pub struct Connection {
    /// Managers, any of which will do.
    managers: Arc<[Address]>,
    /// The id it introduces itself with.
    worker_id: String,
    /// The service, for its streams.
    service: TelemetryService,
    /// What managers are handed.
    region: Option<Arc<SharedRegion>>,
    /// Where it stands.
    standing: Arc<Standing>,
    /// What connects and serves.
    threads: Threads,
}

impl Connection {
    /// Begins to connect to one of `managers`, tried in turn, and to serve `recorder` there, from a
    /// thread of its own. Returns at once, whether there is a manager or not: it is looked for as long as
    /// the connection is not closed, at least once a second, and events wait in the queue meanwhile.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] for an address that can never be connected to.
    pub fn start(
        managers: Vec<Address>,
        recorder: Arc<Recorder>,
        mut config: ConnectConfig,
    ) -> Result<Self, ConnectError> {
        if managers.is_empty() {
            return Err(ConnectError::NoManager);
        }
        for address in &managers {
            let address = || address.clone();
            if let Err(problem) = address().check() {
                let address = address();
                return Err(ConnectError::Address { address, problem });
            }
            if address().socket_path().is_none() && !config.has_tls() {
                return Err(ConnectError::NoTls { address: address() });
            }
        }
        let label_bytes = config
            .labels
            .iter()
            .map(|(key, value)| key.len() + value.len());
        let bytes = label_bytes.sum();
        if bytes > MAX_LABEL_BYTES {
            return Err(ConnectError::Labels { bytes });
        }
        #[cfg(feature = "tls")]
        let port = match config.has_tls() {
            true => Some(super::port::Port::new(&config.tls, config.token)?),
            false => None,
        };
        let identity = &mut config.stream.identity;
        if let Some(region) = &config.stream.region {
            region
                .incarnation_id()
                .clone_into(&mut identity.incarnation_id);
        }
        if identity.worker_id.is_empty() {
            identity.worker_id = own_name(&identity.incarnation_id);
        }
        let mut introduction = Introduction::default();
        introduction.worker = identity.worker_id.clone();
        introduction.pool = identity.pool_name.clone();
        introduction.incarnation = identity.incarnation_id.clone();
        introduction.pid = std::process::id();
        if identity.labels.is_empty() {
            identity.labels.clone_from(&config.labels);
        }
        introduction.labels = config.labels;
        let worker_id = identity.worker_id.clone();
        let managers: Arc<[Address]> = managers.into();
        let heart = config.stream.heartbeat.clone();
        let region = config.stream.region.clone();
        let region = region.filter(|region| region.kind() == RegionKind::Shared);
        let service = TelemetryService::new(recorder, config.stream);
        let standing = Arc::<Standing>::default();
        let threads = Threads::start(None, heart, {
            let (managers, standing) = (Arc::clone(&managers), Arc::clone(&standing));
            let (service, region) = (service.clone(), region.clone());
            move |poller, stop| {
                let mut road = Ways::new(
                    poller,
                    region,
                    config.manager_uid,
                    #[cfg(feature = "tls")]
                    port,
                );
                // From this thread: the process may end before the other one runs.
                road.begin(&managers[0], config.limits.allowed_uid, &introduction);
                async move {
                    road.populate();
                    let dialler = Dialler {
                        managers: &managers,
                        introduction,
                        road,
                        service,
                        limits: config.limits,
                        stop,
                        standing: &standing,
                    };
                    dialler.run().await;
                }
            }
        })
        .map_err(ConnectError::Thread)?;
        Ok(Self {
            managers,
            worker_id,
            service,
            region,
            standing,
            threads,
        })
    }

    /// Managers, any of which will do.
    #[must_use]
    pub fn managers(&self) -> &[Address] {
        &self.managers
    }

    /// The id it introduces itself with. The manager may call it otherwise.
    #[must_use]
    pub fn worker_id(&self) -> &str {
        &self.worker_id
    }

    /// Streams that are open now.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.service.streams()
    }

    /// Descriptors that the program closed; see [`Server`](super::Server::closed_descriptors).
    #[must_use]
    pub fn closed_descriptors(&self) -> u64 {
        let region = self.region.as_ref().map_or(0, |region| region.losses());
        self.threads.closed_descriptors() + region
    }

    /// Where events lie, for managers that connect from now on.
    #[must_use]
    pub fn region(&self) -> RegionKind {
        let region = self.region.as_ref();
        region.map_or(RegionKind::Heap, |region| region.kind())
    }

    /// Why there is no connection right now, as far as it is known.
    #[must_use]
    pub fn last_error(&self) -> Option<String> {
        self.standing.last_error()
    }

    /// Lets the stream end: events that are queued, a last report, trailers; then leaves. A connection
    /// that is just being made is waited for if there are events to send, or the manager has heard of the
    /// worker. Where there is no manager it returns at once. At the deadline the stream ends without the
    /// rest of the queue; if the recorder is closed, that rest is dropped as `shutdown_deadline`. Says
    /// whether everything ended in time, and all that the last stream was given is in its socket. A second
    /// call returns true at once.
    pub fn close(&self, timeout: Duration) -> bool {
        match self.threads.close(timeout) {
            Some(in_time) => in_time && !self.service.sessions().recorder().left_unwritten(),
            None => true,
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.close(DEFAULT_CLOSE_TIMEOUT);
    }
}
