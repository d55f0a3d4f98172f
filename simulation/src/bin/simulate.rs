//! `simulate`: tries seeds, or planted mistakes, or tells the story of one seed.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool talks here"
)]

use std::io;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Args, Parser, Subcommand};
use telemetry_core::{Mistake, plant};
use telemetry_simulation::{Plan, Runner, Trace, Try, begin, run};
use tokio::runtime::Builder;

/// What a run says whose plan failed.
const WRONG: u8 = 2;

#[derive(Debug, Parser)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// One seed, here and now. Tells its hash, and what is wrong.
    One(One),
    /// Seeds, each in a process of its own. Plans that fail are made smaller and told.
    Seeds {
        /// How many.
        #[arg(long, default_value_t = 200)]
        seeds: u64,
        /// From which on.
        #[arg(long, default_value_t = 1)]
        from: u64,
    },
    /// Planted mistakes, each tried with so many seeds until it is found.
    Mistakes {
        /// How many.
        #[arg(long, default_value_t = 1_000)]
        seeds: u64,
        /// Only this one.
        #[arg(long, value_parser = mistake)]
        only: Option<Mistake>,
    },
}

#[derive(Debug, Args)]
struct One {
    #[arg(long)]
    seed: u64,
    /// Steps of its plan that are left out.
    #[arg(long, value_delimiter = ',')]
    without: Vec<usize>,
    /// Done wrong on purpose.
    #[arg(long, value_parser = mistake)]
    mistake: Option<Mistake>,
    /// Prints the plan, and what happens as it happens.
    #[arg(long)]
    trace: bool,
}

fn main() -> ExitCode {
    let done = match CommandLine::parse().command {
        Command::One(what) => one(&what),
        Command::Seeds { seeds, from } => seeds_from(from, seeds),
        Command::Mistakes { seeds, only } => mistakes(seeds, only),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}

fn mistake(name: &str) -> Result<Mistake, String> {
    let mut all = Mistake::ALL.iter();
    let named = all.find(|mistake| format!("{mistake:?}") == name);
    named
        .copied()
        .ok_or_else(|| format!("there is no such mistake; there are {:?}", Mistake::ALL))
}

/// Runs one seed in this process.
fn one(what: &One) -> io::Result<ExitCode> {
    begin(what.seed);
    if let Some(mistake) = what.mistake {
        plant(mistake);
    }
    let plan = Plan::of(what.seed).without(&what.without);
    let trace = Trace::new(what.trace);
    if what.trace {
        println!("{plan}");
    }
    let mut runtime = Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build()?;
    let came = runtime.block_on(run(&plan, trace.clone()));
    let (seed, hash) = (what.seed, trace.hash());
    println!(
        "seed {seed} hash {hash:016x} kept {} handled {}",
        came.kept, came.handled
    );
    Ok(match came.fault {
        None => ExitCode::SUCCESS,
        Some(fault) => {
            println!("{fault}");
            ExitCode::from(WRONG)
        }
    })
}

fn runner() -> io::Result<Runner> {
    let program = std::env::current_exe()?;
    Ok(Runner { program })
}

fn seeds_from(from: u64, seeds: u64) -> io::Result<ExitCode> {
    let (runner, begun) = (runner()?, Instant::now());
    let mut wrong = Vec::new();
    runner.run_all(from..from + seeds, None, |seed, came| {
        if !came.is_right {
            wrong.push(seed);
        }
        false
    })?;
    let took = begun.elapsed();
    wrong.sort_unstable();
    for &seed in wrong.iter().take(3) {
        tell(&runner, seed, None)?;
    }
    let each = took / u32::try_from(seeds).unwrap_or(u32::MAX).max(1);
    println!(
        "{seeds} seeds from {from} in {took:.1?}, {each:.1?} each; wrong: {}",
        wrong.len()
    );
    if wrong.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!("{wrong:?}");
    Ok(ExitCode::FAILURE)
}

/// Tells the smallest story of a seed that fails.
fn tell(runner: &Runner, seed: u64, mistake: Option<Mistake>) -> io::Result<()> {
    let what = Try {
        seed,
        mistake,
        ..Try::default()
    };
    let steps = Plan::of(seed).steps();
    let smallest = Try {
        is_told: true,
        ..runner.shrink(&what, steps)?
    };
    println!("== seed {seed}, the smallest plan that fails:");
    println!("{}", runner.run(&smallest)?.said);
    let left_out: Vec<_> = smallest.without.iter().map(ToString::to_string).collect();
    let left_out = left_out.join(",");
    println!("again: cargo xtask simulate --seed {seed} --without {left_out}");
    Ok(())
}

fn mistakes(seeds: u64, only: Option<Mistake>) -> io::Result<ExitCode> {
    let runner = runner()?;
    let mut missed = 0;
    let wanted = Mistake::ALL
        .iter()
        .filter(|it| only.is_none_or(|only| only == **it));
    for &mistake in wanted {
        let said = match runner.find(mistake, seeds)? {
            Some((seed, _)) => format!("found after {seed} seeds"),
            None => {
                missed += 1;
                format!("NOT FOUND in {seeds} seeds")
            }
        };
        println!("{said:<24} {mistake:?}: {}", mistake.as_str());
    }
    Ok(match missed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}
