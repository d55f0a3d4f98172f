//! Everything that a configuration describes, started in one call and ended in one call.
//!
//! Starts in an order in which failures are cheap (ports, then processes) and stops in the reverse one:
//! workers finish first, so that their last events still arrive. It wires what other rooms do and does
//! nothing itself. Signals, the log and the terminal are the program's.

mod error;
mod roster;
mod start;
mod stop;

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::accept::Acceptor;
use crate::config::Config;
use crate::discover::Discovery;
use crate::dispatch::Dispatcher;
use crate::http::HttpServer;
use crate::lossy::LossyWriter;
use crate::manager::Manager;
use crate::pool::{Pool, RunDir, StderrTarget};
use crate::session::RegionStore;
use crate::watch_dir::WatchDir;

pub use error::AssemblyError;

/// Where the workers of a pool write what is no telemetry, by the pool's name.
pub type StderrOf = Box<dyn Fn(&str) -> StderrTarget + Send + Sync>;

/// What a program hands over that no file can say. [`default`](Self::default) has nothing of it.
#[derive(Default)]
#[non_exhaustive]
pub struct AssemblyParts {
    /// The directory of the configuration, held by this program; without it processes are not written
    /// down, and no later program adopts them.
    pub run_dir: Option<RunDir>,
    /// Memory of workers that was kept while no manager ran, by name.
    pub regions: Vec<(String, OwnedFd)>,
    /// Who keeps it the next time.
    pub region_store: Option<Arc<dyn RegionStore>>,
    /// The program's log, of which `/metrics` shows what was lost.
    pub log: Option<LossyWriter>,
    /// Where workers' stderr goes; our own, if nothing is said.
    pub stderr_of: Option<StderrOf>,
    /// The `telemetry` command, for pools whose workers end with the manager.
    pub exec_shim: Option<PathBuf>,
}

/// A running manager with all that its configuration describes. Dropping it kills the workers of its
/// pools; [`stop`](Self::stop) lets them finish.
#[derive(Debug)]
pub struct Assembly {
    manager: Manager,
    dispatcher: Dispatcher,
    acceptors: Vec<Acceptor>,
    http: Option<HttpServer>,
    watch: Option<WatchDir>,
    discoveries: Vec<Discovery>,
    pools: Vec<Arc<Pool>>,
    /// Ends what an earlier manager left and the configuration does not know.
    strangers: Option<JoinHandle<()>>,
}

impl Assembly {
    /// Starts everything that `config` describes. Needs a tokio runtime with time and I/O.
    ///
    /// # Errors
    /// [`AssemblyError`] says which part could not be started and why. Processes that were adopted go on
    /// then, those that were started are killed.
    pub async fn start(config: Config, parts: AssemblyParts) -> Result<Self, AssemblyError> {
        start::start(config, parts).await
    }

    /// Ends everything in order. Once `hastened` is set, or when it is from the start, workers are killed
    /// and nothing waits longer than it must.
    pub async fn stop(self, hastened: watch::Receiver<bool>) {
        stop::stop(self, hastened).await;
    }

    /// The manager.
    #[must_use]
    pub fn manager(&self) -> &Manager {
        &self.manager
    }

    /// The HTTP server, if the configuration has one.
    #[must_use]
    pub fn http(&self) -> Option<&HttpServer> {
        self.http.as_ref()
    }

    /// Where workers dial in.
    #[must_use]
    pub fn acceptors(&self) -> &[Acceptor] {
        &self.acceptors
    }

    /// The pools, in the order of the file.
    #[must_use]
    pub fn pools(&self) -> &[Arc<Pool>] {
        &self.pools
    }

    /// The pool of this name.
    #[must_use]
    pub fn pool(&self, name: &str) -> Option<&Arc<Pool>> {
        self.pools.iter().find(|pool| pool.name() == name)
    }
}

impl fmt::Debug for AssemblyParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AssemblyParts").finish_non_exhaustive()
    }
}
