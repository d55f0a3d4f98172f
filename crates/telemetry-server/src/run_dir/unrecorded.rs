//! Processes of an earlier manager that no record names: those that were started in the moment in which it
//! died, and those whose record could not be written, such as on a full file system.
//!
//! A worker leads a process group and not a session. Its stderr is the worker's file in the directory, or
//! its environment names its socket there. What a worker left behind in a session of its own is no worker.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use super::{WorkerRecord, stderr_file};
use crate::accounts::Process;

/// Ticks in a second, in what Linux shows to programs.
const TICKS: f64 = 100.0;
/// Milliseconds from SIGTERM to SIGKILL for a process of which nothing was written down.
const GRACE_MS: u64 = 5_000;

/// Now, in ticks since the machine was started; 0 where the system does not tell.
pub(crate) fn now_ticks() -> u64 {
    let told = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds = told.split(' ').next().and_then(|it| it.parse::<f64>().ok());
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an uptime is a positive number of some digits"
    )]
    seconds.map_or(0, |seconds| (seconds * TICKS) as u64)
}

/// How long ago something began, which whoever sets the clock does not change.
pub(super) fn since(began: u64) -> Duration {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a constant without a fraction"
    )]
    let tick = Duration::from_millis(1_000 / TICKS as u64);
    let ticks = now_ticks().saturating_sub(began);
    tick.saturating_mul(u32::try_from(ticks).unwrap_or(u32::MAX))
}

/// The processes of workers of `directory` that no record names: announced ones, of which the rest is
/// known, and others. The `recorded` are not looked for.
pub(super) fn find(
    directory: &Path,
    boot_id: &str,
    mut announced: HashMap<String, WorkerRecord>,
    recorded: &HashSet<String>,
) -> Vec<WorkerRecord> {
    let files = stderr_files(directory);
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let numbers = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut oldest: HashMap<String, (u64, u32)> = HashMap::new();
    for pid in numbers.filter(|pid| is_led(*pid)) {
        let Some(worker) = by_stderr(pid, &files).or_else(|| by_socket(pid, directory)) else {
            continue;
        };
        let Some(process) = Process::of(pid).filter(|_| !recorded.contains(&worker)) else {
            continue;
        };
        // The announcement may have been in the same tick, and both are rounded.
        let since = announced.get(&worker).map_or(0, |record| record.began);
        if process.began() + 1 < since {
            continue;
        }
        let candidate = (process.began(), pid);
        let oldest = oldest.entry(worker).or_insert(candidate);
        *oldest = candidate.min(*oldest);
    }
    let complete = |(worker, (began, pid)): (String, (u64, u32))| {
        let record = announced.remove(&worker);
        let mut record = record.unwrap_or_else(|| unknown(directory, boot_id, worker));
        (record.pid, record.began) = (pid, began);
        record
    };
    oldest.into_iter().map(complete).collect()
}

/// What there is to say of a worker of which nothing was written down.
fn unknown(directory: &Path, boot_id: &str, worker: String) -> WorkerRecord {
    let (pool, index) = worker.rsplit_once('-').unwrap_or((&worker, ""));
    WorkerRecord {
        boot_id: boot_id.to_owned(),
        pool: pool.to_owned(),
        index: index.parse().unwrap_or(0),
        pid: 0,
        began: 0,
        digest: String::new(),
        stderr: stderr_file(directory, &worker),
        restarts: 0,
        grace_ms: GRACE_MS,
        ends_with_manager: false,
        worker,
    }
}

/// Device and number of a file.
type Inode = (u64, u64);

fn inode(of: &Metadata) -> Inode {
    (of.dev(), of.ino())
}

/// The workers whose stderr goes to files of the directory.
fn stderr_files(directory: &Path) -> HashMap<Inode, String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let file = |entry: fs::DirEntry| {
        let name = entry.file_name();
        let worker = name.to_str()?.strip_suffix(".stderr")?.to_owned();
        Some((inode(&entry.metadata().ok()?), worker))
    };
    entries.filter_map(file).collect()
}

fn by_stderr(pid: u32, files: &HashMap<Inode, String>) -> Option<String> {
    let stderr = fs::metadata(format!("/proc/{pid}/fd/2")).ok()?;
    files.get(&inode(&stderr)).cloned()
}

/// The worker that the process was told to be, at its socket in the directory and in its pool.
fn by_socket(pid: u32, directory: &Path) -> Option<String> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let value = |start: &[u8]| {
        let mut variables = environment.split(|byte| *byte == 0);
        variables.find_map(|variable| variable.strip_prefix(start))
    };
    let worker = str::from_utf8(value(b"TELEMETRY_WORKER_ID=")?).ok()?;
    let pool = str::from_utf8(value(b"TELEMETRY_POOL=")?).ok()?;
    let (named, _index) = worker.rsplit_once('-')?;
    let socket = Path::new(OsStr::from_bytes(value(b"TELEMETRY_ADDRESS=unix:")?));
    let is_ours = named == pool && socket == directory.join(format!("{worker}.sock"));
    is_ours.then(|| worker.to_owned())
}

/// Whether it leads a group and no session, as what a pool starts does.
fn is_led(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name before them may hold anything; then state, parent, group, session.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let mut fields = fields.split_whitespace().skip(2);
    let mut is_it = || fields.next().and_then(|field| field.parse().ok()) == Some(pid);
    is_it() && !is_it()
}
