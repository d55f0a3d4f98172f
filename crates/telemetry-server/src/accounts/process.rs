//! Whether a process that was seen behind a socket is still there.
//!
//! A number alone may be another process's by now, so it is held together with the time at which that
//! process began, as the system tells it in `/proc`. Where there is no `/proc`, nothing is known.

use std::{fs, io};

/// What the system says of a process that is not there.
const ESRCH: i32 = 3;

/// One process of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    pid: u32,
    /// Ticks since the machine was started.
    began: u64,
}

impl Process {
    /// One that was seen before, perhaps by another program.
    pub(crate) fn known(pid: u32, began: u64) -> Self {
        Self { pid, began }
    }

    /// When it began, in ticks since the machine was started.
    pub(crate) fn began(self) -> u64 {
        self.began
    }

    /// The process with this number, if it runs and the system tells.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        Self::look(pid).ok().flatten()
    }

    /// The process with this number; `None` if there is none. An error is no answer.
    fn look(pid: u32) -> io::Result<Option<Self>> {
        #[cfg(feature = "simulation")]
        if let Some(began) = crate::simulated::process(pid) {
            return Ok(began.map(|began| Self { pid, began }));
        }
        match fs::read_to_string(format!("/proc/{pid}/stat")) {
            Ok(stat) => Ok(Self::read(pid, &stat)),
            // ESRCH: it ended while it was read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.raw_os_error() == Some(ESRCH) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn read(pid: u32, stat: &str) -> Option<Self> {
        // The name before it may hold anything, parentheses included.
        let (_, fields) = stat.rsplit_once(')')?;
        let mut fields = fields.split_whitespace();
        let state = fields.next()?;
        // The 20th and the 22nd field of all; the third was the first here.
        let threads: u64 = fields.nth(16)?.parse().ok()?;
        let began = fields.nth(1)?.parse().ok()?;
        // A process that has ended and was not waited for is over, too; one whose first thread has ended is
        // not, while others run.
        let is_over = state == "X" || (state == "Z" && threads <= 1);
        (!is_over).then_some(Self { pid, began })
    }

    /// Its number.
    pub(crate) fn pid(self) -> u32 {
        self.pid
    }

    /// Whether it has ended for certain: a manager that is out of descriptors must not think so.
    pub(crate) fn is_over(self) -> bool {
        Self::look(self.pid).is_ok_and(|found| found != Some(self))
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn a_process_is_over_when_it_has_ended_and_not_before() {
        let mut child = Command::new("cat")
            .stdin(Stdio::piped())
            .spawn()
            .expect("a child");
        let process = Process::of(child.id()).expect("it runs");
        assert!(!process.is_over());
        child.kill().expect("it runs");
        let _exit = child.wait().expect("it ended");
        assert!(process.is_over());
        let ours = Process::of(std::process::id()).expect("we run");
        assert!(!ours.is_over());
        let other = Process {
            began: ours.began + 1,
            ..ours
        };
        assert!(other.is_over(), "another one had the number before");
    }
}
