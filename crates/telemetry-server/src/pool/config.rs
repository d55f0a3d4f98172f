//! What a pool is asked to run: plain values with documented defaults, checked once.
//!
//! Nothing here starts a process or touches the file system.

use std::fmt;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use telemetry_core::Address;

use super::PoolError;
use crate::deadline::share_of;
use crate::identity::Labels;

/// Workers of a pool that names no size.
pub const DEFAULT_SIZE: usize = 1;
/// Most workers one pool may have.
pub const MAX_SIZE: usize = 1_024;
/// How long a worker may take from SIGTERM to its exit before it is killed.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(5);
/// How often `pool.status` is emitted.
pub const DEFAULT_STATUS_INTERVAL: Duration = Duration::from_secs(10);
/// Upper bound of the first restart delay.
pub const DEFAULT_RESTART_BASE: Duration = Duration::from_millis(100);
/// Upper bound of every restart delay.
pub const DEFAULT_RESTART_CAP: Duration = Duration::from_secs(10);
/// A worker that ran this long starts again with the first delay.
pub const DEFAULT_HEALTHY_AFTER: Duration = Duration::from_secs(60);
/// Longest pool name in bytes; it becomes part of a file name and of every worker id.
pub const MAX_NAME_BYTES: usize = 64;

/// One named group of equal worker processes.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PoolConfig {
    /// Name of the pool: `[A-Za-z0-9_-]`, at most [`MAX_NAME_BYTES`]. Workers are called
    /// `{name}-{n}`, n from 1.
    pub name: String,
    /// Program and arguments. A program without `/` is searched for in `PATH`.
    pub command: Vec<String>,
    /// Number of workers, 1 to [`MAX_SIZE`].
    pub size: usize,
    /// Environment added to ours for every worker. It wins over what the pool sets itself.
    pub env: Vec<(String, String)>,
    /// Working directory of the workers; ours when absent.
    pub cwd: Option<PathBuf>,
    /// Directory of the workers' sockets. Created 0700 when absent, refused when others may enter
    /// it.
    pub run_dir: PathBuf,
    /// Where the workers, and the processes that they start, dial in. When absent they only serve, and are
    /// dialled. Not used by those that report over stderr.
    pub manager: Option<Address>,
    /// What all its workers are called beside their ids, for rules: at most [`MAX_LABELS`](crate::MAX_LABELS).
    pub labels: Labels,
    /// What the workers are told about their telemetry.
    pub telemetry: WorkerTelemetry,
    /// Time from SIGTERM to SIGKILL.
    pub grace: Duration,
    /// Age at which a worker is replaced by a new one; never when absent.
    pub max_lifetime: Option<Duration>,
    /// Time between two `pool.status` events.
    pub status_interval: Duration,
    /// Delays between an unexpected exit and the next start.
    pub restart: RestartDelays,
    /// Where the workers' stderr goes once its telemetry lines are taken out.
    pub stderr: StderrTarget,
    /// What becomes of the workers when this program dies. Not when it shuts the pool down or drops it,
    /// which ends them.
    pub on_manager_exit: OnManagerExit,
    /// For [`OnManagerExit::Stop`]: the program that sets the parent-death signal and then becomes the
    /// worker, which is the `telemetry` command.
    pub exec_shim: Option<PathBuf>,
}

impl PoolConfig {
    /// A pool of [`DEFAULT_SIZE`] workers that run `command`, with sockets under `run_dir`.
    pub fn new(
        name: impl Into<String>,
        command: impl IntoIterator<Item = impl Into<String>>,
        run_dir: impl Into<PathBuf>,
    ) -> Self {
        Self {
            name: name.into(),
            command: command.into_iter().map(Into::into).collect(),
            size: DEFAULT_SIZE,
            env: Vec::new(),
            cwd: None,
            run_dir: run_dir.into(),
            manager: None,
            labels: Labels::new(),
            telemetry: WorkerTelemetry::default(),
            grace: DEFAULT_GRACE,
            max_lifetime: None,
            status_interval: DEFAULT_STATUS_INTERVAL,
            restart: RestartDelays::default(),
            stderr: StderrTarget::Inherit,
            on_manager_exit: OnManagerExit::Keep,
            exec_shim: None,
        }
    }

