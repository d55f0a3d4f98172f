//! `chaos`: real processes, every fault there is at once, and the truth beside them.
//!
//! Prepares the Python environment, builds the program and starts it; what happens then is in
//! `tests/src/bin/chaos`.

use std::process::Command;

use clap::Args;

use crate::{
    failure::Failure,
    process,
    programs::{self, Program},
    python,
};

/// How long, and which.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Minutes for which faults are injected, 1 to 600.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=600))]
    minutes: u16,
    /// Repeats the faults of an earlier run; another seed each time when absent.
    #[arg(long)]
    seed: Option<u64>,
    /// Workers of the pool.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: u16,
    /// Events a second of each worker.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// Every fault a few times and no more, in well under a minute.
    #[arg(long, conflicts_with = "minutes")]
    quick: bool,
}

impl Run {
    /// Shows that every fault happens and no account is wrong in silence.
    const QUICK: Self = Self {
        minutes: 1,
        seed: None,
        workers: 3,
        rate: 200,
        quick: true,
    };
}

/// Builds what is needed and becomes the run, so that an interrupt is for it alone. The exit code is
/// 0 if every fault happened, no law was broken and no account was wrong without saying so.
pub(crate) fn run(run: &Run) -> Result<(), Failure> {
    programs::build(programs::QUICK, &[Program::Chaos])?;
    process::replace(&mut command(run)?)
}

/// Runs every fault a few times with what is built already; fails as the whole run does.
pub(crate) fn quick() -> Result<(), Failure> {
    process::run(&mut command(&Run::QUICK)?)
}

/// The run as a command, with the Python that it needs made ready.
fn command(run: &Run) -> Result<Command, Failure> {
    let python = python::ready()?.python();
    let mut command = Program::Chaos.command(programs::QUICK);
    command.arg("--python").arg(python);
    if run.quick {
        command.arg("--quick");
    } else {
        let seconds = u32::from(run.minutes) * 60;
        command.arg("--seconds").arg(seconds.to_string());
    }
    command.arg("--workers").arg(run.workers.to_string());
    command.arg("--rate").arg(run.rate.to_string());
    if let Some(seed) = run.seed {
        command.arg("--seed").arg(seed.to_string());
    }
    Ok(command)
}
