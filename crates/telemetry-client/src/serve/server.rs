//! A worker's own server: a socket that managers dial, and what they may take of it.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use telemetry_core::{Address, Token, emit::Recorder};

use super::accept::serve;
use super::bind::{BindError, Bound};
use super::config::StreamConfig;
use super::door::Door;
use super::own_file::OwnFile;
use super::service::TelemetryService;
use super::threads::Threads;

/// Connections at once.
pub const DEFAULT_MAX_CONNECTIONS: usize = 16;
/// Time for the HTTP/2 preface and first SETTINGS frame to arrive.
pub const DEFAULT_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Streams at once on one connection.
pub const DEFAULT_MAX_STREAMS: u32 = 16;
/// Resets, by the peer before they were accepted or by us for its errors, before a connection ends.
pub const DEFAULT_MAX_RESETS: usize = 64;
/// Bytes of one request's headers.
pub const DEFAULT_MAX_HEADER_LIST_BYTES: u32 = 8 * 1024;
/// Time between keep-alive pings.
pub const DEFAULT_KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// Time for the answer to a keep-alive ping.
pub const DEFAULT_KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for a connection to open its first stream.
pub const DEFAULT_STREAM_WAIT: Duration = Duration::from_secs(10);
/// Time for which a peer may take no byte of what it is sent.
pub const DEFAULT_WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time that a dropped server gives its streams to end.
pub const DEFAULT_CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// What peers may take of a server.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServeLimits {
    /// Connections at once, beside 64 that are younger than 250 ms. For a further one the oldest of those without a
    /// stream is closed, else the oldest of those whose stream is not the one that gets events.
    pub max_connections: usize,
    /// Time for the handshake.
    pub handshake_timeout: Duration,
    /// Streams at once on one connection.
    pub max_streams: u32,
    /// Resets before a connection ends.
    pub max_resets: usize,
    /// Bytes of one request's headers.
    pub max_header_list_bytes: u32,
    /// Time between keep-alive pings.
    pub keep_alive_interval: Duration,
    /// Time for the answer to one.
    pub keep_alive_timeout: Duration,
    /// Time for a connection to open its first stream; begins anew with each call of another kind.
    pub stream_wait: Duration,
    /// Time for which a peer may take no byte of what it is sent.
    pub write_timeout: Duration,
    /// The user whose processes may connect to a unix socket; the user of this process by default.
    pub allowed_uid: u32,
}

impl Default for ServeLimits {
    fn default() -> Self {
        Self {
            max_connections: DEFAULT_MAX_CONNECTIONS,
            handshake_timeout: DEFAULT_HANDSHAKE_TIMEOUT,
            max_streams: DEFAULT_MAX_STREAMS,
            max_resets: DEFAULT_MAX_RESETS,
            max_header_list_bytes: DEFAULT_MAX_HEADER_LIST_BYTES,
            keep_alive_interval: DEFAULT_KEEP_ALIVE_INTERVAL,
            keep_alive_timeout: DEFAULT_KEEP_ALIVE_TIMEOUT,
            stream_wait: DEFAULT_STREAM_WAIT,
            write_timeout: DEFAULT_WRITE_TIMEOUT,
            allowed_uid: rustix::process::geteuid().as_raw(),
        }
    }
}

/// How a [`Server`] is set up.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ServeConfig {
    /// Who the worker is and how its streams behave.
    pub stream: StreamConfig,
    /// What peers may take.
    pub limits: ServeLimits,
    /// A file to write once the server listens. It holds the address and a newline, appears whole
    /// or not at all, and is removed at the end.
    pub ready_file: Option<PathBuf>,
    /// What a manager has to show that opens a stream at a port, where every user of the machine can
    /// connect. At a unix socket, where the system tells who connects, nothing is shown.
    pub token: Option<Token>,
    /// Serves a port although nothing has to be shown there, as stock managers show nothing; said aloud, once.
    pub insecure: bool,
    /// TLS at a port, if `cert` is set, which then may be one that other machines reach. With `client_ca` managers have to
    /// show a certificate of that authority; a token is asked for beside that or instead of it.
    #[cfg(feature = "tls")]
    pub tls: telemetry_tls::TlsConfig,
}

