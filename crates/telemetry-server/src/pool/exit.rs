//! How a process ended, in words and numbers.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// The signal that cannot be handled.
const SIGKILL: i32 = 9;

/// How a process ended.
#[derive(Debug)]
pub(super) enum Exit {
    /// As its parent, which we are, is told.
    Told(ExitStatus),
    /// An earlier manager started it, so somebody else was told.
    Adopted,
    /// Somebody else was told although we started it.
    Unknown(io::Error),
}

impl Exit {
    /// The exit code, unless a signal ended it or it is not known.
    pub(super) fn code(&self) -> Option<i32> {
        match self {
            Self::Told(status) => status.code(),
            Self::Adopted | Self::Unknown(_) => None,
        }
    }

    /// The signal that ended it.
    pub(super) fn signal(&self) -> Option<i32> {
        match self {
            Self::Told(status) => status.signal(),
            Self::Adopted | Self::Unknown(_) => None,
        }
    }

    /// Whether it was killed and had no time to finish.
    pub(super) fn is_killed(&self) -> bool {
        self.signal() == Some(SIGKILL)
    }

    /// Whether a signal that was sent to all processes of a session or a service may have ended it:
    /// SIGHUP, SIGINT, SIGQUIT or SIGTERM, or an exit that programs choose when they get one.
    pub(super) fn may_be_shared(&self) -> bool {
        match self {
            Self::Told(status) => {
                matches!(status.signal(), Some(1..=3 | 15))
                    || matches!(status.code(), Some(0 | 129..=131 | 143))
            }
            Self::Adopted | Self::Unknown(_) => true,
        }
    }

    /// In words: `exit code 1`, `signal 9 (SIGKILL)`.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Told(status) => describe(*status),
            Self::Adopted => "ended (exit status unknown: adopted)".to_owned(),
            Self::Unknown(error) => format!("ended (exit status unknown: {error})"),
        }
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => match signal_name(signal) {
            Some(name) => format!("signal {signal} ({name})"),
            None => format!("signal {signal}"),
        },
        (None, None) => status.to_string(),
    }
}

/// Names of the signals that end workers in practice.
fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        _ => return None,
    })
}
