//! Starts one worker process: finds the program, prepares the environment and the socket path, and
//! spawns it in a process group of its own.
//!
//! Knows the operating system; knows neither the manager nor restarts.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use rustix::process::Signal;

use super::config::{OnManagerExit, PoolConfig, Transport};
use super::error::PoolError;
use super::group;
use super::tail::{is_full, reserve};
use crate::accounts;
use crate::descriptors::give_back_limit;
use crate::orphans::Awaited;

/// Mode of the files that stderr goes to.
const STDERR_MODE: u32 = 0o600;
/// What a worker with a stream is told again by its manager whenever that connects: a change of it needs
/// no new process.
const TOLD_LATER: [&str; 2] = ["TELEMETRY_SAMPLING_RATE", "TELEMETRY_DENY"];
/// What was told to this process and is not meant for those that it starts.
const NOT_INHERITED: [&str; 6] = [
    "TELEMETRY_BACKEND",
    "TELEMETRY_MANAGER",
    "NOTIFY_SOCKET",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
];

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

impl Program {
    /// What `worker` runs, in a few characters: equal for two managers that would start it alike. The
    /// 64-bit FNV-1a hash of its program, arguments, directory, environment as configured, and of
    /// whether it ends with its manager. What else the environment of a manager holds is not in it.
    pub(super) fn digest(&self, config: &PoolConfig, worker: &str, socket: &Path) -> String {
        let mut hash = Fnv::default();
        hash.add(self.path.as_os_str());
        config.command.iter().for_each(|word| hash.add(word));
        hash.add(config.cwd.as_deref().unwrap_or(Path::new("")));
        hash.add(format!("{:?}", config.on_manager_exit));
        let is_told_later = |key: &&str| {
            config.telemetry.transport == Transport::Stream && TOLD_LATER.contains(key)
        };
        for (key, value) in environment(config, worker, socket) {
            if !is_told_later(&key) {
                hash.add(key);
                hash.add(value);
            }
        }
        for (key, value) in &config.env {
            hash.add(key);
            hash.add(value);
        }
        format!("{:016x}", hash.0)
    }
}

/// The 64-bit FNV-1a hash: <http://www.isthe.com/chongo/tech/comp/fnv/>.
#[derive(Debug)]
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    /// Adds a text and its end.
    fn add(&mut self, text: impl AsRef<OsStr>) {
        for byte in text.as_ref().as_bytes().iter().chain(&[0]) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
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

/// A child, for which nobody else may wait.
#[derive(Debug)]
pub(super) struct OwnChild {
    pub(super) child: Child,
    /// Says so.
    _awaited: Awaited,
}

impl OwnChild {
    /// Starts it.
    pub(super) fn start(command: &mut Command) -> io::Result<Self> {
        let (child, awaited) = Awaited::start(|| {
            let child = command.spawn()?;
            let pid = child.id();
            Ok((child, pid))
        })?;
        Ok(Self {
            child,
            _awaited: awaited,
        })
    }
}

/// A process that was started. Dropping it kills its whole process group.
#[derive(Debug)]
pub(super) struct Spawned {
    /// Absent once somebody took it.
    child: Option<OwnChild>,
    pid: u32,
    pub(super) started: Instant,
}

impl Spawned {
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// When it began, in ticks since the machine was started; 0 where the system does not tell, and of one
    /// that has ended already.
    pub(super) fn began(&self) -> u64 {
        accounts::Process::of(self.pid).map_or(0, accounts::Process::began)
    }

    /// Whoever takes it answers for it.
    pub(super) fn take(mut self) -> Option<OwnChild> {
        self.child.take()
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        if let Some(mut own) = self.child.take() {
            group::signal(self.pid, Signal::KILL);
            let _reaped = own.child.wait().is_ok();
        }
    }
}

/// Where a worker's stderr goes.
#[derive(Debug)]
pub(super) enum StderrPlace {
    /// A pipe, which ends with this program.
    Pipe,
    /// This file, which does not; a pipe if there is no space for it.
    File(PathBuf),
}

/// Starts `worker` with its socket at `socket`, in a process group of its own. A socket file that an
/// earlier process left there is removed. Waits for the system; see `spawner` for the thread to do so.
pub(super) fn start(
    config: &PoolConfig,
    program: &Program,
    worker: &str,
    socket: &Path,
    stderr: &StderrPlace,
) -> io::Result<Spawned> {
    match fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(at("remove", socket, &error));
        }
        _ => {}
    }
    let stderr = match stderr {
        StderrPlace::Pipe => Stdio::piped(),
        StderrPlace::File(path) => match open_stderr(path) {
            Ok(file) => Stdio::from(file),
            Err(error) if is_full(&error) => {
                tracing::warn!(
                    worker,
                    ?path,
                    "run_dir is full: this process of the worker writes stderr to a pipe, which ends with us"
                );
                Stdio::piped()
            }
            Err(error) => return Err(at("open", path, &error)),
        },
    };
    let mut command = command(config, program);
    for inherited in NOT_INHERITED {
        command.env_remove(inherited);
    }
    command
        .envs(environment(config, worker, socket))
        .envs(config.env.iter().map(|(key, value)| (key, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::inherit())
        .stderr(stderr)
        // Of its own: a Ctrl-C at our terminal must not reach workers before they are drained,
        // and a stop must reach what the worker started itself.
        .process_group(0);
    if let Some(cwd) = &config.cwd {
        command.current_dir(cwd);
    }
    let started = Instant::now();
    let own = OwnChild::start(&mut command)?;
    let pid = own.child.id();
    give_back_limit(pid);
    Ok(Spawned {
        pid,
        child: Some(own),
        started,
    })
}

/// The file for stderr, with space for what is written first.
fn open_stderr(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(STDERR_MODE)
        .open(path)?;
    reserve(&file)?;
    Ok(file)
}

/// An error that says at which file it was met.
fn at(action: &str, path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot {action} {path:?}: {error}"))
}

/// The program, or the shim that becomes it.
fn command(config: &PoolConfig, program: &Program) -> Command {
    let (name, arguments) = (&config.command[0], &config.command[1..]);
    match (config.on_manager_exit, &config.exec_shim) {
        (OnManagerExit::Stop, Some(shim)) => {
            let mut command = Command::new(shim);
            command
                .args(["exec", "--parent", &std::process::id().to_string()])
                .args(["--arg0", name])
                .arg("--")
                .arg(&program.path)
                .args(arguments);
            command
        }
        _ => {
            let mut command = Command::new(&program.path);
            command.arg0(name).args(arguments);
            command
        }
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
