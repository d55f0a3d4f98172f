//! `simulate`: the real code of both roles in one thread and in virtual time, in worlds that seeds make.
//!
//! Builds the program as the tests of the workspace have it, so that nothing is compiled twice, and starts it; what happens then is in `simulation/`.

use std::process::Command;

use clap::Args;

use crate::{failure::Failure, process, programs};

/// The program, and a test of its package.
const PROGRAM: &str = "simulate";
const TEST: &str = "seeds";
/// Seeds that are tried, unless it is said how many.
const SEEDS: u64 = 200;
/// The same for each planted mistake, until it is found.
const SEEDS_FOR_MISTAKES: u64 = 1_000;

/// Which seeds, and what is done with them.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// How many seeds; 200, or for each mistake up to 1,000.
    #[arg(long)]
    seeds: Option<u64>,
    /// From which on.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Only this one, with everything that happens.
    #[arg(long, conflicts_with_all = ["seeds", "from", "mistakes"])]
    seed: Option<u64>,
    /// Steps of its plan that are left out.
    #[arg(long, requires = "seed")]
    without: Option<String>,
    /// Plants one mistake after the other and says after how many seeds each is found.
    #[arg(long)]
    mistakes: bool,
    /// Plants only this one.
    #[arg(long)]
    mistake: Option<String>,
    /// Builds it as for a release, which is quicker from a thousand seeds on.
    #[arg(long)]
    fast: bool,
}

/// Builds the program and becomes it.
pub(crate) fn run(run: &Run) -> Result<(), Failure> {
    let mut command = program(run.fast)?;
    if let Some(seed) = run.seed {
        command.args(["one", "--trace", "--seed", &seed.to_string()]);
        for (option, value) in [("--without", &run.without), ("--mistake", &run.mistake)] {
            command.args(value.iter().flat_map(|value| [option, value.as_str()]));
        }
    } else if run.mistakes || run.mistake.is_some() {
        let seeds = run.seeds.unwrap_or(SEEDS_FOR_MISTAKES).to_string();
        command.args(["mistakes", "--seeds", &seeds]);
        let only = run.mistake.iter();
        command.args(only.flat_map(|mistake| ["--only", mistake.as_str()]));
    } else {
        let seeds = run.seeds.unwrap_or(SEEDS).to_string();
        let from = run.from.to_string();
        command.args(["seeds", "--seeds", &seeds, "--from", &from]);
    }
    process::replace(&mut command)
}

/// Two hundred seeds; fails with the smallest plans that fail.
pub(crate) fn quick() -> Result<(), Failure> {
    process::run(program(false)?.args(["seeds", "--seeds", &SEEDS.to_string()]))
}

/// The program, ready to be given its arguments.
fn program(fast: bool) -> Result<Command, Failure> {
    if fast {
        let mut command = process::cargo();
        command.args(["run", "--all-features", "--bin", PROGRAM]);
        command.args(["--profile", programs::QUICK, "--"]);
        return Ok(command);
    }
    programs::build_as_tests_do(&[PROGRAM], TEST)?;
    Ok(process::command(programs::of_tests(PROGRAM)))
}
