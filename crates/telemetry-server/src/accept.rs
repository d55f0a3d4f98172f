//! Workers that dial in: a unix socket at which they introduce themselves and are handed to their
//! sessions.
//!
//! One task accepts and never stops; each connection has a task of its own until it is introduced, so that
//! nobody waits for somebody else's silence. Every connection is answered with one frame. Which id a
//! worker gets is decided by the manager, which this room uses through its handle only.

mod answer;
mod bind;
mod door;
mod frame;
mod hearing;

use telemetry_core::Address;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::manager::Manager;

pub use crate::socket_dir::SocketDirError;
pub use bind::AcceptError;
pub use door::MAX_UNINTRODUCED;
#[cfg(feature = "simulation")]
#[doc(hidden)]
pub use door::SimulatedDoor;
pub use frame::INTRODUCTION_TIMEOUT;

use bind::bind;
use door::Door;

/// Where workers dial in.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AcceptConfig {
    /// A unix socket. Its directory is created 0700 when absent, and refused when others may write to it.
    pub listen: Address,
}

impl AcceptConfig {
    /// Workers dial in at this address.
    #[must_use]
    pub fn at(listen: Address) -> Self {
        Self { listen }
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
    /// [`AcceptError`]: the address is a port, which needs TLS; its directory is not ours alone; another
    /// manager answers there; or the system cannot listen.
    pub fn start(manager: &Manager, config: AcceptConfig) -> Result<Self, AcceptError> {
        let bound = bind(&config.listen)?;
        let (stop, stopped) = watch::channel(false);
        let door = Door::new(manager.clone());
        Ok(Self {
            address: config.listen,
            stop,
            task: tokio::spawn(door.keep(bound, stopped)),
        })
    }

    /// Where workers dial in.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Stops accepting and removes the socket. Those that were about to introduce themselves are told to
    /// wait.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        // It can only have been aborted together with the runtime.
        let _ended = self.task.await;
    }
}
