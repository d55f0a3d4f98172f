//! What one manager writes down of its workers' processes for the next: a file for each worker, so that
//! a start or an end costs one small file however many there are.
//!
//! A record is written whole (another name, then a rename). It holds a process by its number, the time
//! it began and the start of the machine; together they name one process.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::unrecorded;

/// End of a record's file name.
const SUFFIX: &str = ".state";
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
    /// When that began, milliseconds since the Unix epoch.
    pub(crate) started_ms: u64,
    /// What it runs: see `Program::digest`.
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

/// This start of the machine; empty where the system does not tell.
pub(super) fn boot_id() -> String {
    let told = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    told.trim().to_owned()
}

/// All records of a directory that are of this start of the machine; others are removed.
pub(super) fn load(directory: &Path, boot_id: &str) -> HashMap<String, WorkerRecord> {
    let mut found = HashMap::new();
    let mut announced = Vec::new();
    let Ok(entries) = fs::read_dir(directory) else {
        return found;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(worker) = name.to_str().and_then(|name| name.strip_suffix(SUFFIX)) else {
            continue;
        };
        match read(&entry.path()) {
            Ok(record) if record.worker == worker && record.boot_id == boot_id => {
                match record.pid {
                    0 => announced.push(record),
                    _ => drop(found.insert(record.worker.clone(), record)),
                }
            }
            Ok(_of_another_time) => remove(directory, worker),
            Err(error) => {
                tracing::warn!(path = ?entry.path(), %error, "a record of a worker is not readable");
            }
        }
    }
    let names: Vec<String> = announced.iter().map(|it| it.worker.clone()).collect();
    for record in unrecorded::find(announced) {
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
    let unfinished = directory.join(format!("{}.state-new", record.worker));
    fs::write(&unfinished, text)?;
    fs::rename(
        unfinished,
        directory.join(format!("{}{SUFFIX}", record.worker)),
    )
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
            started_ms: 9,
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
        remove(directory.path(), "p-1");
        assert!(load(directory.path(), "now").is_empty());
    }
}
