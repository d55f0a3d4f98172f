//! What one manager writes down of its workers' processes for the next: a file for each worker, so that
//! a start or an end costs one small file however many there are.
//!
//! A record is written whole (another name, then a rename). It holds a process by its number, the time
//! it began and the start of the machine; together they name one process.

use std::collections::{HashMap, HashSet};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::unrecorded;

/// End of a record's file name.
const SUFFIX: &str = ".state";
/// End of its name until it is written.
const UNFINISHED: &str = ".state-new";
/// Longest record that is read.
const MAX_BYTES: u64 = 64 * 1024;

/// A worker's process, as the next manager needs to know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WorkerRecord {
    /// Which start of the machine.
    pub(crate) boot_id: String,
    /// The worker's id.
    pub(crate) worker: String,
    /// Its pool.
    pub(crate) pool: String,
    /// Its number in the pool, from 1.
    pub(crate) index: usize,
    /// Its process, which leads a group of the same number; 0 of one that is about to be started.
    pub(crate) pid: u32,
    /// When that began, in ticks since the machine was started; before the start, when it was announced.
    pub(crate) began: u64,
    /// What it runs: see `Program::digest`. Empty of a process that no record named.
    pub(crate) digest: String,
    /// Where its stderr goes.
    pub(crate) stderr: PathBuf,
    /// Processes before it.
    pub(crate) restarts: u64,
    /// Milliseconds it may take from SIGTERM to its end.
    pub(crate) grace_ms: u64,
    /// Whether it is told to end when its manager does.
    pub(crate) ends_with_manager: bool,
}

impl WorkerRecord {
    /// How long ago its process began, whatever was done to the clock since.
    pub(crate) fn age(&self) -> Duration {
        unrecorded::since(self.began)
    }
}

/// This start of the machine; empty where the system does not tell.
pub(super) fn boot_id() -> String {
    let told = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    told.trim().to_owned()
}

/// The processes of an earlier manager: all records of a directory that are of this start of the machine, and
/// what is found without one. Other records are removed.
pub(super) fn load(directory: &Path, boot_id: &str) -> HashMap<String, WorkerRecord> {
    let mut found = HashMap::new();
    let mut announced = HashMap::new();
    let Ok(entries) = fs::read_dir(directory) else {
        return found;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else {
            continue;
        };
        if name.ends_with(UNFINISHED) {
            let _removed_meanwhile = fs::remove_file(entry.path()).is_err();
        }
        let Some(worker) = name.strip_suffix(SUFFIX) else {
            continue;
        };
        match read(&entry.path()) {
            Ok(record) if record.worker == worker && record.boot_id == boot_id => {
                let known = match record.pid {
                    0 => &mut announced,
                    _ => &mut found,
                };
                known.insert(worker.to_owned(), record);
            }
            Ok(_of_another_time) => remove(directory, worker),
            Err(error) => {
                tracing::warn!(path = ?entry.path(), %error, "a record of a worker is not readable");
            }
        }
    }
    let names: Vec<String> = announced.keys().cloned().collect();
    let recorded: HashSet<String> = found.keys().cloned().collect();
    for record in unrecorded::find(directory, boot_id, announced, &recorded) {
        found.insert(record.worker.clone(), record);
    }
    for worker in names.iter().filter(|name| !found.contains_key(*name)) {
        remove(directory, worker);
    }
    found
}

fn read(path: &Path) -> io::Result<WorkerRecord> {
    if fs::metadata(path)?.len() > MAX_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

/// Writes a record in the place of an earlier one.
pub(super) fn write(directory: &Path, record: &WorkerRecord) -> io::Result<()> {
    let mut text = serde_json::to_vec(record)?;
    text.push(b'\n');
    // Not the suffix of a record: what was not finished is none.
    let unfinished = directory.join(format!("{}{UNFINISHED}", record.worker));
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&unfinished)
        .and_then(|mut file| file.write_all(&text))
        .and_then(|()| {
            let finished = directory.join(format!("{}{SUFFIX}", record.worker));
            fs::rename(&unfinished, finished)
        });
    if written.is_err() {
        let _never_there = fs::remove_file(&unfinished).is_err();
    }
    written
}