    /// Whether `worker` is the id of one of its workers.
    #[cfg(feature = "config")]
    pub(crate) fn has(&self, worker: &str) -> bool {
        (0..self.size).any(|index| super::worker_id(&self.name, index) == worker)
    }

    /// Checks everything that can be checked without touching the system.
    ///
    /// # Errors
    /// [`PoolError::InvalidConfig`] with the pool, the setting, what is wrong and what is allowed.
    pub fn validate(&self) -> Result<(), PoolError> {
        let refuse = |setting: &'static str, problem: String| {
            Err(PoolError::InvalidConfig {
                pool: self.name.clone(),
                setting,
                problem,
            })
        };
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if self.name.is_empty() || self.name.len() > MAX_NAME_BYTES || !self.name.bytes().all(plain)
        {
            return refuse(
                "name",
                format!("use 1 to {MAX_NAME_BYTES} of the characters A-Z a-z 0-9 _ -"),
            );
        }
        if self.command.first().is_none_or(String::is_empty) {
            return refuse(
                "command",
                "name a program, e.g. [\"python3\", \"worker.py\"]".into(),
            );
        }
        if self.size == 0 || self.size > MAX_SIZE {
            return refuse(
                "size",
                format!("{} is not within 1 to {MAX_SIZE}", self.size),
            );
        }
        if let Some((key, _)) = self
            .env
            .iter()
            .find(|(key, _)| key.is_empty() || key.contains(['=', '\0']))
        {
            return refuse(
                "env",
                format!("{key:?} is no name of an environment variable"),
            );
        }
        let rate = self.telemetry.sampling_rate;
        if !(0.0..=1.0).contains(&rate) {
            return refuse("sampling_rate", format!("{rate} is not within 0 to 1"));
        }
        if self.status_interval.is_zero() {
            return refuse(
                "status_interval",
                "0 would never stop emitting; use e.g. 10s".into(),
            );
        }
        if self
            .max_lifetime
            .is_some_and(|age| age < Duration::from_secs(1))
        {
            return refuse(
                "max_lifetime",
                "less than 1s would only ever restart".into(),
            );
        }
        if self.restart.base.is_zero() || self.restart.base > self.restart.cap {
            return refuse(
                "restart",
                "the base delay must be above 0 and at most the cap".into(),
            );
        }
        if self.on_manager_exit == OnManagerExit::Stop && self.exec_shim.is_none() {
            return refuse(
                "on_manager_exit",
                "stop needs exec_shim, the path of the `telemetry` command, which has the system \
                 tell a worker of our end; or use keep"
                    .into(),
            );
        }
        Ok(())
    }
}

/// What becomes of workers whose manager dies, however it dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnManagerExit {
    /// They go on. The next manager with the same [`RunDir`](crate::pool::RunDir) adopts them.
    Keep,
    /// The system sends them SIGTERM.
    Stop,
}

/// How a spawned worker is told to emit: each field becomes one environment variable.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct WorkerTelemetry {
    /// False: `TELEMETRY_DISABLED=1`, the worker emits nothing and no stream is dialled.
    pub enabled: bool,
    /// The way events take to the manager.
    pub transport: Transport,
    /// Keep probability in `[0, 1]` that the worker starts with.
    pub sampling_rate: f64,
    /// Events the worker's queue holds; the worker's default when absent.
    pub max_buffer: Option<usize>,
    /// Patterns of wire names the worker drops.
    pub excluded_events: Vec<String>,
    /// Time between two memory and CPU samples; the worker's default when absent, zero switches
    /// them off.
    pub resource_interval: Option<Duration>,
}

impl Default for WorkerTelemetry {
    fn default() -> Self {
        Self {
            enabled: true,
            transport: Transport::Stream,
            sampling_rate: 1.0,
            max_buffer: None,
            excluded_events: Vec::new(),
            resource_interval: None,
        }
    }
}

