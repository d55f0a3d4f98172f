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

/// From whom a process descends, as it was at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ancestry {
    /// The process and those before it, the nearest first, with their groups and sessions.
    line: Vec<Lineage>,
    pid: u32,
    /// Nothing can be told of it: it is gone, or lives in other process numbers than ours.
    is_hidden: bool,
}

impl Ancestry {
    /// Of the process with this id. Reads `/proc`.
    pub(crate) fn of(pid: u32) -> Self {
        let mut line = Vec::new();
        let mut next = lineage(pid);
        let is_hidden = next.is_none() || is_elsewhere(pid);
        while let Some(found) = next.take()
            && line.len() <= MAX_DEPTH
        {
            line.push(found);
            next = lineage(found.parent).filter(|_| found.parent > 1);
        }
        Self {
            line,
            pid,
            is_hidden,
        }
    }

    /// Of a process that is simulated.
    #[cfg(feature = "simulation")]
    pub(crate) fn simulated(pid: u32) -> Self {
        let mut line = Vec::new();
        let mut next = crate::simulated::parent(pid);
        while let Some(parent) = next.take()
            && line.len() <= MAX_DEPTH
        {
            let (group, session) = (0, 0);
            line.push(Lineage {
                parent,
                group,
                session,
            });
            next = crate::simulated::parent(parent);
        }
        Self {
            line,
            pid,
            is_hidden: false,
        }
    }

    /// Whether it may be the worker that was started as process `started`, or of its family.
    pub(crate) fn may_be_of(&self, started: u32) -> bool {
        if self.is_hidden || [0, started].contains(&self.pid) {
            return true;
        }
        let mut line = self.line.iter();
        line.any(|it| [it.parent, it.group, it.session].contains(&started))
    }

    /// Whether that process started it, or one that did.
    pub(crate) fn descends_from(&self, pid: u32) -> bool {
        self.line.iter().any(|it| it.parent == pid)
    }
}

/// Whether `peer` may be the worker that was started as process `started`. Reads `/proc`.
fn is_kin(peer: u32, started: u32) -> bool {
    Ancestry::of(peer).may_be_of(started)
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
