//! Worker processes: spawned, watched, replaced, restarted, drained; and the events that tell of
//! it.
//!
//! A pool runs N equal processes. Each has an id (`{pool}-{n}`) and a socket
//! (`{run_dir}/{pool}-{n}.sock`) that stay the same through all its processes, so control that was
//! set for it outlives a crash. A process that ends unasked is started again after a jittered
//! delay; one that is asked to end may finish first. No process outlives its pool; one whose manager
//! died without a word is adopted by the next pool of the same [`RunDir`].
//!
//! This room uses the manager's public handle only. What a worker does is none of its business.

mod config;
mod crash_log;
mod error;
mod events;
mod exit;
mod group;
mod last_line;
mod launch;
mod link;
mod output;
mod process;
mod shared;
mod spawn;
mod spawner;
mod status;
mod stop;
mod strangers;
mod supervise;
mod tail;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::deadline::bounded;
use crate::manager::Manager;
use crate::socket_dir;

pub use crate::capture::{MAX_LINE_BYTES as MAX_STDERR_LINE_BYTES, StderrCapture};
pub use crate::run_dir::{RunDir, RunDirError};
pub use config::{
    DEFAULT_GRACE, DEFAULT_HEALTHY_AFTER, DEFAULT_RESTART_BASE, DEFAULT_RESTART_CAP, DEFAULT_SIZE,
    DEFAULT_STATUS_INTERVAL, MAX_NAME_BYTES as MAX_POOL_NAME_BYTES, MAX_SIZE as MAX_POOL_SIZE,
    OnManagerExit, PoolConfig, RestartDelays, StderrTarget, Transport, WorkerTelemetry,
};
pub use error::PoolError;
pub use last_line::MAX_LAST_LINE_BYTES;
pub use status::{PoolLoad, PoolStatus, WorkerState, WorkerStatus};
pub use strangers::end_strangers;

use events::{Occupancy, PoolEvents};
use link::Link;
use shared::{Shared, worker_id};
use spawn::Program;
use status::Slot;
use supervise::{Cause, Replace, STOP_SLACK, Supervisor};

/// Requests that may wait for one worker; further ones wait for room.
const WAITING_REQUESTS: usize = 4;

/// A running pool. Dropping it kills its workers; [`shutdown`](Self::shutdown) lets them finish.
#[derive(Debug)]
pub struct Pool {
    shared: Arc<Shared>,
    /// By worker id: where requests to its supervisor go.
    requests: HashMap<String, mpsc::Sender<Replace>>,
    stop: watch::Sender<Option<tokio::time::Instant>>,
    /// The supervisors and the status ticker; aborted when the pool is dropped.
    tasks: tokio::sync::Mutex<JoinSet<()>>,
}

impl Pool {
    /// Starts all workers of a pool and returns once every process was started and registered with
    /// the manager; see [`ready`](Self::ready) to wait for their streams. Needs a tokio runtime
    /// with time and I/O.
    ///
    /// # Errors
    /// [`PoolError`]: an invalid setting, a command that cannot be run, an unsafe `run_dir`, a
    /// socket path the system cannot bind, or a process that did not start. Nothing is left running
    /// then.
    pub async fn start(manager: &Manager, config: PoolConfig) -> Result<Self, PoolError> {
        Self::start_with(manager, config, None).await
    }

    /// As [`start`](Self::start), in a directory that is held by this program and in place of the
    /// configuration's: processes that an earlier program started there for this pool are adopted, if
    /// they run what the configuration says, and are else replaced in order; and all are written down
    /// for the next one. The workers' stderr goes through files in it, so that it outlives us.
    ///
    /// Start all pools of a directory, then call [`end_strangers`].
    ///
    /// # Errors
    /// As [`start`](Self::start). Processes that were adopted go on then.
    pub async fn start_in(
        manager: &Manager,
        mut config: PoolConfig,
        run_dir: &RunDir,
    ) -> Result<Self, PoolError> {
        run_dir.path().clone_into(&mut config.run_dir);
        Self::start_with(manager, config, Some(run_dir.clone())).await
    }

