//! Waits for the end of a process that is not ours to wait for.
//!
//! By a descriptor of the process where there is one to be had, else by looking now and then; where
//! the system tells nothing of the process, for ever.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open, test_kill_process};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::sleep;

use crate::accounts::Process;

/// Between two looks at a process of which there is no descriptor.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Life {
    /// Becomes readable when the process has ended.
    descriptor: Option<AsyncFd<OwnedFd>>,
    process: Option<Process>,
    /// The system says that there is no such process.
    is_gone: bool,
    /// Tells it of a process that is simulated.
    #[cfg(feature = "simulation")]
    simulated: Option<tokio::sync::watch::Receiver<bool>>,
}

impl Life {
    /// Of the process with this id, which may have ended by now. Needs a runtime with I/O.
    pub(crate) fn of(pid: u32) -> Self {
        #[cfg(feature = "simulation")]
        if crate::simulated::is_on() {
            return Self::simulated(pid);
        }
        let descriptor = descriptor(pid)
            .inspect_err(|error| tracing::debug!(pid, %error, "a process is only looked at"))
            .ok();
        // Behind the descriptor: if the number is another process's by now, neither says so, and the
        // end of its connection will.
        let is_gone = descriptor.is_none() && is_gone(pid);
        Self {
            descriptor,
            process: Process::of(pid),
            is_gone,
            #[cfg(feature = "simulation")]
            simulated: None,
        }
    }

    /// Of a process that is simulated.
    #[cfg(feature = "simulation")]
    fn simulated(pid: u32) -> Self {
        let process = Process::of(pid);
        Self {
            process,
            is_gone: process.is_none(),
            simulated: process.and_then(|_| crate::simulated::follow(pid)),
            ..Self::default()
        }
    }

    /// Whether it was gone before it could be looked at. What it sent may still be there to be read.
    pub(crate) fn was_gone(&self) -> bool {
        self.is_gone
    }

    /// Whether it has ended by now.
    pub(super) fn is_over(&self) -> bool {
        // Of one that had ended when it was looked at nothing is known but that.
        let told = || self.descriptor.as_ref().is_some_and(is_readable);
        self.is_gone || self.process.map_or_else(told, Process::is_over)
    }

    /// The process, as far as it is known.
    pub(crate) fn process(&self) -> Option<Process> {
        self.process
    }

    /// Whether waiting costs nothing, so that it may be done beside a busy stream.
    pub(super) fn is_told(&self) -> bool {
        #[cfg(feature = "simulation")]
        if self.simulated.is_some() {
            return true;
        }
        self.descriptor.is_some()
    }

    /// Resolves when the process has ended. May be dropped and called again.
    pub(super) async fn ended(&self) {
        #[cfg(feature = "simulation")]
        if let Some(simulated) = &self.simulated {
            let mut simulated = simulated.clone();
            // An error is the end of its world.
            let _ended = simulated.wait_for(|ended| *ended).await.is_ok();
            return;
        }
        if let Some(descriptor) = &self.descriptor
            && descriptor.readable().await.is_ok()
        {
            return;
        }
        if self.is_gone {
            return;
        }
        let Some(process) = self.process else {
            return std::future::pending().await;
        };
        while !process.is_over() {
            sleep(LOOK_EVERY).await;
        }
    }
}

/// Whether a descriptor is readable now.
fn is_readable(descriptor: &AsyncFd<OwnedFd>) -> bool {
    let mut wanted = [PollFd::new(descriptor.get_ref(), PollFlags::IN)];
    poll(&mut wanted, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}

/// Whether there is no process with this id for certain; one that nobody has waited for yet is there.
fn is_gone(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process(pid) == Err(rustix::io::Errno::SRCH))
}

fn descriptor(pid: u32) -> io::Result<AsyncFd<OwnedFd>> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or(io::ErrorKind::InvalidInput)?;
    let descriptor = pidfd_open(pid, PidfdFlags::NONBLOCK)?;
    #[expect(
        deprecated,
        reason = "an owned descriptor stays the same for its whole life, which is all that the other \
                  constructor asks for, without a promise that the compiler cannot check"
    )]
    AsyncFd::with_interest(descriptor, Interest::READABLE)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    async fn check(without_descriptor: bool) {
        let mut child = Command::new("cat")
            .stdin(Stdio::piped())
            .spawn()
            .expect("a child");
        let mut life = Life::of(child.id());
        assert!(life.is_told());
        if without_descriptor {
            life.descriptor = None;
        }
        let early = tokio::time::timeout(Duration::from_millis(20), life.ended()).await;
        assert!(early.is_err() && !life.is_over(), "it runs");
        child.kill().expect("it runs");
        let late = tokio::time::timeout(Duration::from_secs(20), life.ended()).await;
        assert!(late.is_ok(), "it ended, although nobody has waited for it");
        assert!(life.is_over());
        let _exit = child.wait().expect("it ended");
    }

    #[tokio::test]
    async fn the_end_of_a_process_is_told_by_its_descriptor() {
        check(false).await;
    }

    #[tokio::test]
    async fn the_end_of_a_process_without_a_descriptor_is_seen() {
        check(true).await;
    }

    #[tokio::test]
    async fn a_process_that_is_gone_already_has_ended() {
        let mut child = Command::new("true").spawn().expect("a child");
        let _exit = child.wait().expect("it ends");
        let life = Life::of(child.id());
        // Its connection is read to its end before anybody asks.
        assert!(life.was_gone() && !life.is_told());
        let ended = tokio::time::timeout(Duration::from_secs(20), life.ended()).await;
        assert!(ended.is_ok(), "it is waited for");
    }
}
