//! The running server of one incarnation, and how its threads are started.

use std::mem::{self, ManuallyDrop};
use std::path::PathBuf;
use std::ptr;
use std::sync::Arc;

use telemetry_client::serve::{ServeConfig, ServeError, Server, StreamConfig};
use telemetry_core::Address;

use crate::fork;
use crate::state::Incarnation;

/// The server of one incarnation.
#[derive(Debug)]
pub(crate) struct Service {
    /// The server; never dropped in a forked child, where its thread does not exist.
    pub(crate) server: ManuallyDrop<Server>,
    /// [`fork::generation`] of the process that started it.
    generation: u64,
}

impl Service {
    /// Starts to serve an incarnation's events.
    pub(crate) fn start(
        incarnation: &Incarnation,
        address: &Address,
        ready_file: Option<PathBuf>,
    ) -> Result<Self, ServeError> {
        let config = ServeConfig {
            stream: StreamConfig {
                identity: incarnation.settings.config.identity(),
                batch_delay: incarnation.settings.config.batch_delay,
                ..StreamConfig::default()
            },
            ready_file,
            ..ServeConfig::default()
        };
        let _masked = SignalsMasked::new();
        let server = Server::start(address, Arc::clone(&incarnation.recorder), config)?;
        Ok(Self {
            server: ManuallyDrop::new(server),
            generation: fork::generation(),
        })
    }

    /// Whether its thread runs in another process.
    pub(crate) fn is_inherited(&self) -> bool {
        self.generation != fork::generation()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if !self.is_inherited() {
            // SAFETY: this is the only place that drops it, and it runs once.
            unsafe { ManuallyDrop::drop(&mut self.server) };
        }
    }
}

/// All signals masked for this thread, so that a thread started meanwhile leaves them to the host.
pub(crate) struct SignalsMasked {
    /// The mask from before.
    before: libc::sigset_t,
}

impl SignalsMasked {
    /// Masks them until dropped.
    pub(crate) fn new() -> Self {
        // SAFETY: both sets are plain values that the calls fill in; a failure leaves the mask as it
        // was, and then there is nothing to put back.
        unsafe {
            let mut all: libc::sigset_t = mem::zeroed();
            let mut before: libc::sigset_t = mem::zeroed();
            libc::sigfillset(&raw mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
            Self { before }
        }
    }
}

impl Drop for SignalsMasked {
    fn drop(&mut self) {
        // SAFETY: `before` is the mask that `new` read.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, ptr::null_mut());
        }
    }
}
