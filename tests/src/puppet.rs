//! The test's hold on a `puppet` process: tells it what to emit and asks for its ledger.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value as Json;
use telemetry_server::pool::PoolConfig;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use crate::manager::POOL;
use crate::patience::{PATIENCE, within};

/// Between two attempts to reach a process that is starting.
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(5);

/// One running puppet.
#[derive(Debug)]
pub struct Puppet {
    connection: BufReader<UnixStream>,
    /// Its process id.
    pub pid: u32,
}

/// What became of emitted events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// Taken into the queue.
    pub accepted: u64,
    /// Neither emitted nor counted, because telemetry is off.
    pub off: u64,
    /// Dropped and counted.
    pub dropped: u64,
}

impl Told {
    /// All were accepted.
    #[must_use]
    pub const fn accepted(count: u64) -> Self {
        Self {
            accepted: count,
            off: 0,
            dropped: 0,
        }
    }

    /// All met telemetry that is off.
    #[must_use]
    pub const fn off(count: u64) -> Self {
        Self {
            accepted: 0,
            off: count,
            dropped: 0,
        }
    }

    fn read(answer: &Json) -> Self {
        let number = |key: &str| {
            answer[key]
                .as_u64()
                .unwrap_or_else(|| panic!("no number {key} in {answer}"))
        };
        Self {
            accepted: number("accepted"),
            off: number("off"),
            dropped: number("dropped"),
        }
    }
}

/// A pool [`POOL`] of one puppet run by `program`, with its socket under `dir`.
#[must_use]
pub fn puppet_pool(program: &str, dir: &Path) -> PoolConfig {
    let mut config = PoolConfig::new(POOL, [program], dir.join("run"));
    config.restart.base = Duration::from_millis(1);
    config.restart.cap = Duration::from_millis(20);
    config
}

impl Puppet {
    /// The process of worker `worker` of a pool made by [`puppet_pool`] with this `dir`, once it
    /// takes orders. `before` is a process that is gone or going; only another one will do.
    pub async fn of(dir: &Path, worker: &str, before: Option<u32>) -> Self {
        let path = dir.join("run").join(format!("{worker}.sock.orders"));
        within(
            &format!("a puppet at {}", path.display()),
            Self::reach(path, before),
        )
        .await
    }

    async fn reach(path: PathBuf, before: Option<u32>) -> Self {
        loop {
            if let Ok(stream) = UnixStream::connect(&path).await {
                let mut puppet = Self {
                    connection: BufReader::new(stream),
                    pid: 0,
                };
                // A process that is just being killed may still have taken the connection.
                let pid = match puppet.try_order("ledger").await {
                    Some(answer) => answer["pid"]
                        .as_u64()
                        .and_then(|pid| u32::try_from(pid).ok()),
                    None => None,
                };
                if let Some(pid) = pid.filter(|pid| Some(*pid) != before) {
                    puppet.pid = pid;
                    return puppet;
                }
            }
            tokio::time::sleep(BETWEEN_ATTEMPTS).await;
        }
    }

    /// Has it emit `count` events of one name.
    pub async fn emit(&mut self, name: &str, count: u64) -> Told {
        Told::read(&self.order(&format!("emit {name} {count}")).await)
    }

    /// Has it emit one event: an object with `name`, `measurements`, `metadata`, `correlation_id`.
    pub async fn event(&mut self, event: &Json) -> Told {
        Told::read(&self.order(&format!("event {event}")).await)
    }

    /// What became of the events it emitted at its start.
    pub async fn at_start(&mut self) -> Told {
        Told::read(&self.order("ledger").await["at_start"])
    }

    /// Its ledger, as JSON: `emitted`, `accepted`, `sent`, `queued`, and `dropped` by reason.
    pub async fn ledger(&mut self) -> Json {
        self.order("ledger").await["ledger"].take()
    }

    /// Kills it as `kill -9` does.
    ///
    /// # Panics
    ///
    /// When there is no such process.
    pub fn kill(&self) {
        let pid = i32::try_from(self.pid)
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        let killed =
            pid.map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::KILL));
        assert_eq!(killed, Some(Ok(())), "process {}", self.pid);
    }

    async fn order(&mut self, order: &str) -> Json {
        let answer = tokio::time::timeout(PATIENCE, self.try_order(order)).await;
        let answer = answer.ok().flatten();
        let answer = answer.unwrap_or_else(|| panic!("puppet {} did not answer {order}", self.pid));
        assert!(answer.get("error").is_none(), "{answer}");
        answer
    }

    async fn try_order(&mut self, order: &str) -> Option<Json> {
        let line = format!("{order}\n");
        self.connection
            .get_mut()
            .write_all(line.as_bytes())
            .await
            .ok()?;
        let mut answer = String::new();
        self.connection.read_line(&mut answer).await.ok()?;
        serde_json::from_str(&answer).ok()
    }
}
