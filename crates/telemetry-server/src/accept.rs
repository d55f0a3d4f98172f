//! Workers that dial in: a unix socket, or a port with TLS, at which they introduce themselves and are handed to
//! their sessions.
//!
//! One task accepts and never stops; each connection has a task of its own until it is introduced, so that
//! nobody waits for somebody else's silence. Every connection is answered with one frame. Which id a
//! worker gets is decided by the manager, which this room uses through its handle only.

mod answer;
mod bind;
#[cfg(feature = "tls")]
mod certifies;
mod door;
mod frame;
mod hall;
mod hearing;
mod lobby;
#[cfg(feature = "tls")]
mod port;

use telemetry_core::Address;
#[cfg(feature = "tls")]
use telemetry_core::Token;
#[cfg(feature = "tls")]
use telemetry_tls::TlsConfig;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::bound::Reach;
use crate::manager::Manager;
#[cfg(feature = "tls")]
use crate::secret_file;

pub use crate::bound::BindError;
#[cfg(feature = "tls")]
pub use crate::secret_file::SecretFileError;
pub use crate::socket_dir::SocketDirError;
pub use bind::AcceptError;
#[cfg(feature = "tls")]
pub use certifies::Certifies;
#[cfg(feature = "simulation")]
#[doc(hidden)]
pub use door::SimulatedDoor;
pub use frame::INTRODUCTION_TIMEOUT;
pub use lobby::MAX_UNINTRODUCED;
#[cfg(feature = "tls")]
pub use port::TLS_TIMEOUT;

use crate::bound::Bound;
use door::Door;

/// Where workers dial in, and what is asked of them there.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AcceptConfig {
    /// A unix socket, whose directory is created 0700 when absent, and refused when others may write to it; or
    /// a port (0 takes any free one), with [`tls`](Self::tls).
    pub listen: Address,
    /// Users whose processes may dial in at this unix socket, besides the manager's own and root: a socket for them
    /// alone, since it has mode 0666, and its directory is created 0755 when absent and has to be one that everybody
    /// may enter and nobody else may write to. Empty: the socket has mode 0600 in a private directory. At a port it
    /// does not matter.
    pub users: Vec<u32>,
    /// The manager's certificate, and whose workers' certificates it trusts (`client_ca`). A port needs it; at
    /// a unix socket it does not matter.
    #[cfg(feature = "tls")]
    pub tls: Option<TlsConfig>,
    /// For what a worker's certificate stands.
    #[cfg(feature = "tls")]
    pub certifies: Certifies,
    /// What workers must show at a port, beside a certificate or instead of one.
    #[cfg(feature = "tls")]
    pub token: Option<Token>,
}

impl AcceptConfig {
    /// Workers dial in at this address.
    #[must_use]
    pub fn at(listen: Address) -> Self {
        Self {
            listen,
            users: Vec::new(),
            #[cfg(feature = "tls")]
            tls: None,
            #[cfg(feature = "tls")]
            certifies: Certifies::default(),
            #[cfg(feature = "tls")]
            token: None,
        }
    }
}

/// A place where workers dial in and nobody is accepted so far: those who come wait. Dropping it gives it up.
#[derive(Debug)]
#[must_use = "nobody is accepted before it is opened"]
pub struct Doorway {
    address: Address,
    kind: Kind,
}

/// What a doorway is.
#[derive(Debug)]
enum Kind {
    /// A unix socket, and users who may come there besides our own and root.
    Socket(Bound, Vec<u32>),
    /// A port.
    #[cfg(feature = "tls")]
    Port(tokio::net::TcpListener, port::Checks),
}

impl Doorway {
    /// Listens. Needs a tokio runtime with I/O.
    ///
    /// # Errors
    /// [`AcceptError`]: the address is a port without TLS, or with TLS and nothing that is asked of workers; a file
    /// cannot be used; the directory of a socket is not ours alone, or one of [`users`](AcceptConfig::users) cannot
    /// enter it; another manager answers there; or the system cannot listen.
    pub fn bind(config: AcceptConfig) -> Result<Self, AcceptError> {
        let Address::Unix(_) = &config.listen else {
            return Self::at_port(config);
        };
        let reach = match config.users.is_empty() {
            true => Reach::Own,
            false => Reach::EveryUser,
        };
        let bound = bind::bind(&config.listen, reach)?;
        Ok(Self {
            address: config.listen,
            kind: Kind::Socket(bound, config.users),
        })
    }

    #[cfg(feature = "tls")]
    fn at_port(config: AcceptConfig) -> Result<Self, AcceptError> {
        let address = config.listen.clone();
        let Some(tls) = &config.tls else {
            return Err(AcceptError::Port { address });
        };
        if tls.client_ca.is_none() && config.token.is_none() {
            return Err(AcceptError::AnybodyMay { address });
        }
        let failed = |source| AcceptError::Tls {
            address: address.clone(),
            source,
        };
        if let Some(key) = &tls.key {
            secret_file::check(key).map_err(|source| AcceptError::Key {
                address: address.clone(),
                source,
            })?;
        }
        let checks = port::Checks {
            tls: telemetry_tls::ServerTls::new(tls, &[]).map_err(failed)?,
            certifies: config.certifies,
            token: config.token,
        };
        let (listener, address) = bind::port(&config.listen)?;
        Ok(Self {
            address,
            kind: Kind::Port(listener, checks),
        })
    }

    #[cfg(not(feature = "tls"))]
    fn at_port(config: AcceptConfig) -> Result<Self, AcceptError> {
        let address = config.listen;
        Err(AcceptError::Port { address })
    }

    /// Accepts from now on. Needs a tokio runtime with time and I/O.
    #[must_use = "an acceptor that is dropped accepts nobody"]
    pub fn open(self, manager: &Manager) -> Acceptor {
        let (stop, stopped) = watch::channel(false);
        let manager = manager.clone();
        let task = match self.kind {
            Kind::Socket(bound, users) => {
                tokio::spawn(Door::of(manager, users).keep(bound, stopped))
            }
            #[cfg(feature = "tls")]
            Kind::Port(listener, checks) => {
                tokio::spawn(port::keep(manager, listener, checks, stopped))
            }
        };
        Acceptor {
            address: self.address,
            stop,
            task,
        }
    }
}

/// Accepts until it is dropped or stopped. Workers that it has accepted stay.
#[derive(Debug)]
pub struct Acceptor {
    address: Address,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Acceptor {
    /// Starts to accept. Needs a tokio runtime with time and I/O.
    ///
    /// # Errors
    /// As [`Doorway::bind`].
    pub fn start(manager: &Manager, config: AcceptConfig) -> Result<Self, AcceptError> {
        Ok(Doorway::bind(config)?.open(manager))
    }

    /// Where workers dial in.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Stops accepting, and removes the socket's file. Those that were about to introduce themselves are told to
    /// wait.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        // It can only have been aborted together with the runtime.
        let _ended = self.task.await;
    }
}
