//! One worker process, started by us or by an earlier manager: waits for its end, signals it and its
//! group, and reaps it, in this order.
//!
//! Its end is noticed without reaping it, so that its group can be killed while its number still means
//! that group.

use std::io;
use std::process::ChildStderr;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, waitid};
use tokio::time::sleep;

use super::exit::Exit;
use super::group;
use super::spawn::{OwnChild, Spawned};
use crate::accounts::Process as Identity;

/// Pause between two looks where the system gives no sign of an end.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Who is told how it ended.
#[derive(Debug)]
enum Handle {
    /// We are: it is our child.
    Spawned(OwnChild),
    /// Somebody else.
    Adopted(Identity),
}

/// A process that leads a group of its own. Dropping it kills the group, unless it was reaped or
/// released.
#[derive(Debug)]
pub(super) struct Process {
    /// Absent once reaped or released.
    handle: Option<Handle>,
    watch: Watch,
    /// Process id, known also after the exit.
    pub(super) pid: u32,
    /// When it was started.
    pub(super) started: Instant,
}

impl Process {
    /// A child that was just started, and its stderr if that is a pipe. Needs a runtime with I/O.
    pub(super) fn spawned(spawned: Spawned) -> (Self, Option<ChildStderr>) {
        let (pid, started) = (spawned.pid(), spawned.started);
        let watch = Watch::of(pid);
        let mut child = spawned.take();
        let stderr = child.as_mut().and_then(|own| own.child.stderr.take());
        let process = Self {
            handle: child.map(Handle::Spawned),
            watch,
            pid,
            started,
        };
        (process, stderr)
    }

    /// The process with this number that began at this time, started `age` ago by an earlier manager;
    /// `None` if it is not there any more. Needs a runtime with I/O.
    pub(super) fn adopt(pid: u32, began: u64, age: Duration) -> Option<Self> {
        let identity = Identity::known(pid, began);
        // The other way round another process could have the number meanwhile.
        let watch = Watch::of(pid);
        (Identity::of(pid) == Some(identity)).then(|| Self {
            handle: Some(Handle::Adopted(identity)),
            watch,
            pid,
            started: Instant::now().checked_sub(age).unwrap_or_else(Instant::now),
        })
    }

    /// Whether an earlier manager started it.
    pub(super) fn is_adopted(&self) -> bool {
        matches!(self.handle, Some(Handle::Adopted(_)))
    }

    /// Waits for its end, and leaves it to be reaped. May be cancelled and called again.
    pub(super) async fn exited(&self) {
        match (&self.watch, &self.handle) {
            #[cfg(target_os = "linux")]
            (Watch::Pidfd(pidfd), Some(_)) => {
                // An error comes with the end of the runtime.
                let _readable = pidfd.readable().await.is_ok();
            }
            (_, Some(handle)) => {
                while !handle.has_ended() {
                    sleep(LOOK_INTERVAL).await;
                }
            }
            (_, None) => {}
        }
    }

    /// Takes its exit status, which frees its number. Only after [`exited`](Self::exited).
    pub(super) fn reap(&mut self) -> Exit {
        match self.handle.take() {
            Some(Handle::Spawned(mut own)) => match own.child.try_wait() {
                Ok(Some(status)) => Exit::Told(status),
                Ok(None) => Exit::Unknown(io::Error::other("it still runs")),
                Err(error) => Exit::Unknown(error),
            },
            Some(Handle::Adopted(_)) => Exit::Adopted,
            None => Exit::Unknown(io::Error::other("told before")),
        }
    }

    /// Asks the whole group to end.
    pub(super) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Ends the whole group at once.
    pub(super) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Lets an adopted process go on without us.
    pub(super) fn release(&mut self) {
        if self.is_adopted() {
            self.handle = None;
        }
    }

