//! The whole system on one screen: a pool of real Python workers with real work, watched, controlled
//! and killed. `cargo xtask demo` builds what it needs and starts it.
//!
//! It embeds the manager as any program would: a pool, handlers, the Prometheus exporter, HTTP.

#![expect(
    clippy::print_stderr,
    reason = "an example tells its user what went wrong"
)]

mod acts;
mod board;
mod figures;
mod stage;
mod verdict;
mod view;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use stage::{Fault, Stage};

/// Share of the time before the first act.
const WARM_UP: f64 = 0.3;
/// Share of the time for which the effect of a control is watched.
const EFFECT: f64 = 0.2;

/// What to run and for how long.
#[derive(Debug, Parser)]
pub(crate) struct Options {
    /// Worker processes.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    workers: u16,
    /// Seconds from the first event to the summary.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(5..=3_600))]
    seconds: u16,
    /// Go on after the summary until interrupted, with /metrics up.
    #[arg(long)]
    keep: bool,
    /// The Python interpreter that has telemetry_py.
    #[arg(long)]
    python: PathBuf,
    /// The program that every worker runs.
    #[arg(long)]
    script: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    match perform(&Options::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(fault) => {
            eprintln!("error: {fault}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the demo; true if every ledger balances.
async fn perform(options: &Options) -> Result<bool, Fault> {
    let mut stage = Stage::set(options).await?;
    let outcome = play(&mut stage, options).await;
    stage.strike().await;
    outcome
}

/// The acts, the summary, and what comes after it.
async fn play(stage: &mut Stage, options: &Options) -> Result<bool, Fault> {
    let share = |share| Duration::from_secs(options.seconds.into()).mul_f64(share);
    stage.watch(share(WARM_UP)).await?;
    acts::sample_one_worker(stage, share(EFFECT)).await?;
    acts::deny_memory_samples(stage, share(EFFECT)).await?;
    acts::kill_one_worker(stage, share(EFFECT)).await?;
    stage.watch_to_the_end(share(1.0)).await?;
    let balanced = verdict::settle_and_sum_up(stage).await?;
    if options.keep {
        stage.keep().await?;
    }
    Ok(balanced)
}
