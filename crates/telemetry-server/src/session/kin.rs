//! Whether the process behind a socket is the worker that was started, or somebody who took its place.
//!
//! A worker's command may start the worker: a shell, a wrapper, a server that forks. So everybody counts
//! who descends from the process that was started, or is in its process group or session, or lives in
//! other process numbers than ours, as in a container, where nothing can be told. Where there is no
//! `/proc`, nothing is known, and nobody is refused.

use std::fs;

use tokio::task::spawn_blocking;

/// How many ancestors are asked for.
const MAX_DEPTH: usize = 64;

/// What the system tells of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lineage {
    parent: u32,
    group: u32,
    session: u32,
}

/// Whether `peer` may be the worker that was started as process `started`. Reads `/proc`.
fn is_kin(peer: u32, started: u32) -> bool {
    if peer == started || peer == 0 {
        return true;
    }
    let Some(first) = lineage(peer) else {
        // It is gone, or nobody tells.
        return true;
    };
    if is_elsewhere(peer) {
        return true;
    }
    let mut lineage_of = first;
    for _ in 0..MAX_DEPTH {
        let Lineage {
            parent,
            group,
            session,
        } = lineage_of;
        if [parent, group, session].contains(&started) {
            return true;
        }
        match lineage(parent) {
            Some(next) if parent > 1 => lineage_of = next,
            _ => return false,
        }
    }
    false
}

/// Whether a process runs.
pub(super) async fn lives(pid: u32) -> bool {
    // It fails only together with the runtime.
    spawn_blocking(move || is_alive(pid)).await.unwrap_or(false)
}

/// Whether `peer` may be the worker that was started as process `started`.
pub(super) async fn may_be(peer: u32, started: u32) -> bool {
    let looked = spawn_blocking(move || is_kin(peer, started));
    looked.await.unwrap_or(true)
}

/// Whether a process runs. Reads `/proc`; where there is none, nothing runs as far as is known.
fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    let state = |stat: &str| {
        Some(
            stat.rsplit_once(')')?
                .1
                .trim_start()
                .starts_with(['Z', 'X']),
        )
    };
    stat.is_ok_and(|stat| state(&stat) == Some(false))
}

/// Whether it lives in other process numbers than ours.
fn is_elsewhere(pid: u32) -> bool {
    let numbers = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    match (numbers(&pid.to_string()), numbers("self")) {
        (Some(theirs), Some(ours)) => theirs != ours,
        _ => false,
    }
}

fn lineage(pid: u32) -> Option<Lineage> {
    read(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn read(stat: &str) -> Option<Lineage> {
    // The name before it may hold anything, parentheses included.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(1);
    let mut next = || fields.next()?.parse().ok();
    Some(Lineage {
        parent: next()?,
        group: next()?,
        session: next()?,
    })
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn names_with_parentheses_hide_nothing() {
        let lineage = read("12 (a) b) S 3 4 5 0 -1").unwrap();
        assert_eq!((lineage.parent, lineage.group, lineage.session), (3, 4, 5));
        assert_eq!(read("12 (a) S 3"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_a_command_starts_is_its_kin_and_nobody_else() {
        // A shell in a group of its own, and a child of it.
        let mut shell = Command::new("sh")
            .args(["-c", "sleep 60 & echo $!; wait"])
            .process_group(0)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(shell.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        let child: u32 = line.trim().parse().unwrap();
        let mut other = Command::new("sleep");
        let mut other = other.arg("60").process_group(0).spawn().unwrap();
        assert!(is_alive(shell.id()));
        assert!(is_kin(shell.id(), shell.id()));
        assert!(is_kin(child, shell.id()));
        assert!(!is_kin(other.id(), shell.id()));
        assert!(!is_kin(std::process::id(), shell.id()));
        // What its parent left behind is still in its group.
        shell.kill().unwrap();
        let _exit = shell.wait().unwrap();
        assert!(!is_alive(shell.id()));
        assert!(is_kin(child, shell.id()));
        let group = rustix::process::Pid::from_raw(i32::try_from(shell.id()).unwrap()).unwrap();
        rustix::process::kill_process_group(group, rustix::process::Signal::KILL).unwrap();
        other.kill().unwrap();
        let _exit = other.wait().unwrap();
    }
}
