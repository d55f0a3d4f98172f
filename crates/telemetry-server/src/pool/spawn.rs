//! Starts one worker process: finds the program, prepares the environment and the socket path,
//! spawns it in a process group of its own, and holds that group until it is gone.
//!
//! Knows the operating system; knows neither the manager nor restarts.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, ChildStderr, Command};

use super::config::{PoolConfig, Transport};
use super::error::PoolError;

/// A program that was found, with everything that is equal for all workers of a pool.
#[derive(Debug, Clone)]
pub(super) struct Program {
    /// Absolute: the child resolves it after it changed to its own directory.
    path: PathBuf,
}

impl Program {
    /// Finds the pool's program and checks that it can be executed.
    pub(super) fn find(config: &PoolConfig) -> Result<Self, PoolError> {
        if let Some(cwd) = config.cwd.as_deref().filter(|cwd| !cwd.is_dir()) {
            return Err(PoolError::NoWorkingDirectory {
                pool: config.name.clone(),
                path: cwd.to_owned(),
            });
        }
        let command = &config.command[0];
        if command.contains('/') {
            // A relative program is meant as seen from the workers' directory, as a shell would.
            let path = config.cwd.as_deref().unwrap_or(Path::new("")).join(command);
            return Self::check(config, std::path::absolute(&path).unwrap_or(path));
        }
        let search = search_path(config);
        for dir in env::split_paths(&search).filter(|dir| !dir.as_os_str().is_empty()) {
            let candidate = dir.join(command);
            if is_executable(&candidate) {
                return Ok(Self {
                    path: std::path::absolute(&candidate).unwrap_or(candidate),
                });
            }
        }
        Err(PoolError::CommandNotFound {
            pool: config.name.clone(),
            command: command.clone(),
            path: search.to_string_lossy().into_owned(),
        })
    }

    fn check(config: &PoolConfig, path: PathBuf) -> Result<Self, PoolError> {
        if !path.exists() {
            return Err(PoolError::CommandNotFound {
                pool: config.name.clone(),
                command: path.to_string_lossy().into_owned(),
                path: search_path(config).to_string_lossy().into_owned(),
            });
        }
        if !is_executable(&path) {
            return Err(PoolError::NotExecutable {
                pool: config.name.clone(),
                path,
            });
        }
        Ok(Self { path })
    }
}

/// `PATH` as the worker will see it.
fn search_path(config: &PoolConfig) -> OsString {
    let configured = config.env.iter().rev().find(|(key, _)| key == "PATH");
    configured.map_or_else(
        || env::var_os("PATH").unwrap_or_default(),
        |(_, value)| OsStr::new(value).to_owned(),
    )
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// A worker process that was started. Dropping it kills its whole process group.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    group: Group,
    /// Process id, known also after the exit.
    pub(super) pid: u32,
    /// When it was started.
    pub(super) started: Instant,
    /// Its stderr, until somebody takes it.
    pub(super) stderr: Option<ChildStderr>,
}

impl Process {
    /// Starts `worker` with its socket at `socket`. A socket file that an earlier process left
    /// there is removed.
    pub(super) fn start(
        config: &PoolConfig,
        program: &Program,
        worker: &str,
        socket: &Path,
    ) -> io::Result<Self> {
        match fs::remove_file(socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut command = Command::new(&program.path);
        // What we were told ourselves is not meant for them.
        for inherited in ["TELEMETRY_BACKEND", "TELEMETRY_MANAGER"] {
            command.env_remove(inherited);
        }
        command
            .arg0(&config.command[0])
            .args(&config.command[1..])
            .envs(environment(config, worker, socket))
            .envs(config.env.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::inherit())
            .stderr(Stdio::piped())
            // Of its own: a Ctrl-C at our terminal must not reach workers before they are drained,
            // and a stop must reach what the worker started itself.
            .process_group(0)
            .kill_on_drop(true);
        if let Some(cwd) = &config.cwd {
            command.current_dir(cwd);
        }
        let mut child = command.spawn()?;
        let pid = child
            .id()
            .ok_or_else(|| io::Error::other("the process has no id"))?;
        let group = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let stderr = child.stderr.take();
        Ok(Self {
            child,
            group: Group(group),
            pid,
            started: Instant::now(),
            stderr,
        })
    }

    /// Waits for the exit. May be cancelled and called again.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Asks the whole group to end.
    pub(super) fn terminate(&self) {
        self.group.signal(Signal::TERM);
    }

    /// Ends the whole group at once.
    pub(super) fn kill(&self) {
        self.group.signal(Signal::KILL);
    }
}

/// A process group that does not outlive this value.
#[derive(Debug)]
struct Group(Option<Pid>);

impl Group {
    fn signal(&self, signal: Signal) {
        // ESRCH, the only error that can be met here, says that nobody is left to be signalled.
        if let Some(group) = self.0 {
            let _nobody_left = kill_process_group(group, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// What a worker is told through its environment.
fn environment(config: &PoolConfig, worker: &str, socket: &Path) -> Vec<(&'static str, OsString)> {
    let telemetry = &config.telemetry;
    let mut address = OsString::from("unix:");
    address.push(socket);
    let way = match (telemetry.transport, &config.manager) {
        // It dials in if it can, and else serves at its address.
        (Transport::Stream, Some(manager)) => ("TELEMETRY_MANAGER", manager.to_string().into()),
        (Transport::Stream, None) => ("TELEMETRY_BACKEND", "server".into()),
        (Transport::Stderr, _) => ("TELEMETRY_BACKEND", "stderr".into()),
    };
    let mut all = vec![
        way,
        ("TELEMETRY_ADDRESS", address),
        ("TELEMETRY_WORKER_ID", worker.into()),
        ("TELEMETRY_POOL", OsString::from(&config.name)),
        (
            "TELEMETRY_SAMPLING_RATE",
            telemetry.sampling_rate.to_string().into(),
        ),
    ];
    if let Some(events) = telemetry.max_buffer {
        all.push(("TELEMETRY_MAX_BUFFER", events.to_string().into()));
    }
    if !telemetry.excluded_events.is_empty() {
        all.push(("TELEMETRY_DENY", telemetry.excluded_events.join(",").into()));
    }
    if let Some(interval) = telemetry.resource_interval {
        let millis = interval.as_millis().to_string();
        all.push(("TELEMETRY_RESOURCE_INTERVAL_MS", millis.into()));
    }
    if !telemetry.enabled {
        all.push(("TELEMETRY_DISABLED", "1".into()));
    }
    all
}
