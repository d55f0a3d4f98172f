//! The process group that a worker leads: everything it started, as long as that did not leave.
//!
//! The number of a group means it only while its leader was not reaped, or while others are in it. So a
//! group is signalled before its leader is reaped, never after.

use std::fs;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::time::sleep;

use crate::accounts::Process;

/// First and longest pause between two looks at whether a group is empty.
const PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(200));

/// The last look at all processes: when it began, and the groups of those that run, with their numbers.
static LOOK: Mutex<Option<(Instant, Vec<Member>)>> = Mutex::new(None);

/// A process that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Member {
    pid: u32,
    group: u32,
}

/// Signals the group of `leader`, which must not have been reaped by us.
pub(super) fn signal(leader: u32, signal: Signal) {
    let group = i32::try_from(leader).ok().and_then(Pid::from_raw);
    // ESRCH, the only error that can be met here, says that nobody is left to be signalled.
    if let Some(group) = group {
        let _nobody_left = kill_process_group(group, signal);
    }
}

/// Signals the group of a leader that others reap. While a process of a group is there, the system gives
/// its number to no other; so the group is not this one's only if another process has the number.
pub(super) fn signal_adopted(leader: Process, pid: u32, which: Signal) {
    let is_ours = Process::of(pid).is_none_or(|now| now == leader);
    if is_ours {
        signal(pid, which);
    }
}

/// Waits until nobody but the leader is in its group.
pub(super) async fn emptied(leader: u32) {
    let (mut pause, longest) = PAUSES;
    loop {
        let asked = Instant::now();
        let looked = tokio::task::spawn_blocking(move || has_others(leader, asked)).await;
        // It can only fail together with the runtime.
        if !looked.unwrap_or(false) {
            return;
        }
        sleep(pause).await;
        pause = (pause * 2).min(longest);
    }
}

/// Whether somebody else is in the group of `leader`, at a look that began after `asked`. Many who ask at
/// the same time share one look.
fn has_others(leader: u32, asked: Instant) -> bool {
    let mut look = LOOK.lock().unwrap_or_else(PoisonError::into_inner);
    let members = match &mut *look {
        Some((began, members)) if *began >= asked => members,
        old => {
            let began = Instant::now();
            &mut old.insert((began, running())).1
        }
    };
    members
        .iter()
        .any(|member| member.group == leader && member.pid != leader)
}

/// All processes that the system shows and that have not ended.
fn running() -> Vec<Member> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        member(pid, &stat)
    })
    .collect()
}

fn member(pid: u32, stat: &str) -> Option<Member> {
    // The name before it may hold anything, parentheses included.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    // State, parent, group.
    let group = fields.nth(1)?.parse().ok()?;
    Some(Member { pid, group })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn member_is_read_behind_any_name() {
        let stat = "7 (a) S b) S 1 5 5 0 -1";
        assert_eq!(member(7, stat), Some(Member { pid: 7, group: 5 }));
        assert_eq!(member(7, "7 (a) Z 1 5 5"), None);
    }
}