/// Removes a record, if there is one.
pub(super) fn remove(directory: &Path, worker: &str) {
    let path = directory.join(format!("{worker}{SUFFIX}"));
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(?path, %error, "a record of a worker cannot be removed");
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(worker: &str, boot_id: &str) -> WorkerRecord {
        WorkerRecord {
            boot_id: boot_id.into(),
            worker: worker.into(),
            pool: "p".into(),
            index: 1,
            pid: 7,
            began: 8,
            digest: "d".into(),
            stderr: "/run/x/p-1.stderr".into(),
            restarts: 1,
            grace_ms: 2,
            ends_with_manager: false,
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn process_that_was_only_announced_is_found_by_its_stderr() {
        use std::os::unix::process::CommandExt;
        use std::process::Command;

        let directory = tempfile::tempdir().unwrap();
        let sleeper = |worker: &str| {
            let stderr = directory.path().join(format!("{worker}.stderr"));
            let announced = WorkerRecord {
                pid: 0,
                began: unrecorded::now_ticks(),
                stderr: stderr.clone(),
                ..record(worker, "now")
            };
            let child = Command::new("sleep")
                .arg("1000")
                .stderr(fs::File::create(stderr).unwrap())
                .process_group(0)
                .spawn()
                .unwrap();
            (announced, child)
        };
        let (announced, mut child) = sleeper("p-1");
        write(directory.path(), &announced).unwrap();
        let (later, mut earlier_child) = sleeper("p-2");
        let began = later.began + 1_000;
        write(directory.path(), &WorkerRecord { began, ..later }).unwrap();
        let found = load(directory.path(), "now");
        child.kill().unwrap();
        earlier_child.kill().unwrap();
        let _exits = (child.wait().unwrap(), earlier_child.wait().unwrap());
        assert_eq!(
            found.len(),
            1,
            "one that began before its announcement is another one: {found:?}"
        );
        assert_eq!(found["p-1"].pid, child.id());
        assert!(found["p-1"].began + 1 >= announced.began);
    }

    /// Session of a process: 0 if its leader is outside of our process namespace, as it is of a command
    /// that was brought into a container.
    #[cfg(target_os = "linux")]
    fn session(pid: u32) -> Option<u32> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let (_name, fields) = stat.rsplit_once(')')?;
        fields.split_whitespace().nth(3)?.parse().ok()
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn process_of_which_nothing_was_written_is_found_and_what_left_its_session_is_not() {
        use std::os::unix::process::CommandExt;
        use std::process::{Command, Stdio};

        let directory = tempfile::tempdir().unwrap();
        let stderr = fs::File::create(directory.path().join("my-p-7.stderr")).unwrap();
        let socket = format!("unix:{}/p-2.sock", directory.path().display());
        let sleeper = || {
            let mut command = Command::new("sleep");
            command.arg("1000").process_group(0);
            command
        };
        let mut children = [
            sleeper().stderr(stderr).spawn().unwrap(),
            sleeper()
                .env("TELEMETRY_ADDRESS", &socket)
                .env("TELEMETRY_WORKER_ID", "p-2")
                .env("TELEMETRY_POOL", "p")
                .stderr(Stdio::null())
                .spawn()
                .unwrap(),
            Command::new("setsid")
                .args(["sleep", "1000"])
                .stderr(fs::File::create(directory.path().join("p-3.stderr")).unwrap())
                .spawn()
                .unwrap(),
        ];
        while session(children[2].id()) != Some(children[2].id()) {
            std::thread::yield_now();
        }
        let found = load(directory.path(), "now");
        for child in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert_eq!(found.len(), 2, "{found:?}");
        let (by_stderr, by_socket) = (&found["my-p-7"], &found["p-2"]);
        assert_eq!((by_stderr.pool.as_str(), by_stderr.index), ("my-p", 7));
        assert_eq!(by_stderr.pid, children[0].id());
        assert_eq!(by_socket.pid, children[1].id());
        assert!(by_socket.age() < Duration::from_secs(600), "{found:?}");
    }

    #[test]
    fn what_could_not_be_finished_is_removed_and_what_was_is_ours_alone() {
        use std::os::unix::fs::PermissionsExt;

        let directory = tempfile::tempdir().unwrap();
        // Nothing can be put in the place of a directory that is not empty.
        fs::create_dir_all(directory.path().join("p-1.state/x")).unwrap();
        write(directory.path(), &record("p-1", "now")).unwrap_err();
        assert!(!directory.path().join("p-1.state-new").exists());
        write(directory.path(), &record("p-2", "now")).unwrap();
        let written = fs::metadata(directory.path().join("p-2.state")).unwrap();
        assert_eq!(written.permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn records_of_this_start_of_the_machine_are_found_again() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), &record("p-1", "now")).unwrap();
        write(directory.path(), &record("p-2", "before")).unwrap();
        fs::write(directory.path().join("p-3.state"), "{").unwrap();
        fs::write(directory.path().join("p-4.state-new"), "{").unwrap();
        let found = load(directory.path(), "now");
        assert_eq!(found.len(), 1);
        assert_eq!(found["p-1"], record("p-1", "now"));
        assert!(!directory.path().join("p-2.state").exists());
        assert!(!directory.path().join("p-4.state-new").exists());
        remove(directory.path(), "p-1");
        assert!(load(directory.path(), "now").is_empty());
    }
}
