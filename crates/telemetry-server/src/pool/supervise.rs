//! The life of one worker: start, watch, replace, restart after a crash, stop. One task per worker,
//! one loop.
//!
//! Decides when; `spawn` and `stop` know how. The worker's id and socket stay the same through all
//! its processes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use telemetry_core::emit::random_u64;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, sleep_until, timeout};

use super::Shared;
use super::crash_log::{CrashLog, Kind};
use super::events::{Succession, Termination};
use super::exit::Exit;
use super::launch::Live;
use super::process::Process;
use super::status::{LastEnd, WorkerState};
use super::stop;
use crate::deadline::{deadline, share_of};

/// How long a worker may take to send what it holds before it is told to end.
const DRAIN_PATIENCE: Duration = Duration::from_secs(1);
/// How long to wait, after an end that a signal to all of us may have brought, for that signal to reach
/// us too.
const SHARED_SIGNAL: Duration = Duration::from_millis(300);
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

/// What ended the watch over a process.
enum End {
    Exited,
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
    pub(super) pool: Arc<Shared>,
    pub(super) index: usize,
    pub(super) worker: String,
    pub(super) socket: PathBuf,
    requests: mpsc::Receiver<Replace>,
    /// `Some(deadline)` once the pool shuts down.
    stop: watch::Receiver<Option<tokio::time::Instant>>,
    /// The worker has been ready, or has ended, at least once.
    settled: bool,
    crashes: CrashLog,
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
            crashes: CrashLog::default(),
        }
    }

    /// Runs until the pool stops, beginning with a process that was launched.
    pub(super) async fn run(mut self, mut live: Live) {
        loop {
            let end = match live.unfit.take() {
                Some(reason) => End::Replace(Replace {
                    cause: Cause::Recycled,
                    reason,
                    done: None,
                }),
                None => self.watch(&live).await,
            };
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
                End::Exited => match self.bury(live).await {
                    Some(gone) => (gone, None, true),
                    None => break,
                },
            };
            match self.succeed(gone, asker, crashed).await {
                Some(successor) => live = successor,
                None => break,
            }
        }
        if self.streams() {
            self.pool.link.unregister(&self.worker).await;
        }
        self.leave_no_file().await;
        self.pool
            .update(self.index, |slot| slot.state = WorkerState::Stopped);
    }

    /// Waits for whatever ends this process, or its usefulness.
    async fn watch(&mut self, live: &Live) -> End {
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
                () = live.process.exited() => return End::Exited,
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
        let drained = self.drain(&live).await;
        let (exit, timed_out) = stop::stop(&mut live.process, patience).await;
        live.stderr.finish().await;
        // Who had to be killed may have had something in its hands.
        let in_order = drained && !timed_out && !exit.is_killed();
        self.ended(&live.process, &exit, reason, Some(in_order))
            .await
    }

    /// Has the worker send what it holds before it is told to end, so that nothing of it dies with a
    /// process that handles no signal. Only the process that the pool started is drained; what that
    /// started goes on until its own end.
    async fn drain(&self, live: &Live) -> bool {
        if !self.streams() {
            return false;
        }
        let patience = DRAIN_PATIENCE.min(self.pool.config.grace);
        let mut stop = self.stop.clone();
        tokio::select! {
            drained = self.pool.link.drain(&self.worker, patience) => drained,
            () = live.process.exited() => false,
            () = stopped(&mut stop) => false,
        }
    }

    /// Takes leave of a process that ended unasked. `None` if the same signal ends the pool, so that
    /// nothing is wrong with the worker.
    async fn bury(&mut self, mut live: Live) -> Option<Gone> {
        let exit = stop::clear(&mut live.process).await;
        live.stderr.finish().await;
        let is_shared = exit.may_be_shared()
            && timeout(SHARED_SIGNAL, asked_to_stop(&mut self.stop))
                .await
                .is_ok();
        if is_shared {
            self.ended(&live.process, &exit, "shutdown", Some(false))
                .await;
            return None;
        }
        let lived_well = live.process.started.elapsed() >= self.pool.config.restart.healthy_after;
        let reason = self.describe(&exit).await;
        self.pool.events.crashed(&self.worker, &reason);
        let gone = self.ended(&live.process, &exit, &reason, None).await;
        self.pool.update(self.index, |slot| {
            slot.failures = if lived_well {
                1
            } else {
                slot.failures.saturating_add(1)
            };
        });
        let last = self.pool.slot(self.index).last.clone();
        self.crashes.note(&self.worker, Kind::Crash, &last);
        Some(gone)
    }

    /// The process is gone. `drained`: of one that was asked to end, whether it had sent all before.
    async fn ended(
        &self,
        process: &Process,
        exit: &Exit,
        reason: &str,
        drained: Option<bool>,
    ) -> Gone {
        if self.streams() {
            self.pool
                .link
                .ended(&self.worker, drained == Some(true))
                .await;
        }
        self.forget().await;
        let lifetime = process.started.elapsed();
        let last = LastEnd {
            exit: Some(drained.map_or_else(|| reason.to_owned(), |_| exit.describe())),
            planned: drained.is_some(),
            code: exit.code(),
            signal: exit.signal(),
            pid: Some(process.pid),
            stderr: self.pool.last_line(self.index),
        };
        let commands = self.pool.update(self.index, |slot| {
            // All at once: nobody may see the process that is gone as one that runs.
            if !last.planned {
                slot.state = WorkerState::Backoff;
            }
            slot.pid = None;
            slot.started = None;
            slot.adopted = false;
            slot.last = last;
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
                exit_code: exit.code(),
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
            match self.launch().await {
                Ok(live) => {
                    self.announce(&live, &gone);
                    for asker in askers {
                        // Whoever asked may have stopped waiting.
                        let _asker_left = asker.send(());
                    }
                    return Some(live);
                }
                Err(error) => {
                    let last = LastEnd {
                        exit: Some(format!("did not start: {error}")),
                        pid: Some(gone.pid),
                        ..LastEnd::default()
                    };
                    self.crashes.note(&self.worker, Kind::NoStart, &last);
                    self.pool.update(self.index, |slot| slot.last = last);
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

/// Longest a stop may take beyond its deadline: SIGKILL cannot be refused, but has to be observed, and what
/// was written to stderr is read.
pub(super) const STOP_SLACK: Duration = Duration::from_secs(3);
