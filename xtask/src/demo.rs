//! `demo`: the whole system on one screen, with real Python workers.
//!
//! Prepares the Python environment, builds the demo and starts it; what happens then is in
//! `crates/telemetry-server/examples/demo`.

use std::process::Command;

use clap::Args;

use crate::{
    failure::Failure,
    process,
    programs::{self, Program},
    python, workspace,
};

/// The program that the workers run.
const WORKER: &str = "crates/telemetry-py/examples/demo_worker.py";

/// How large and how long.
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// Worker processes, 1 to 64.
    #[arg(long, default_value_t = 4)]
    workers: u16,
    /// Seconds from the first event to the summary, 5 to 3,600.
    #[arg(long, default_value_t = 20)]
    seconds: u16,
    /// Go on after the summary until interrupted, with /metrics up.
    #[arg(long)]
    keep: bool,
}

impl Show {
    /// Small and short: shows that every act works and every ledger balances.
    const SMOKE: Self = Self {
        workers: 2,
        seconds: 8,
        keep: false,
    };
}

/// Builds what is needed and becomes the demo, so that an interrupt is for the demo alone. The exit
/// code is that of the demo: 0 if every ledger balances.
pub(crate) fn run(show: &Show) -> Result<(), Failure> {
    programs::build(programs::QUICK, &[Program::Demo])?;
    process::replace(&mut command(show)?)
}

/// Runs a short demo, which is built already; it fails if a ledger does not balance.
pub(crate) fn smoke() -> Result<(), Failure> {
    process::run(&mut command(&Show::SMOKE)?)
}

/// The demo as a command, with the Python that it needs made ready.
fn command(show: &Show) -> Result<Command, Failure> {
    let python = python::ready()?.python();
    let mut command = Program::Demo.command(programs::QUICK);
    command.arg("--workers").arg(show.workers.to_string());
    command.arg("--seconds").arg(show.seconds.to_string());
    command.arg("--python").arg(python);
    command.arg("--script").arg(workspace::path(WORKER));
    if show.keep {
        command.arg("--keep");
    }
    Ok(command)
}
