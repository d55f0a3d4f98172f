//! Processes that were started in the moment in which their manager died: announced, but not written down.
//!
//! Before a start a record without a process is written. Whoever finds one looks for a leader of a group
//! that began since then and whose stderr is the worker's file, which nobody else opens.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use rustix::process::{Pid, getpgid};

use super::WorkerRecord;
use crate::accounts::Process;

/// Ticks in a second, in what Linux shows to programs.
const TICKS: f64 = 100.0;

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

/// Completes announced records by the processes that are found for them; others are left out.
pub(super) fn find(announced: Vec<WorkerRecord>) -> Vec<WorkerRecord> {
    let mut by_file: HashMap<PathBuf, WorkerRecord> = announced
        .into_iter()
        .filter_map(|record| Some((fs::canonicalize(&record.stderr).ok()?, record)))
        .collect();
    let mut found: Vec<WorkerRecord> = Vec::new();
    if by_file.is_empty() {
        return found;
    }
    let Ok(entries) = fs::read_dir("/proc") else {
        return found;
    };
    let numbers = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut oldest: HashMap<PathBuf, (u64, u32)> = HashMap::new();
    for pid in numbers {
        let Ok(file) = fs::read_link(format!("/proc/{pid}/fd/2")) else {
            continue;
        };
        let Some(record) = by_file.get(&file) else {
            continue;
        };
        let Some(process) = Process::of(pid).filter(|_| leads_group(pid)) else {
            continue;
        };
        // The announcement may have been in the same tick, and both are rounded.
        if process.began() + 1 < record.began {
            continue;
        }
        let candidate = (process.began(), pid);
        let oldest = oldest.entry(file).or_insert(candidate);
        *oldest = candidate.min(*oldest);
    }
    for (file, (began, pid)) in oldest {
        if let Some(mut record) = by_file.remove(&file) {
            (record.pid, record.began) = (pid, began);
            found.push(record);
        }
    }
    found
}

fn leads_group(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| getpgid(Some(pid)) == Ok(pid))
}
