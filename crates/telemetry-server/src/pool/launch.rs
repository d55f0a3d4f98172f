//! How a worker comes to its process: started, or taken over from an earlier manager.
//!
//! Decides nothing of when; that is `supervise`.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::Shared;
use super::config::{OnManagerExit, PoolConfig, Transport};
use super::error::PoolError;
use super::exit::Exit;
use super::output::{Reader, Source};
use super::process::Process;
use super::spawn::{self, Spawned, StderrPlace};
use super::spawner::on_spawner;
use super::status::WorkerState;
use super::supervise::Supervisor;
use super::tail::Tail;
use crate::run_dir::{RunDir, WorkerRecord, now_ticks};
use crate::socket_dir::ensure_private;

/// A running process and the task that reads its stderr.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) process: Process,
    pub(super) stderr: Reader,
    /// Why it is to be replaced at once, if it is.
    pub(super) unfit: Option<String>,
}

impl Supervisor {
    /// Takes over the worker's process of an earlier manager, if there is one.
    pub(super) async fn adopt(&self) -> Result<Option<Live>, PoolError> {
        let pool = &*self.pool;
        let Some(run_dir) = &pool.run_dir else {
            return Ok(None);
        };
        let Some(record) = run_dir.take(&self.worker) else {
            return Ok(None);
        };
        let Some(process) = Process::adopt(record.pid, record.began, record.age()) else {
            tracing::info!(
                worker = self.worker,
                pid = record.pid,
                "the process that an earlier manager started is gone; starting another one"
            );
            self.forget().await;
            return Ok(None);
        };
        let config = &pool.config;
        let unfit = if record.ends_with_manager {
            Some("its manager ended, and it was to end with it")
        } else if record.digest.is_empty() {
            Some("what it runs was not written down")
        } else if record.digest != pool.program.digest(config, &self.worker, &self.socket) {
            Some("its command, directory or environment was changed")
        } else {
            None
        };
        match unfit {
            None => tracing::info!(worker = self.worker, pid = process.pid, "adopted"),
            Some(reason) => tracing::info!(
                worker = self.worker,
                pid = process.pid,
                reason,
                "the process of an earlier manager is ended and replaced"
            ),
        }
        pool.update(self.index, |slot| {
            slot.state = WorkerState::Starting;
            slot.pid = Some(process.pid);
            slot.started = Some(process.started);
            slot.adopted = true;
            slot.restarts = record.restarts;
        });
        self.register(process.pid)?;
        let source = self.open(run_dir).await;
        let source = source.map_err(|error| self.refused(error))?;
        let stderr = self.read(process.pid, source);
        let unfit = unfit.map(str::to_owned);
        Ok(Some(Live {
            process,
            stderr,
            unfit,
        }))
    }