    fn signal(&self, signal: Signal) {
        match &self.handle {
            Some(Handle::Spawned(_)) => group::signal(self.pid, signal),
            Some(Handle::Adopted(identity)) => {
                group::signal_adopted(*identity, self.pid, signal);
            }
            None => {}
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if let Some(Handle::Spawned(mut own)) = self.handle.take() {
            let reaper = std::thread::Builder::new().name("telemetry-reap".to_owned());
            // Without a thread it stays a zombie until we end.
            let _reaped = reaper.spawn(move || own.child.wait()).is_ok();
        }
    }
}

impl Handle {
    fn has_ended(&self) -> bool {
        match self {
            Self::Spawned(own) => {
                let pid = i32::try_from(own.child.id()).ok().and_then(Pid::from_raw);
                let how = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
                // An error says that there is no such child any more.
                pid.is_none_or(|pid| !matches!(waitid(WaitId::Pid(pid), how), Ok(None)))
            }
            Self::Adopted(identity) => identity.is_over(),
        }
    }
}

/// How an end is noticed.
#[derive(Debug)]
enum Watch {
    /// The system tells.
    #[cfg(target_os = "linux")]
    Pidfd(tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>),
    /// By looking.
    Looks,
}

impl Watch {
    #[cfg(target_os = "linux")]
    #[expect(
        deprecated,
        reason = "what is to replace it is unsafe, and an OwnedFd keeps the promise that it asks for"
    )]
    fn of(pid: u32) -> Self {
        use rustix::process::{PidfdFlags, pidfd_open};
        use tokio::io::Interest;
        use tokio::io::unix::AsyncFd;

        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let opened = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::NONBLOCK).ok());
        let watched = opened.and_then(|fd| AsyncFd::with_interest(fd, Interest::READABLE).ok());
        watched.map_or(Self::Looks, Self::Pidfd)
    }

    #[cfg(not(target_os = "linux"))]
    fn of(_: u32) -> Self {
        Self::Looks
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    use super::*;

    /// A child that ends with its input.
    fn child() -> OwnChild {
        let mut cat = Command::new("cat");
        cat.stdin(Stdio::piped()).process_group(0);
        OwnChild::start(&mut cat).expect("a child")
    }

    fn process(handle: Handle, pid: u32, watch: Watch) -> Process {
        Process {
            handle: Some(handle),
            watch,
            pid,
            started: Instant::now(),
        }
    }

    #[tokio::test]
    async fn end_is_noticed_and_not_reaped_whether_the_system_tells_or_not() {
        for tells in [true, false] {
            let mut cat = child();
            let (pid, input) = (cat.child.id(), cat.child.stdin.take());
            let watch = || match tells {
                true => Watch::of(pid),
                false => Watch::Looks,
            };
            #[cfg(target_os = "linux")]
            assert_eq!(matches!(watch(), Watch::Pidfd(_)), tells);
            let identity = Identity::of(pid).expect("it runs");
            let mut spawned = process(Handle::Spawned(cat), pid, watch());
            let mut adopted = process(Handle::Adopted(identity), pid, watch());
            let early = tokio::time::timeout(Duration::from_millis(150), async {
                tokio::select! {
                    () = spawned.exited() => {}
                    () = adopted.exited() => {}
                }
            });
            assert!(early.await.is_err(), "it still runs");
            drop(input);
            adopted.exited().await;
            spawned.exited().await;
            // Twice: looking does not reap.
            spawned.exited().await;
            assert_eq!(
                adopted.reap().describe(),
                "ended (exit status unknown: adopted)"
            );
            assert_eq!(spawned.reap().code(), Some(0));
        }
    }

    #[tokio::test]
    async fn process_that_is_not_the_recorded_one_is_not_adopted() {
        let mut cat = child();
        let began = Identity::of(cat.child.id()).expect("it runs").began();
        assert!(Process::adopt(cat.child.id(), began + 1, Duration::ZERO).is_none());
        let mut adopted = Process::adopt(cat.child.id(), began, Duration::ZERO).expect("the same");
        adopted.release();
        drop(adopted);
        assert!(
            cat.child.try_wait().expect("a child").is_none(),
            "a released one goes on"
        );
        let adopted = Process::adopt(cat.child.id(), began, Duration::ZERO).expect("the same");
        drop(adopted);
        let exit = cat.child.wait().expect("a child");
        assert_eq!(Exit::Told(exit).signal(), Some(9), "a dropped one does not");
        assert!(Process::adopt(cat.child.id(), began, Duration::ZERO).is_none());
    }
}