    /// Checks all that can be checked before a pool is started: settings, program, directories. For who
    /// starts several and would rather start none.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn check(config: &PoolConfig) -> Result<(), PoolError> {
        config.validate()?;
        Program::find(config)?;
        sockets(config).map(drop)
    }

    async fn start_with(
        manager: &Manager,
        config: PoolConfig,
        run_dir: Option<RunDir>,
    ) -> Result<Self, PoolError> {
        config.validate()?;
        let began = Instant::now();
        let program = Program::find(&config)?;
        let sockets = sockets(&config)?;
        manager.label_pool(&config.name, config.labels.clone());
        let events = PoolEvents::new(manager.dispatcher(), &config.name, &config.command);
        let size = config.size;
        let shared = Arc::new(Shared {
            program,
            link: Link::new(manager.clone()),
            run_dir,
            events,
            load: PoolLoad::default(),
            slots: (0..size).map(|_| Mutex::new(Slot::new())).collect(),
            captured: (0..size).map(|_| Arc::default()).collect(),
            unsettled: AtomicUsize::new(size),
            began,
            changes: watch::Sender::new(0),
            config,
        });
        shared.events.init_started(shared.mode());
        let stop = watch::Sender::new(None);
        let mut requests = HashMap::new();
        let mut launched = Vec::with_capacity(size);
        for (index, socket) in sockets.into_iter().enumerate() {
            let (sender, receiver) = mpsc::channel(WAITING_REQUESTS);
            requests.insert(shared.worker_id(index), sender);
            let supervisor = Supervisor::new(
                Arc::clone(&shared),
                index,
                socket,
                receiver,
                stop.subscribe(),
            );
            let live = match supervisor.adopt().await {
                Ok(Some(live)) => Ok(live),
                Ok(None) => supervisor.launch().await,
                Err(error) => Err(error),
            };
            match live {
                Ok(live) => launched.push((supervisor, live)),
                Err(error) => {
                    for (_, live) in &mut launched {
                        live.process.release();
                    }
                    shared.forget_all();
                    return Err(error);
                }
            }
        }
        shared.events.initialized(began.elapsed(), size);
        let mut tasks = JoinSet::new();
        for (supervisor, live) in launched {
            tasks.spawn(supervisor.run(live));
        }
        tasks.spawn(report_status(Arc::clone(&shared), stop.subscribe()));
        Ok(Self {
            shared,
            requests,
            stop,
            tasks: tokio::sync::Mutex::new(tasks),
        })
    }

    /// Name of the pool.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.config.name
    }

    /// How long its workers may take to finish, as configured: a fitting timeout of
    /// [`shutdown`](Self::shutdown).
    #[must_use]
    pub fn grace(&self) -> Duration {
        self.shared.config.grace
    }

    /// The handle through which the host says how busy the pool is.
    #[must_use]
    pub fn load(&self) -> PoolLoad {
        self.shared.load.clone()
    }

    /// All workers as they are now.
    #[must_use]
    pub fn status(&self) -> PoolStatus {
        self.shared.status()
    }

    /// Waits until `condition` holds for the status; it is looked at after every change.
    pub async fn until(&self, mut condition: impl FnMut(&PoolStatus) -> bool) -> PoolStatus {
        let mut changes = self.shared.changes.subscribe();
        loop {
            changes.mark_unchanged();
            let status = self.status();
            if condition(&status) {
                return status;
            }
            if changes.changed().await.is_err() {
                return status;
            }
        }
    }

    /// Waits until every worker is ready at the same time.
    pub async fn ready(&self) -> PoolStatus {
        self.until(|status| {
            status
                .workers
                .iter()
                .all(|worker| worker.state == WorkerState::Ready)
        })
        .await
    }

    /// Replaces a worker by a new process of the same id: the old one may finish, then the new one
    /// starts. Returns once it was started.
    ///
    /// # Errors
    /// [`PoolError::UnknownWorker`], [`PoolError::ShutDown`].
    pub async fn recycle(&self, worker: &str) -> Result<(), PoolError> {
        self.replace(worker, Cause::Recycled, "requested").await
    }

    /// Replaces a worker that the host found unfit, as [`recycle`](Self::recycle) does; `reason`
    /// appears in the events.
    ///
    /// # Errors
    /// [`PoolError::UnknownWorker`], [`PoolError::ShutDown`].
    pub async fn taint(&self, worker: &str, reason: &str) -> Result<(), PoolError> {
        self.replace(worker, Cause::Tainted, reason).await
    }

    /// Adds to the number of commands that the worker's process executed; `pool.worker.terminated`
    /// reports it. Unknown workers are ignored.
    pub fn add_commands(&self, worker: &str, commands: u64) {
        let Some(index) = self.shared.index_of(worker) else {
            return;
        };
        let mut slot = self.shared.slot(index);
        slot.commands = slot.commands.saturating_add(commands);
    }

    /// Lets all workers finish, kills at `timeout` those that have not, unregisters them and ends
    /// the pool. May be called again, also at the same time: it then waits for the same end, with
    /// the first call's deadline.
    pub async fn shutdown(&self, timeout: Duration) {
        let deadline = crate::deadline::deadline(timeout);
        self.stop.send_if_modified(|stop| {
            let first = stop.is_none();
            if first {
                *stop = Some(deadline);
            }
            first
        });
        let mut tasks = self.tasks.lock().await;
        let all = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout_at(deadline + STOP_SLACK, all)
            .await
            .is_err()
        {
            tasks.shutdown().await;
            self.shared.forget_all();
        }
    }

    async fn replace(&self, worker: &str, cause: Cause, reason: &str) -> Result<(), PoolError> {
        let pool = || self.shared.config.name.clone();
        let Some(requests) = self.requests.get(worker) else {
            return Err(PoolError::UnknownWorker {
                pool: pool(),
                worker: worker.to_owned(),
                size: self.shared.config.size,
            });
        };
        let (done, started) = oneshot::channel();
        let request = Replace {
            cause,
            reason: reason.to_owned(),
            done: Some(done),
        };
        let asked = requests.send(request).await.is_ok();
        if !asked || started.await.is_err() {
            return Err(PoolError::ShutDown { pool: pool() });
        }
        Ok(())
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // Supervisors that have ended have unregistered their workers.
        if !self.tasks.get_mut().is_empty() {
            self.shared.forget_all();
        }
    }
}