    /// Starts a process for the worker and registers it with the manager.
    pub(super) async fn launch(&self) -> Result<Live, PoolError> {
        let pool = &*self.pool;
        pool.events.spawn_started(&self.worker);
        let began = Instant::now();
        let launched = self.try_launch(began).await;
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

    async fn try_launch(&self, began: Instant) -> Result<Live, PoolError> {
        let pool = &*self.pool;
        let spawned = self.spawn().await.map_err(|error| self.refused(error))?;
        let started = spawned.started;
        let (process, stderr) = Process::spawned(spawned);
        let pid = process.pid;
        pool.update(self.index, |slot| {
            slot.state = WorkerState::Starting;
            slot.pid = Some(pid);
            slot.started = Some(started);
        });
        let took = started.duration_since(began);
        pool.events.spawned(&self.worker, took, pid, pool.mode());
        self.register(pid)?;
        let source = match (stderr, &pool.run_dir) {
            (Some(pipe), _) => Source::pipe(pipe),
            (None, Some(run_dir)) => self.open(run_dir).await,
            (None, None) => Err(io::Error::other("it has no stderr")),
        };
        let source = source.map_err(|error| self.refused(error))?;
        let stderr = self.read(pid, source);
        Ok(Live {
            process,
            stderr,
            unfit: None,
        })
    }

    /// Starts the process and writes it down.
    async fn spawn(&self) -> io::Result<Spawned> {
        let pool = Arc::clone(&self.pool);
        let (index, worker, socket) = (self.index, self.worker.clone(), self.socket.clone());
        on_spawner(move || {
            match &pool.run_dir {
                Some(run_dir) => run_dir.ensure().map_err(io::Error::other)?,
                None => ensure_private(&pool.config.run_dir).map_err(io::Error::other)?,
            }
            let place = match &pool.run_dir {
                Some(run_dir) => StderrPlace::File(run_dir.stderr_path(&worker)),
                None => StderrPlace::Pipe,
            };
            let mut record = match (&pool.run_dir, &place) {
                (Some(run_dir), StderrPlace::File(stderr)) => Some(WorkerRecord {
                    boot_id: run_dir.boot_id().to_owned(),
                    worker: worker.clone(),
                    pool: pool.config.name.clone(),
                    index: index + 1,
                    pid: 0,
                    began: now_ticks(),
                    digest: pool.program.digest(&pool.config, &worker, &socket),
                    stderr: stderr.clone(),
                    restarts: pool.slot(index).next_restarts(),
                    grace_ms: u64::try_from(pool.config.grace.as_millis()).unwrap_or(u64::MAX),
                    ends_with_manager: pool.config.on_manager_exit == OnManagerExit::Stop,
                }),
                _ => None,
            };
            // Announced first, so that it is found also if we die between its start and the record.
            let announced = pool.write_down(record.as_ref());
            let spawned = spawn::start(&pool.config, &pool.program, &worker, &socket, &place);
            if let (Some(record), Ok(spawned)) = (&mut record, &spawned) {
                (record.pid, record.began) = (spawned.pid(), spawned.began());
            }
            let spawned = spawned?;
            let written = pool.write_down(record.as_ref().filter(|record| record.pid != 0));
            if let Err(error) = announced.or(written) {
                tracing::warn!(
                    worker,
                    %error,
                    "a worker cannot be written down; a manager after us would replace its process"
                );
            }
            Ok(spawned)
        })
        .await?
    }

    /// Has the manager dial the worker, if it is to have a stream.
    fn register(&self, pid: u32) -> Result<(), PoolError> {
        if !self.streams() {
            return Ok(());
        }
        let config: &PoolConfig = &self.pool.config;
        let registered = self
            .pool
            .link
            .register(&self.worker, &config.name, &self.socket, pid);
        registered.map_err(|problem| PoolError::Register {
            pool: config.name.clone(),
            worker: self.worker.clone(),
            problem,
        })
    }

    pub(super) fn streams(&self) -> bool {
        let telemetry = &self.pool.config.telemetry;
        telemetry.enabled && telemetry.transport == Transport::Stream
    }

    /// The file that takes the worker's stderr, to be read from where it was read before.
    async fn open(&self, run_dir: &RunDir) -> io::Result<Source> {
        let path = run_dir.stderr_path(&self.worker);
        let grown = run_dir.appended(path.file_name().unwrap_or_default());
        let tail = tokio::task::spawn_blocking(move || Tail::open(&path));
        let tail = tail.await.map_err(io::Error::other)??;
        Ok(Source::File(Box::new(tail), grown))
    }

    fn read(&self, pid: u32, source: Source) -> Reader {
        let pool = &*self.pool;
        let pipeline = pool.link.capture(&self.worker, &pool.config.name, pid);
        let captured = Arc::clone(&pool.captured[self.index]);
        let target = pool.config.stderr.clone();
        Reader::start(source, &self.worker, pipeline, captured, target)
    }

    /// The worker has no process any more.
    pub(super) async fn forget(&self) {
        if let Some(run_dir) = self.pool.run_dir.clone() {
            let worker = self.worker.clone();
            let forgotten = tokio::task::spawn_blocking(move || run_dir.forget(&worker));
            // It can only fail together with the runtime.
            let _forgotten = forgotten.await.is_ok();
        }
    }

    /// How a process ended that was not asked to; names what may have been the cause of it.
    pub(super) async fn describe(&self, exit: &Exit) -> String {
        let ended = exit.describe();
        let Some(run_dir) = self.pool.run_dir.clone() else {
            return ended;
        };
        let looked = tokio::task::spawn_blocking(move || run_dir.is_full()).await;
        match looked {
            Ok(true) => format!("{ended} (run_dir is full: what it printed may have failed)"),
            _ => ended,
        }
    }

    /// The worker has no further process either.
    pub(super) async fn leave_no_file(&self) {
        if let Some(run_dir) = &self.pool.run_dir {
            let path = run_dir.stderr_path(&self.worker);
            let removed = tokio::task::spawn_blocking(move || std::fs::remove_file(path));
            // It may never have been written to.
            let _removed = removed.await.is_ok();
        }
    }

    fn refused(&self, source: io::Error) -> PoolError {
        let config = &self.pool.config;
        PoolError::Spawn {
            pool: config.name.clone(),
            worker: self.worker.clone(),
            command: config.command[0].clone(),
            source,
        }
    }
}

impl Shared {
    /// Writes a record, if there is one. Waits for the disk.
    fn write_down(&self, record: Option<&WorkerRecord>) -> io::Result<()> {
        match (&self.run_dir, record) {
            (Some(run_dir), Some(record)) => run_dir.remember(record),
            _ => Ok(()),
        }
    }
}
