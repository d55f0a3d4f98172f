//! The life of one worker: start, watch, replace, restart after a crash, stop. One task per worker,
//! one loop.
//!
//! Decides when; `spawn` and `stop` know how. The worker's id and socket stay the same through all
//! its processes.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use telemetry_core::random_u64;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, sleep_until};

use super::Shared;
use super::config::Transport;
use super::error::PoolError;
use super::events::{Succession, Termination};
use super::spawn::Process;
use super::status::{WorkerState, describe_exit};
use super::stop;
use crate::deadline::{deadline, share_of};

/// How long a worker may take to send what it holds before it is told to end.
const DRAIN_PATIENCE: Duration = Duration::from_secs(1);
/// The signal that cannot be handled.
const SIGKILL: i32 = 9;
/// Signals that ask a process to end, and that whoever ends us may send to its workers as well.
const ASKED_BY: [i32; 2] = [2, 15];
/// How long a worker that was asked to end by somebody else may have been asked before us.
const TOLD_TOGETHER: Duration = Duration::from_millis(300);
/// Early part of `max_lifetime` in which a worker may be replaced, so that workers of one age do
/// not all go at once.
const LIFETIME_SPREAD: f64 = 0.1;

/// Something the pool's handle asks of one worker.
#[derive(Debug)]
pub(super) struct Replace {
    pub(super) cause: Cause,
    pub(super) reason: String,
    /// Told when the successor was started.
    pub(super) done: Option<oneshot::Sender<()>>,
}

/// Why a worker is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    Recycled,
    Tainted,
}

/// A running process and the task that reads its stderr.
#[derive(Debug)]
pub(super) struct Live {
    process: Process,
    stderr: JoinHandle<()>,
}

/// What ended the watch over a process.
enum End {
    Exited(io::Result<ExitStatus>),
    Replace(Replace),
    Stop,
}

/// A process that is gone, as its successor needs to know it.
struct Gone {
    pid: u32,
    at: Instant,
    reason: String,
}

/// Supervises one worker.
#[derive(Debug)]
pub(super) struct Supervisor {
    pool: Arc<Shared>,
    index: usize,
    worker: String,
    socket: PathBuf,
    requests: mpsc::Receiver<Replace>,
    /// `Some(deadline)` once the pool shuts down.
    stop: watch::Receiver<Option<tokio::time::Instant>>,
    /// The worker has been ready, or has ended, at least once.
    settled: bool,
}

impl Supervisor {
    pub(super) fn new(
        pool: Arc<Shared>,
        index: usize,
        socket: PathBuf,
        requests: mpsc::Receiver<Replace>,
        stop: watch::Receiver<Option<tokio::time::Instant>>,
    ) -> Self {
        let worker = pool.worker_id(index);
        Self {
            pool,
            index,
            worker,
            socket,
            requests,
            stop,
            settled: false,
        }
    }

    /// Starts a process for the worker and registers it with the manager.
    pub(super) fn launch(&self) -> Result<Live, PoolError> {
        let pool = &*self.pool;
        pool.events.spawn_started(&self.worker);
        let began = Instant::now();
        let launched = self.try_launch(began);
        if let Err(error) = &launched {
            let failures = pool.update(self.index, |slot| {
                slot.failures = slot.failures.saturating_add(1);
                slot.failures
            });
            pool.events.spawn_failed(
                &self.worker,
                began.elapsed(),
                &error.to_string(),
                failures - 1,
            );
        }
        launched
    }

    fn try_launch(&self, began: Instant) -> Result<Live, PoolError> {
        let pool = &*self.pool;
        let config = &pool.config;
        let mut process = Process::start(config, &pool.program, &self.worker, &self.socket)
            .map_err(|source| PoolError::Spawn {
                pool: config.name.clone(),
                worker: self.worker.clone(),
                command: config.command[0].clone(),
                source,
            })?;
        let pid = process.pid;
        let took = process.started.duration_since(began);
        pool.update(self.index, |slot| {
            slot.state = WorkerState::Starting;
            slot.pid = Some(pid);
            slot.started = Some(process.started);
        });
        pool.events.spawned(&self.worker, took, pid, pool.mode());
        if self.streams() {
            pool.link
                .register(&self.worker, &config.name, &self.socket, pid)
                .map_err(|problem| PoolError::Register {
                    pool: config.name.clone(),
                    worker: self.worker.clone(),
                    problem,
                })?;
        }
        let stderr = pool.read_stderr(self.index, &self.worker, pid, process.stderr.take());
        Ok(Live { process, stderr })
    }

    fn streams(&self) -> bool {
        let telemetry = &self.pool.config.telemetry;
        telemetry.enabled && telemetry.transport == Transport::Stream
    }

