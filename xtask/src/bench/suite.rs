//! The suites and how each is started.

use std::path::Path;

use super::Build;
use crate::{failure::Failure, process, python, workspace};

/// The program of the Python suite.
const PYTHON_PROGRAM: &str = "benches/python/main.py";
/// The Python peers.
const PYTHON_REQUIREMENTS: &str = "benches/python/requirements.txt";

/// A suite by the program that measures it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Suite {
    /// One of `telemetry-benches`.
    Rust(&'static str),
    /// The Python program, with peers in one interpreter.
    Python,
}

impl Suite {
    /// All of them, in the order in which they run.
    pub(super) const ALL: [Self; 8] = [
        Self::Rust("micro"),
        Self::Python,
        Self::Rust("stream"),
        Self::Rust("fanin"),
        Self::Rust("start"),
        Self::Rust("burst"),
        Self::Rust("overhead"),
        Self::Rust("differential"),
    ];

    /// As on the command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Rust(name) => name,
            Self::Python => "python",
        }
    }

    /// Runs it; its report is at `json` afterwards.
    pub(super) fn run(self, made: Build, json: &Path) -> Result<(), Failure> {
        let quick = made == Build::Quick;
        let mut command = match self {
            Self::Rust(name) => {
                let mut command = made.benches();
                command.args(["run", name]);
                command
            }
            Self::Python => {
                let program = workspace::path(PYTHON_PROGRAM);
                if !program.exists() {
                    return Err(Failure::Machine(format!("{PYTHON_PROGRAM} does not exist")));
                }
                let environment = python::ready_for_benchmarks(PYTHON_REQUIREMENTS, quick)?;
                let mut command = environment.command();
                // Only who built the module knows how.
                command.arg(program).arg("--optimised");
                command.arg("--manager").arg(made.benches().get_program());
                command
            }
        };
        if quick {
            command.arg("--quick");
        }
        process::run(command.arg("--json").arg(json))
    }
}
