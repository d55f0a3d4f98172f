//! The command line: run a suite, put reports together, write what the README claims.

mod claims;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::environment;
use crate::measure::Effort;
use crate::micro::work;
use crate::report::{Report, Reports};
use crate::{suites, table};

/// The exit code when everything ran and a floor is missed.
const FLOOR_MISSED: u8 = 3;

#[derive(Debug, Parser)]
#[command(
    name = "telemetry-benches",
    about = "Comparison benchmarks; started by `cargo xtask bench`."
)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run one suite and write its report.
    Run {
        /// Which one.
        suite: String,
        /// A smoke run; its figures are rough.
        #[arg(long)]
        quick: bool,
        /// Where the report goes.
        #[arg(long)]
        json: PathBuf,
    },
    /// Read reports, print them as one table and write them as one file.
    Report {
        /// Where the reports go together.
        #[arg(long)]
        json: PathBuf,
        /// A suite that has no report, and why: `python=no venv`.
        #[arg(long)]
        skipped: Vec<String>,
        /// The reports.
        files: Vec<PathBuf>,
    },
    /// Do one thing many times and nothing else, for tools that watch a process.
    Work {
        /// What.
        name: String,
        /// How often it is done while it is watched; as often before that.
        #[arg(long)]
        runs: usize,
    },
    /// Write the performance table of a README from the reports of a full run.
    Claims {
        /// The reports of the run.
        reports: PathBuf,
        /// The file with the markers.
        readme: PathBuf,
    },
}

/// Reads the command line and does it. An error is for a person to read.
pub(crate) fn run() -> Result<ExitCode, String> {
    match CommandLine::parse().command {
        Command::Run { suite, quick, json } => run_suite(&suite, quick, &json),
        Command::Report {
            json,
            skipped,
            files,
        } => put_together(&json, &skipped, &files),
        Command::Work { name, runs } => work::run(&name, runs).map(|()| ExitCode::SUCCESS),
        Command::Claims { reports, readme } => {
            claims::write(&reports, &readme).map(|()| ExitCode::SUCCESS)
        }
    }
}

fn run_suite(name: &str, quick: bool, json: &Path) -> Result<ExitCode, String> {
    let suite = suites::find(name).ok_or_else(|| {
        let names: Vec<_> = suites::ALL.iter().map(|suite| suite.name).collect();
        format!("there is no suite {name:?}; there is: {}", names.join(", "))
    })?;
    let effort = if quick { Effort::QUICK } else { Effort::FULL };
    let mut report = (suite.run)(effort);
    report.judge();
    write_json(json, &report)?;
    Ok(ExitCode::SUCCESS)
}

fn put_together(json: &Path, skipped: &[String], files: &[PathBuf]) -> Result<ExitCode, String> {
    let mut all = Reports::default();
    // Suites were run here a moment ago; the one in Python leaves out what is not about Python.
    let here = environment::here(&[]);
    for file in files {
        let text = read(file)?;
        let mut report: Report = serde_json::from_str(&text)
            .map_err(|error| format!("{} is no report: {error}", file.display()))?;
        report.environment.complete_with(&here);
        report.judge();
        all.reports.push(report);
    }
    for pair in skipped {
        let (suite, reason) = pair.split_once('=').unwrap_or((pair, "no reason given"));
        all.reports.push(Report::skipped(suite, reason));
    }
    print!("{}", table::render(&all));
    write_json(json, &all)?;
    println!("\nwritten to {}", json.display());
    let full_runs = all.reports.iter().filter(|report| !report.quick);
    let missed: usize = full_runs.map(Report::missed_floors).sum();
    if missed > 0 {
        println!("floors missed: {missed}");
        return Ok(ExitCode::from(FLOOR_MISSED));
    }
    Ok(ExitCode::SUCCESS)
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<(), String> {
    let text = serde_json::to_string_pretty(value).map_err(|error| error.to_string())?;
    fs::write(path, text + "\n")
        .map_err(|error| format!("cannot write {}: {error}", path.display()))
}