    /// Runs until the pool stops, beginning with a process that was launched.
    pub(super) async fn run(mut self, mut live: Live) {
        loop {
            let end = self.watch(&mut live).await;
            self.settle();
            let (gone, asker, crashed) = match end {
                End::Stop => {
                    self.retire(live, "shutdown").await;
                    break;
                }
                End::Replace(replace) => {
                    let reason = &replace.reason;
                    match replace.cause {
                        Cause::Recycled => self.pool.events.recycled(&self.worker, reason),
                        Cause::Tainted => self.pool.events.tainted(&self.worker, reason),
                    }
                    (self.retire(live, reason).await, replace.done, false)
                }
                End::Exited(exit) => (self.bury(live, exit).await, None, true),
            };
            match self.succeed(gone, asker, crashed).await {
                Some(successor) => live = successor,
                None => break,
            }
        }
        if self.streams() {
            self.pool.link.unregister(&self.worker).await;
        }
        self.pool
            .update(self.index, |slot| slot.state = WorkerState::Stopped);
    }

    /// Waits for whatever ends this process, or its usefulness.
    async fn watch(&mut self, live: &mut Live) -> End {
        let started = live.process.started;
        let config = &self.pool.config;
        let lifetime = config
            .max_lifetime
            .map(|age| share_of(age, early(random_u64())));
        let healthy = config.restart.healthy_after;
        let (streams, pool, worker) = (self.streams(), &self.pool, &self.worker);
        let streaming = async {
            if streams {
                pool.link.streaming(worker).await;
            }
        };
        tokio::pin!(streaming);
        let mut ready = false;
        let mut recovered = false;
        loop {
            tokio::select! {
                biased;
                () = asked_to_stop(&mut self.stop) => return End::Stop,
                exit = live.process.wait() => {
                    if exit.as_ref().is_ok_and(may_be_asked) && told_together(&mut self.stop).await {
                        return End::Stop;
                    }
                    return End::Exited(exit);
                }
                Some(replace) = self.requests.recv() => return End::Replace(replace),
                () = &mut streaming, if !ready => {
                    ready = true;
                    self.pool.update(self.index, |slot| slot.state = WorkerState::Ready);
                    self.pool.events.ready(&self.worker, started.elapsed(), live.process.pid);
                    if !self.settled {
                        self.settled = true;
                        self.pool.settle_one();
                    }
                }
                () = sleep(healthy.saturating_sub(started.elapsed())), if !recovered => {
                    recovered = true;
                    self.pool.update(self.index, |slot| slot.failures = 0);
                }
                () = sleep(lifetime.unwrap_or_default().saturating_sub(started.elapsed())),
                    if lifetime.is_some() =>
                {
                    let reason = "max_lifetime".to_owned();
                    return End::Replace(Replace { cause: Cause::Recycled, reason, done: None });
                }
            }
        }
    }

    fn settle(&mut self) {
        if !self.settled {
            self.settled = true;
            self.pool.settle_one();
        }
    }

    /// Ends a process that was not at fault: it may finish its work first.
    async fn retire(&self, mut live: Live, reason: &str) -> Gone {
        self.pool
            .update(self.index, |slot| slot.state = WorkerState::Draining);
        let grace = deadline(self.pool.config.grace);
        let mut stop = self.stop.clone();
        let patience = async {
            tokio::select! {
                () = sleep_until(grace) => {}
                () = stopped(&mut stop) => {}
            }
        };
        let drained = self.drain(&mut live).await;
        let exit = stop::stop(&mut live.process, live.stderr, patience).await;
        // Who had to be killed may have had something in its hands.
        let killed = |exit: &ExitStatus| exit.signal() == Some(SIGKILL);
        let in_order = drained && exit.as_ref().is_ok_and(|exit| !killed(exit));
        self.ended(&live.process, exit, reason, Some(in_order))
    }

    /// Has the worker send what it holds before it is told to end, so that nothing of it dies with a
    /// process that handles no signal. Only the process that the pool started is drained; what that
    /// started goes on until its own end.
    async fn drain(&self, live: &mut Live) -> bool {
        if !self.streams() {
            return false;
        }
        let patience = DRAIN_PATIENCE.min(self.pool.config.grace);
        let mut stop = self.stop.clone();
        tokio::select! {
            drained = self.pool.link.drain(&self.worker, patience) => drained,
            _ended_by_itself = live.process.wait() => false,
            () = stopped(&mut stop) => false,
        }
    }

    /// Takes leave of a process that ended unasked.
    async fn bury(&self, live: Live, exit: io::Result<ExitStatus>) -> Gone {
        stop::clear(&live.process, live.stderr).await;
        let lived_well = live.process.started.elapsed() >= self.pool.config.restart.healthy_after;
        self.pool.update(self.index, |slot| {
            slot.state = WorkerState::Backoff;
            slot.failures = if lived_well {
                1
            } else {
                slot.failures.saturating_add(1)
            };
        });
        let reason = exit
            .as_ref()
            .map_or_else(ToString::to_string, |exit| describe_exit(*exit));
        self.pool.events.crashed(&self.worker, &reason);
        self.ended(&live.process, exit, &reason, None)
    }

