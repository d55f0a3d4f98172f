//! The pool's own events, one function each, with the measurements and metadata that the catalog
//! lists.
//!
//! Knows the dispatcher and nothing of processes. Every event carries `pool_name`, events about a
//! worker `worker_id`.

use std::sync::Arc;
use std::time::Duration;

use telemetry_core::{Source, ValueRef};

use crate::dispatch::Dispatcher;

/// Emits the events of one pool.
#[derive(Debug, Clone)]
pub(super) struct PoolEvents {
    dispatcher: Dispatcher,
    /// Our node and the pool.
    source: Source,
    /// What runs, for `worker_module`.
    module: Arc<str>,
}

/// Numbers of a `pool.status` event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Occupancy {
    pub(super) available: u64,
    pub(super) busy: u64,
    pub(super) queued: u64,
    pub(super) total: u64,
}

/// A process that ended.
#[derive(Debug)]
pub(super) struct Termination<'a> {
    pub(super) lifetime: Duration,
    pub(super) commands: u64,
    pub(super) pid: u32,
    pub(super) reason: &'a str,
    pub(super) planned: bool,
    /// `None` when a signal ended it.
    pub(super) exit_code: Option<i32>,
}

/// A process that took the place of another.
#[derive(Debug)]
pub(super) struct Succession<'a> {
    pub(super) downtime: Duration,
    pub(super) restarts: u64,
    pub(super) previous_pid: u32,
    pub(super) new_pid: u32,
    pub(super) reason: &'a str,
}

type Measurements<'a> = &'a [(&'a str, ValueRef<'a>)];
type Metadata<'a> = &'a [(&'a str, &'a str)];

impl PoolEvents {
    pub(super) fn new(dispatcher: &Dispatcher, pool: &str, command: &[String]) -> Self {
        let source = Source {
            pool_name: Some(pool.into()),
            ..dispatcher.own_source().clone()
        };
        Self {
            dispatcher: dispatcher.clone(),
            source,
            module: module(command).into(),
        }
    }

    pub(super) fn init_started(&self, mode: &str) {
        self.of_pool(
            "snakepit.pool.init_started",
            &[self.system_time()],
            &[("mode", mode)],
        );
    }

    pub(super) fn initialized(&self, took: Duration, size: usize) {
        self.of_pool(
            "snakepit.pool.initialized",
            &[("duration", ValueRef::nanos(took)), self.system_time()],
            &[
                ("size", &size.to_string()),
                ("adapter_module", &self.module),
                ("worker_module", &self.module),
            ],
        );
    }

    pub(super) fn init_complete(&self, took: Duration, workers: u64, mode: &str) {
        self.of_pool(
            "snakepit.pool.init_complete",
            &[
                ("duration", ValueRef::nanos(took)),
                ("total_workers", count(workers)),
            ],
            &[("mode", mode)],
        );
    }

    pub(super) fn status(&self, now: Occupancy) {
        self.of_pool(
            "snakepit.pool.status",
            &[
                ("available_workers", count(now.available)),
                ("busy_workers", count(now.busy)),
                ("queue_depth", count(now.queued)),
                ("total_workers", count(now.total)),
            ],
            &[],
        );
    }

    pub(super) fn spawn_started(&self, worker: &str) {
        self.of_worker(
            "snakepit.pool.worker.spawn_started",
            worker,
            &[self.system_time()],
            &[("worker_module", &self.module)],
        );
    }

    pub(super) fn spawned(&self, worker: &str, took: Duration, pid: u32, mode: &str) {
        self.of_worker(
            "snakepit.pool.worker.spawned",
            worker,
            &[("duration", ValueRef::nanos(took)), self.system_time()],
            &[("worker_pid", &pid.to_string()), ("mode", mode)],
        );
    }

    pub(super) fn ready(&self, worker: &str, took: Duration, pid: u32) {
        self.of_worker(
            "snakepit.pool.worker_ready",
            worker,
            &[("duration", ValueRef::nanos(took))],
            &[("python_pid", &pid.to_string())],
        );
    }

    pub(super) fn spawn_failed(&self, worker: &str, took: Duration, reason: &str, retries: u32) {
        self.of_worker(
            "snakepit.pool.worker.spawn_failed",
            worker,
            &[("duration", ValueRef::nanos(took))],
            &[("reason", reason), ("retry_count", &retries.to_string())],
        );
    }

