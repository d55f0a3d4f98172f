//! Children of this process: those that pools started, and orphans that became ours because we are
//! process 1.
//!
//! Whoever started a process waits for it; for an orphan nobody does, and it stays as a zombie. So
//! orphans are waited for here, and nothing else is: the exit of a pool's child is not ours to take.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions, child_subreaper, getpid, waitid};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;

/// Written while orphans are looked for, read while a process is started: between its birth and the
/// moment it is known as ours nobody may look.
static STARTING: RwLock<()> = RwLock::new(());
/// Ids of the processes that were started here and not given up.
static STARTED: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// A look without being asked, since one may have failed for want of descriptors.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// A process that somebody here waits for. Keep it until that is over.
#[derive(Debug)]
pub(crate) struct Awaited {
    pid: u32,
}

impl Awaited {
    /// Starts a process by `spawn`, which also tells its id.
    pub(crate) fn start<P>(spawn: impl FnOnce() -> io::Result<(P, u32)>) -> io::Result<(P, Self)> {
        let _nobody_looks = STARTING.read().unwrap_or_else(PoisonError::into_inner);
        let (process, pid) = spawn()?;
        started().insert(pid);
        Ok((process, Self { pid }))
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        started().remove(&self.pid);
    }
}

fn started() -> MutexGuard<'static, BTreeSet<u32>> {
    STARTED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for orphans, so that none stays as a zombie. Dropping it stops that.
///
/// For programs that start processes through [`Pool`](crate::pool::Pool) only: a child that the program
/// started by itself would be taken for an orphan.
#[derive(Debug)]
pub struct OrphanReaper {
    reaping: JoinHandle<()>,
}

impl OrphanReaper {
    /// Begins, as a task of the present tokio runtime, where orphans come to this process: when it is
    /// process 1 of its namespace or a child subreaper. `None` elsewhere.
    ///
    /// # Errors
    /// SIGCHLD cannot be listened to.
    pub fn start() -> io::Result<Option<Self>> {
        let adopts = getpid() == Pid::INIT || child_subreaper().is_ok_and(|set| set.is_some());
        if !adopts {
            return Ok(None);
        }
        let ended = signal(SignalKind::child())?;
        Ok(Some(Self {
            reaping: tokio::spawn(reap(ended)),
        }))
    }
}

impl Drop for OrphanReaper {
    fn drop(&mut self) {
        self.reaping.abort();
    }
}

async fn reap(mut ended: Signal) {
    loop {
        match tokio::task::spawn_blocking(reap_orphans).await {
            Ok(Ok(0)) | Err(_) => {}
            Ok(Ok(orphans)) => tracing::debug!(orphans, "orphans that ended were reaped"),
            Ok(Err(error)) => tracing::warn!(%error, "orphans that ended may stay as zombies"),
        }
        // Either way it is time to look again.
        let _signal_or_time = tokio::time::timeout(LOOK_INTERVAL, ended.recv()).await;
    }
}

/// Waits for every orphan that has ended; returns how many there were.
fn reap_orphans() -> io::Result<usize> {
    let _nobody_starts = STARTING.write().unwrap_or_else(PoisonError::into_inner);
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    match waitid(WaitId::All, look) {
        Ok(Some(_)) => {}
        Ok(None) | Err(Errno::CHILD) => return Ok(0),
        Err(error) => return Err(error.into()),
    }
    Ok(reap_those(children()?))
}

/// Waits for those of these children that have ended and are nobody's.
fn reap_those(children: Vec<Pid>) -> usize {
    let mut orphans = 0;
    for pid in children {
        let awaited = u32::try_from(pid.as_raw_pid()).is_ok_and(|pid| started().contains(&pid));
        if awaited {
            continue;
        }
        let reaped = waitid(
            WaitId::Pid(pid),
            WaitIdOptions::EXITED | WaitIdOptions::NOHANG,
        );
        orphans += usize::from(matches!(reaped, Ok(Some(_))));
    }
    orphans
}

/// All children of this process, as the kernel lists them for each of our threads.
fn children() -> io::Result<Vec<Pid>> {
    let mut children = Vec::new();
    for thread in fs::read_dir("/proc/self/task")? {
        let thread = thread?.path();
        let list = match fs::read_to_string(thread.join("children")) {
            Ok(list) => list,
            // The thread is gone; its children are another's by now, and listed next time.
            Err(_) if !thread.exists() => continue,
            Err(error) => return Err(error),
        };
        let pids = list.split_whitespace().filter_map(|pid| pid.parse().ok());
        children.extend(pids.filter_map(Pid::from_raw));
    }
    Ok(children)
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    /// A process that has ended, and that nobody has waited for.
    fn ended() -> (Child, Pid) {
        let child = Command::new("sh").args(["-c", "exit 7"]).spawn().unwrap();
        let pid = Pid::from_child(&child);
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(pid), look).unwrap();
        (child, pid)
    }

    #[test]
    fn the_exit_of_a_process_that_is_awaited_is_left_to_whoever_waits() {
        let started = Awaited::start(|| {
            let (child, pid) = ended();
            Ok(((child, pid), pid.as_raw_pid().unsigned_abs()))
        });
        let ((mut child, pid), awaited) = started.unwrap();
        assert_eq!(reap_those(vec![pid]), 0);
        assert_eq!(child.wait().unwrap().code(), Some(7));
        drop(awaited);
    }

    #[test]
    fn what_nobody_waits_for_is_reaped_once() {
        let (mut child, pid) = ended();
        assert_eq!(reap_those(vec![pid]), 1);
        assert_eq!(reap_those(vec![pid]), 0);
        assert!(child.wait().is_err(), "it was still there");
    }

    #[test]
    fn children_of_all_threads_are_listed() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let listed = children().unwrap().contains(&Pid::from_child(&child));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(listed);
    }
}
