//! `gen-reference`: `docs/python-reference.md`, every public name of the Python package.
//!
//! The work is a Python program's, which reads the sources of the package and imports nothing of it, so
//! any `python3` will do.

use crate::{failure::Failure, process};

/// The program, below the root.
const PROGRAM: &str = "crates/telemetry-py/tools/reference.py";

/// Writes the reference, or with `check` fails if it is not fresh.
pub(crate) fn run(check: bool) -> Result<(), Failure> {
    let mut python = process::command("python3");
    python.arg(PROGRAM);
    if check {
        python.arg("--check");
    }
    process::run(&mut python)
}