impl ServeConfig {
    /// What is asked at the door of an address.
    fn door(&self, is_port: bool) -> Result<Door, ServeError> {
        #[cfg(feature = "tls")]
        if is_port && self.tls.cert.as_ref().or(self.tls.key.as_ref()).is_some() {
            return Ok(Door::with_tls(&self.tls)?);
        }
        let _nobody_listens_along = is_port;
        Ok(Door::default())
    }
}

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The address is not safe, not free or not an address.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The address is a port, and nothing would keep other users of the machine out.
    #[error(
        "{address} is open to every user of this machine, who could read the events and stop them; name no \
         address, which is a private unix socket, or name one as unix:/path/to.sock; or give a token with \
         TELEMETRY_TOKEN_FILE, which the manager has to show; or say TELEMETRY_INSECURE=1 (insecure=True)"
    )]
    Unprotected {
        /// The address.
        address: Address,
    },
    /// The address is a port with TLS, and everybody would be served.
    #[error(
        "everybody could dial {address}; set TELEMETRY_TLS_CA (tls_ca=), the authority of managers' certificates, or \
         give a token with TELEMETRY_TOKEN_FILE (token_file=), which the manager has to show, or both; or say \
         TELEMETRY_INSECURE=1 (insecure=True)"
    )]
    Open {
        /// The address.
        address: Address,
    },
    /// The files of TLS cannot be used.
    #[cfg(feature = "tls")]
    #[error(transparent)]
    Tls(#[from] telemetry_tls::TlsError),
    /// The operating system gave no thread or no event loop.
    #[error("cannot start the telemetry thread: {0}")]
    Thread(#[source] io::Error),
    /// The ready file cannot be written.
    #[error("cannot write the ready file {}: {source}", path.display())]
    ReadyFile {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// A running server. Dropping it closes it with [`DEFAULT_CLOSE_TIMEOUT`].
#[derive(Debug)]
#[must_use = "a server that is dropped is closed"]
pub struct Server {
    /// Where it really listens.
    address: Address,
    /// The service, for its streams.
    service: TelemetryService,
    /// What is asked before that.
    door: Door,
    /// What serves.
    threads: Threads,
}

impl Server {
    /// Binds `address` and serves `recorder` from a thread of its own. When it returns, a manager
    /// can connect. Without an address it is a unix socket that this process alone has, in a directory that
    /// its user alone can enter: `$XDG_RUNTIME_DIR/telemetry/worker-{pid}.sock`, else
    /// `/tmp/telemetry-{uid}/worker-{pid}.sock`.
    ///
    /// # Errors
    ///
    /// [`ServeError`] says what is wrong with the address and what to do.
    pub fn start<'a>(
        address: impl Into<Option<&'a Address>>,
        recorder: Arc<Recorder>,
        config: ServeConfig,
    ) -> Result<Self, ServeError> {
        let asked = address.into();
        let is_port = asked.is_some_and(|address| address.socket_path().is_none());
        let door = config.door(is_port)?;
        let heart = config.stream.heartbeat.clone();
        let mut service = TelemetryService::new(recorder, config.stream);
        let bound = match asked {
            Some(address) => Bound::bind(address, door.is_encrypted())?,
            None => Bound::bind_private()?,
        };
        let is_asked = door.asks_for_certificates();
        match config.token {
            _ if !is_port => {}
            _ if config.insecure => {
                if !is_asked {
                    tracing::warn!(
                        address = %bound.address(),
                        "telemetry is served without a token: everybody who reaches this port can read the events and \
                         stop them"
                    );
                }
            }
            Some(token) => service = service.with_token(token),
            None if is_asked => {}
            None => {
                let address = bound.address();
                return Err(match door.is_encrypted() {
                    true => ServeError::Open { address },
                    false => ServeError::Unprotected { address },
                });
            }
        }
        let address = bound.address();
        let ready_file = config
            .ready_file
            .map(|path| write_ready_file(path, &address))
            .transpose()?;
        let threads = Threads::start(ready_file, heart, {
            let (service, door) = (service.clone(), door.clone());
            move |poller, stop| async move {
                if let Err(error) = serve(bound, door, poller, service, config.limits, stop).await {
                    tracing::error!(%error, "the telemetry server cannot listen");
                }
            }
        })
        .map_err(ServeError::Thread)?;
        Ok(Self {
            address,
            service,
            door,
            threads,
        })
    }

    /// Streams that were refused because they did not show the token.
    #[must_use]
    pub fn unauthenticated(&self) -> u64 {
        self.service.unauthenticated()
    }

    /// Connections that were turned away because they did not speak TLS as this port does, or not at all, or did where it
    /// does not.
    #[must_use]
    pub fn turned_away(&self) -> u64 {
        self.door.refused()
    }

    /// Why the last one was.
    #[must_use]
    pub fn last_turned_away(&self) -> Option<String> {
        self.door.last()
    }

    /// Where it listens, with the port it really has.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Streams that are open now.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.service.streams()
    }

    /// Descriptors of this server, sockets all of them, that the program closed. They are left alone,
    /// whatever their numbers stand for now; what was a connection is cut, and the server listens
    /// anew at its address. They are found when they are used, and by a look at least every second.
    #[must_use]
    pub fn closed_descriptors(&self) -> u64 {
        self.threads.closed_descriptors()
    }

    /// Stops listening and lets open streams end: events that are queued, a last report, trailers.
    /// At the deadline streams end without the rest of the queue; if the recorder is closed, that
    /// rest is dropped as `shutdown_deadline`. Says whether everything ended in time, and all that the
    /// last stream was given is in its socket. A second call returns true at once.
    pub fn close(&self, timeout: Duration) -> bool {
        match self.threads.close(timeout) {
            Some(in_time) => in_time && !self.service.sessions().recorder().left_unwritten(),
            None => true,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.close(DEFAULT_CLOSE_TIMEOUT);
    }
}

/// Writes the file that says where the server listens.
fn write_ready_file(path: PathBuf, address: &Address) -> Result<OwnFile, ServeError> {
    match write_whole(&path, format!("{address}\n").as_bytes()) {
        Ok(made) => Ok(OwnFile::new(path, &made)),
        Err(source) => Err(ServeError::ReadyFile { path, source }),
    }
}

/// Writes a file so that a reader sees all of it or nothing; returns what it is.
fn write_whole(path: &Path, contents: &[u8]) -> io::Result<fs::Metadata> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let beside = path.with_file_name(name);
    // Of a process that had our number; somebody else's link must not be followed.
    let _leftover = fs::remove_file(&beside);
    let written = fs::File::create_new(&beside).and_then(|mut file| {
        file.write_all(contents)?;
        let made = file.metadata()?;
        fs::rename(&beside, path)?;
        Ok(made)
    });
    if written.is_err() {
        // The first error is the one to tell.
        let _leftover = fs::remove_file(&beside);
    }
    written
}