    pub(super) fn terminated(&self, worker: &str, end: &Termination<'_>) {
        let pid = end.pid.to_string();
        let code = end.exit_code.map(|code| code.to_string());
        let mut metadata = vec![
            ("worker_pid", pid.as_str()),
            ("reason", end.reason),
            ("planned", if end.planned { "true" } else { "false" }),
        ];
        metadata.extend(code.as_deref().map(|code| ("exit_code", code)));
        self.of_worker(
            "snakepit.pool.worker.terminated",
            worker,
            &[
                ("lifetime", ValueRef::nanos(end.lifetime)),
                ("total_commands", count(end.commands)),
            ],
            &metadata,
        );
    }

    /// Both events of a restart: the pool's, with pids and downtime, and the worker's, which
    /// counts.
    pub(super) fn restarted(&self, worker: &str, succession: &Succession<'_>) {
        self.of_worker(
            "snakepit.pool.worker.restarted",
            worker,
            &[
                ("downtime", ValueRef::nanos(succession.downtime)),
                ("restart_count", count(succession.restarts)),
            ],
            &[
                ("previous_pid", &succession.previous_pid.to_string()),
                ("new_pid", &succession.new_pid.to_string()),
                ("reason", succession.reason),
            ],
        );
        self.counted("snakepit.worker.restarted", worker, succession.reason);
    }

    pub(super) fn recycled(&self, worker: &str, reason: &str) {
        self.counted("snakepit.worker.recycled", worker, reason);
    }

    pub(super) fn crashed(&self, worker: &str, reason: &str) {
        self.counted("snakepit.worker.crash", worker, reason);
    }

    pub(super) fn tainted(&self, worker: &str, reason: &str) {
        self.counted("snakepit.worker.tainted", worker, reason);
    }

    fn counted(&self, name: &str, worker: &str, reason: &str) {
        self.of_worker(
            name,
            worker,
            &[("count", ValueRef::Int(1))],
            &[("reason", reason)],
        );
    }

    fn of_pool(&self, name: &str, measurements: Measurements<'_>, metadata: Metadata<'_>) {
        self.emit(&self.source, name, measurements, metadata);
    }

    fn of_worker(
        &self,
        name: &str,
        worker: &str,
        measurements: Measurements<'_>,
        metadata: Metadata<'_>,
    ) {
        let source = Source {
            worker_id: Some(worker.into()),
            ..self.source.clone()
        };
        self.emit(&source, name, measurements, metadata);
    }

    fn emit(
        &self,
        source: &Source,
        name: &str,
        measurements: Measurements<'_>,
        metadata: Metadata<'_>,
    ) {
        if let Err(error) = self
            .dispatcher
            .emit_for(source, name, measurements, metadata)
        {
            tracing::error!(%error, "the catalog lacks an event of the pool");
        }
    }

    fn system_time(&self) -> (&'static str, ValueRef<'static>) {
        (
            "system_time",
            ValueRef::Int(self.dispatcher.clock().unix_nanos()),
        )
    }
}

fn count(number: u64) -> ValueRef<'static> {
    ValueRef::Int(i64::try_from(number).unwrap_or(i64::MAX))
}

/// What a command runs, in one word: the script or module of a Python command, else the program.
fn module(command: &[String]) -> &str {
    let program = command.first().map_or("", |path| file_name(path));
    if !program.starts_with("python") {
        return program;
    }
    let mut arguments = command[1..].iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "-m" => return arguments.next().map_or(program, String::as_str),
            "-c" => return program,
            flag if flag.starts_with('-') => {}
            script => return file_name(script),
        }
    }
    program
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::module;

    #[test]
    fn module_is_what_runs() {
        let check = |command: &[&str], expected: &str| {
            let command: Vec<String> = command.iter().map(ToString::to_string).collect();
            assert_eq!(module(&command), expected, "{command:?}");
        };
        check(&["/usr/bin/worker", "x"], "worker");
        check(&["python3", "-u", "dir/worker.py", "--fast"], "worker.py");
        check(
            &["/venv/bin/python", "-m", "package.worker"],
            "package.worker",
        );
        check(&["python3", "-c", "import os"], "python3");
        check(&["python3"], "python3");
    }
}
