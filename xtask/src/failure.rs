//! The one error of this tool: what was being done, to what, and how to get past it.
//!
//! Knows no command. Everything here is read by a person at a terminal, once.

use std::{
    io,
    path::{Path, PathBuf},
    process::ExitStatus,
};

/// Why a command could not be completed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The file system refused.
    #[error("could not {action} {}: {source}", path.display())]
    File {
        /// A verb: "read", "write", "delete".
        action: &'static str,
        /// What it was done to.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// A generator could not make sense of its source.
    #[error("could not generate from {}: {reason}", path.display())]
    Generator {
        /// The source file.
        path: PathBuf,
        /// The generator's own words.
        reason: String,
    },

    /// Files on disk are not what the generator writes.
    #[error("generated files are not fresh; run `{remedy}`\n{}", list(differences))]
    Stale {
        /// The command that makes them fresh.
        remedy: &'static str,
        /// One line per file: what is wrong, and its path.
        differences: Vec<String>,
    },

    /// The machine lacks something; the text says what and how to get it.
    #[error("{0}")]
    Machine(String),

    /// A program could not be started.
    #[error("could not start `{command}`: {source}")]
    Start {
        /// The command line.
        command: String,
        /// What the system said.
        source: io::Error,
    },

    /// A program ran and failed; what was wrong is in its own output.
    #[error("`{command}` failed: {status}")]
    Process {
        /// The command line.
        command: String,
        /// How it ended.
        status: ExitStatus,
    },

    /// What is asked for is not allowed as things are; each reason says what, where, and what is.
    #[error("{} {}\n{}", .0.len(), if .0.len() == 1 { "problem" } else { "problems" }, list(.0))]
    Refused(Vec<String>),

    /// Several steps ran and some of them failed.
    #[error("{} failed: {}", if .0.len() == 1 { "a step" } else { "steps" }, .0.join(", "))]
    Steps(Vec<String>),
}

impl Failure {
    /// A closure for `map_err` on file system calls.
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }
}

fn list(lines: &[String]) -> String {
    lines
        .iter()
        .map(|line| format!("  {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}