/// The way a worker's events take to the manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Transport {
    /// The gRPC stream over the worker's own socket; it can be controlled.
    Stream,
    /// `TELEMETRY:` lines on stderr; one way, no control.
    Stderr,
}

/// Full-jitter exponential backoff between restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RestartDelays {
    /// Upper bound of the first delay; it doubles with each failure.
    pub base: Duration,
    /// Upper bound of all delays.
    pub cap: Duration,
    /// Running this long counts as healthy: the next delay is the first again.
    pub healthy_after: Duration,
}

impl Default for RestartDelays {
    fn default() -> Self {
        Self {
            base: DEFAULT_RESTART_BASE,
            cap: DEFAULT_RESTART_CAP,
            healthy_after: DEFAULT_HEALTHY_AFTER,
        }
    }
}

impl RestartDelays {
    /// Delay before the restart after `failures` failures in a row (from 1), given one random draw:
    /// uniform in `[0, min(cap, base · 2^(failures-1))]`, so that workers that died together do not
    /// start together.
    #[must_use]
    pub fn delay(&self, failures: u32, draw: u64) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let bound = self.base.saturating_mul(1_u32 << doublings).min(self.cap);
        // 53 bits of the draw: the fraction is exact in an f64.
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit an f64 exactly")]
        let fraction = (draw >> 11) as f64 / (1_u64 << 53) as f64;
        share_of(bound, fraction)
    }
}

/// Where the part of the workers' stderr goes that is not telemetry.
#[derive(Clone)]
#[non_exhaustive]
pub enum StderrTarget {
    /// To our own stderr, byte for byte.
    Inherit,
    /// To this writer, byte for byte; each write holds whole chunks of one worker.
    Writer(Arc<Mutex<dyn Write + Send>>),
}

impl fmt::Debug for StderrTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inherit => "Inherit",
            Self::Writer(_) => "Writer(..)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut PoolConfig)) -> String {
        let mut config = PoolConfig::new("pool", ["true"], "/run/x");
        change(&mut config);
        config.validate().expect_err("must be refused").to_string()
    }

    #[test]
    fn defaults_are_valid() {
        PoolConfig::new("pool", ["true"], "/run/x")
            .validate()
            .unwrap();
    }

    #[test]
    fn refusals_name_pool_setting_and_what_is_allowed() {
        assert_eq!(
            refused(|c| c.name = "a/b".into()),
            "pool \"a/b\": name: use 1 to 64 of the characters A-Z a-z 0-9 _ -"
        );
        assert_eq!(
            refused(|c| c.command.clear()),
            "pool \"pool\": command: name a program, e.g. [\"python3\", \"worker.py\"]"
        );
        assert_eq!(
            refused(|c| c.size = 0),
            "pool \"pool\": size: 0 is not within 1 to 1024"
        );
        assert_eq!(
            refused(|c| c.on_manager_exit = OnManagerExit::Stop),
            "pool \"pool\": on_manager_exit: stop needs exec_shim, the path of the `telemetry` command, \
             which has the system tell a worker of our end; or use keep"
        );
        assert_eq!(
            refused(|c| c.telemetry.sampling_rate = f64::NAN),
            "pool \"pool\": sampling_rate: NaN is not within 0 to 1"
        );
        assert_eq!(
            refused(|c| c.env.push(("A=B".into(), String::new()))),
            "pool \"pool\": env: \"A=B\" is no name of an environment variable"
        );
    }

    #[test]
    fn restart_delay_doubles_up_to_the_cap_and_is_jittered() {
        let delays = RestartDelays::default();
        assert_eq!(delays.delay(1, 0), Duration::ZERO);
        let most = |failures| delays.delay(failures, u64::MAX).as_millis();
        assert!((99..=100).contains(&most(1)), "{}", most(1));
        assert!((199..=200).contains(&most(2)), "{}", most(2));
        assert!((9_999..=10_000).contains(&most(30)), "{}", most(30));
        assert!(
            (9_999..=10_000).contains(&most(u32::MAX)),
            "{}",
            most(u32::MAX)
        );
    }
}
