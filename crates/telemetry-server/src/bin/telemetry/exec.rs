//! `telemetry exec`: becomes another program that the system ends when its parent does.
//!
//! The signal has to be asked for by the process itself, between its fork and its exec. A manager starts
//! its workers through this for `on_manager_exit = "stop"`; the process id stays the same.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use clap::Args;
use rustix::process::{Signal, getppid, set_parent_process_death_signal};

use crate::failure::Failure;

/// What to become.
#[derive(Debug, Args)]
pub(crate) struct Exec {
    /// Process id of the parent that must still be there.
    #[arg(long)]
    parent: i32,
    /// What the program is told to be called.
    #[arg(long)]
    arg0: OsString,
    /// The program.
    program: PathBuf,
    /// Its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Returns only if it fails.
pub(crate) fn run(exec: Exec) -> Result<(), Failure> {
    set_parent_process_death_signal(Some(Signal::TERM)).map_err(Failure::of)?;
    // Had it ended before, the signal would never come.
    if getppid().map(|parent| parent.as_raw_nonzero().get()) != Some(exec.parent) {
        return Err(Failure::Failed("the manager has ended".to_owned()));
    }
    let error = Command::new(&exec.program)
        .arg0(exec.arg0)
        .args(exec.arguments)
        .exec();
    let program = exec.program.display();
    Err(Failure::Failed(format!("cannot start {program}: {error}")))
}
