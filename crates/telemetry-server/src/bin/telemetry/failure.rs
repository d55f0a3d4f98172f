//! How a subcommand fails: what to say, and which exit code.

use std::io::{self, Write};
use std::process::ExitCode;

use telemetry_core::catalog::PatternError;
use telemetry_server::config::ConfigError;

/// Why a subcommand ended without success.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line or the configuration is wrong.
    Usage(String),
    /// It did not work out.
    Failed(String),
    /// What was asked for is not there.
    Absent(String),
    /// Somebody else changed it meanwhile.
    Stale(String),
    /// It was done, and has not taken effect everywhere in time.
    Late(String),
    /// Whoever read our output went away; nothing to say and nobody to say it to.
    OutputClosed,
}

impl Failure {
    /// A failure with what the error says.
    pub(crate) fn of(error: impl std::fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }

    /// What to say, if there is somebody to say it to, and the exit code.
    pub(crate) fn told(self) -> (Option<String>, ExitCode) {
        match self {
            Self::Usage(text) => (Some(text), ExitCode::from(2)),
            Self::Failed(text) | Self::Absent(text) | Self::Stale(text) => {
                (Some(text), ExitCode::from(1))
            }
            Self::Late(text) => (Some(text), ExitCode::from(3)),
            Self::OutputClosed => (None, ExitCode::SUCCESS),
        }
    }

    /// Says it on stderr.
    pub(crate) fn report(self) -> ExitCode {
        let (text, code) = self.told();
        if let Some(text) = text {
            // With stderr closed as well there is only the exit code.
            let _unheard = writeln!(io::stderr().lock(), "telemetry: {text}");
        }
        code
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<PatternError> for Failure {
    fn from(error: PatternError) -> Self {
        Self::Usage(format!("--match: {error}"))
    }
}

/// Failing to print.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::OutputClosed,
            _ => Self::Failed(format!("cannot write the output: {error}")),
        }
    }
}