    /// The process is gone. `drained`: of one that was asked to end, whether it had sent all before.
    fn ended(
        &self,
        process: &Process,
        exit: io::Result<ExitStatus>,
        reason: &str,
        drained: Option<bool>,
    ) -> Gone {
        if self.streams() {
            self.pool.link.ended(&self.worker, drained == Some(true));
        }
        let lifetime = process.started.elapsed();
        let described = exit
            .as_ref()
            .map_or_else(ToString::to_string, |exit| describe_exit(*exit));
        let commands = self.pool.update(self.index, |slot| {
            slot.pid = None;
            slot.started = None;
            slot.last_exit = Some(described);
            std::mem::take(&mut slot.commands)
        });
        self.pool.events.terminated(
            &self.worker,
            &Termination {
                lifetime,
                commands,
                pid: process.pid,
                reason,
                planned: drained.is_some(),
                exit_code: exit.ok().and_then(|exit| exit.code()),
            },
        );
        Gone {
            pid: process.pid,
            at: Instant::now(),
            reason: reason.to_owned(),
        }
    }

    /// Starts the successor, after the restart delay when there was a failure. `None` when the pool
    /// stops first.
    async fn succeed(
        &mut self,
        gone: Gone,
        asker: Option<oneshot::Sender<()>>,
        mut failed: bool,
    ) -> Option<Live> {
        let mut askers = Vec::from_iter(asker);
        loop {
            if self.stop.borrow().is_some() {
                return None;
            }
            if failed {
                let failures = self.pool.update(self.index, |slot| {
                    slot.state = WorkerState::Backoff;
                    slot.failures
                });
                let delay = self.pool.config.restart.delay(failures, random_u64());
                tokio::select! {
                    () = sleep(delay) => {}
                    // Whoever asks for a new process now need not wait for the delay.
                    Some(replace) = self.requests.recv() => askers.extend(replace.done),
                    () = asked_to_stop(&mut self.stop) => return None,
                }
            }
            match self.launch() {
                Ok(live) => {
                    self.announce(&live, &gone);
                    for asker in askers {
                        // Whoever asked may have stopped waiting.
                        let _asker_left = asker.send(());
                    }
                    return Some(live);
                }
                Err(error) => {
                    tracing::warn!(%error, "worker did not start; trying again");
                    failed = true;
                }
            }
        }
    }

    fn announce(&self, live: &Live, gone: &Gone) {
        let restarts = self.pool.update(self.index, |slot| {
            slot.restarts += 1;
            slot.restarts
        });
        self.pool.events.restarted(
            &self.worker,
            &Succession {
                downtime: gone.at.elapsed(),
                restarts,
                previous_pid: gone.pid,
                new_pid: live.process.pid,
                reason: &gone.reason,
            },
        );
    }
}

/// Resolves once the pool shuts down, or is gone.
async fn asked_to_stop(stop: &mut watch::Receiver<Option<tokio::time::Instant>>) {
    let _gone_is_stopped_too = stop.wait_for(Option::is_some).await.is_ok();
}

/// Whether this is how a process ends that was asked to, by a signal it handles or not.
fn may_be_asked(exit: &ExitStatus) -> bool {
    let by = exit.signal().or_else(|| exit.code().map(|code| code - 128));
    exit.success() || by.is_some_and(|signal| ASKED_BY.contains(&signal))
}

/// Waits a moment whether the pool is to stop as well. A service manager that ends a whole control
/// group signals one process after the other, in no particular order.
async fn told_together(stop: &mut watch::Receiver<Option<tokio::time::Instant>>) -> bool {
    tokio::time::timeout(TOLD_TOGETHER, asked_to_stop(stop))
        .await
        .is_ok()
}

/// Resolves at the deadline of the pool's shutdown, never while there is none.
async fn stopped(stop: &mut watch::Receiver<Option<tokio::time::Instant>>) {
    asked_to_stop(stop).await;
    let deadline = *stop.borrow();
    if let Some(deadline) = deadline {
        sleep_until(deadline).await;
    }
}

/// Fraction of the lifetime after which to replace a worker, given a random draw.
fn early(draw: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit an f64 exactly")]
    let fraction = (draw >> 11) as f64 / (1_u64 << 53) as f64;
    LIFETIME_SPREAD.mul_add(-fraction, 1.0)
}

/// Longest a stop may take beyond its deadline: SIGKILL cannot be refused, but has to be observed.
pub(super) const STOP_SLACK: Duration = Duration::from_secs(2);