/// Prepares the directory and names all sockets, so that a path that is too long is known before
/// anything runs.
fn sockets(config: &PoolConfig) -> Result<Vec<PathBuf>, PoolError> {
    let refuse = |source| PoolError::RunDir {
        pool: config.name.clone(),
        source,
    };
    socket_dir::ensure_private(&config.run_dir).map_err(refuse)?;
    let dir = std::path::absolute(&config.run_dir).unwrap_or_else(|_| config.run_dir.clone());
    (0..config.size)
        .map(|index| {
            let name = format!("{}.sock", worker_id(&config.name, index));
            socket_dir::socket_path(&dir, &name).map_err(refuse)
        })
        .collect()
}

/// Emits `pool.status` until the pool stops.
async fn report_status(
    shared: Arc<Shared>,
    mut stop: watch::Receiver<Option<tokio::time::Instant>>,
) {
    let mut ticks = tokio::time::interval(bounded(shared.config.status_interval));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // The first tick is immediate: a status of workers that had no chance to be ready tells
    // nothing.
    ticks.tick().await;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stop.changed() => return,
        }
        let status = shared.status();
        shared.events.status(Occupancy {
            available: status.available_workers,
            busy: status.busy_workers,
            queued: status.queue_depth,
            total: u64::try_from(status.workers.len()).unwrap_or(u64::MAX),
        });
    }
}
