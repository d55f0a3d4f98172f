//! `bench`: builds the comparison benchmarks with optimisation, runs them, prints one table.
//!
//! Measures nothing and judges nothing: the suites are programs of their own, in Rust and in Python,
//! and each leaves a report. `telemetry-benches report` puts them together. Reports of full runs
//! are under `target/bench/`, those of smoke runs apart from them.

mod suite;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use clap::{Args, ValueEnum};

use crate::{
    failure::Failure,
    process,
    programs::{self, Program},
    workspace,
};

use suite::Suite;

/// Where the reports of the last full run are.
const RESULTS: &str = "target/bench";
/// Where those of the last smoke run are.
const QUICK_RESULTS: &str = "target/bench/quick";
/// The file with the performance table.
const README: &str = "README.md";

/// Which benchmark to run, and how long.
#[derive(Debug, Args)]
pub(crate) struct Selection {
    /// What to measure.
    #[arg(value_enum, default_value = "all")]
    what: What,
    /// A smoke run; its figures are rough and a missed floor is no failure.
    #[arg(long)]
    quick: bool,
    /// Where the report goes; target/bench/ if not given.
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Single steps in one thread: emit in its forms, decode, counts.
    Micro,
    /// The Python package beside Python peers.
    Python,
    /// One worker and one manager, end to end.
    Stream,
    /// Many workers and one manager.
    Fanin,
    /// From a worker's start to its first event at a handler.
    Start,
    /// What a worker's queue takes of a burst, by its bounds.
    Burst,
    /// What telemetry takes from a program that does its own work.
    Overhead,
    /// Our wire codec against prost, a million cases.
    Differential,
    /// Every suite, in one table.
    All,
    /// Write the performance table of the README from the last full run of `all`.
    Claims,
}

impl Selection {
    /// Shows that every benchmark runs; their figures are rough and decide nothing.
    const SMOKE: Self = Self {
        what: What::All,
        quick: true,
        json: None,
    };
}

/// Builds and runs the selected benchmark.
pub(crate) fn run(selection: &Selection) -> Result<(), Failure> {
    programs::build(Build::of(selection).profile(), &[Program::Benches])?;
    measure(selection)
}

/// A smoke run of what is built already.
pub(crate) fn smoke() -> Result<(), Failure> {
    measure(&Selection::SMOKE)
}

fn measure(selection: &Selection) -> Result<(), Failure> {
    let results = workspace::path(if selection.quick {
        QUICK_RESULTS
    } else {
        RESULTS
    });
    fs::create_dir_all(&results).map_err(Failure::file("create", &results))?;
    let suites = match selection.what {
        What::Micro => vec![Suite::Rust("micro")],
        What::Python => vec![Suite::Python],
        What::Stream => vec![Suite::Rust("stream")],
        What::Fanin => vec![Suite::Rust("fanin")],
        What::Start => vec![Suite::Rust("start")],
        What::Burst => vec![Suite::Rust("burst")],
        What::Overhead => vec![Suite::Rust("overhead")],
        What::Differential => vec![Suite::Rust("differential")],
        What::All => Suite::ALL.to_vec(),
        What::Claims => {
            let reports = workspace::path(RESULTS).join("all.json");
            return process::run(
                Build::Full
                    .benches()
                    .arg("claims")
                    .args([reports, workspace::path(README)]),
            );
        }
    };
    let made = Build::of(selection);

    let mut command = made.benches();
    command.arg("report");
    let json = selection.json.clone().unwrap_or_else(|| {
        // A single suite has its own report under its own name.
        results.join(match suites.as_slice() {
            [suite] => format!("{}.table.json", suite.name()),
            _ => "all.json".to_owned(),
        })
    });
    command.arg("--json").arg(json);
    let failed = run_suites(&suites, &results, made, &mut command)?;
    let table = process::run(&mut command);
    if failed.is_empty() {
        table
    } else {
        Err(Failure::Steps(failed))
    }
}

/// Runs the suites in turn and adds what they left to `report`; the names of those that did not
/// run. One that fails does not stop the others.
fn run_suites(
    suites: &[Suite],
    results: &Path,
    made: Build,
    report: &mut Command,
) -> Result<Vec<String>, Failure> {
    let mut failed = Vec::new();
    for suite in suites {
        let name = suite.name();
        let json = results.join(format!("{name}.json"));
        if json.exists() {
            // What an earlier run left must not pass for what this one found.
            fs::remove_file(&json).map_err(Failure::file("delete", &json))?;
        }
        let ended = suite.run(made, &json);
        match ended {
            Ok(()) if json.exists() => {
                report.arg(json);
                continue;
            }
            Ok(()) => {
                report.args(["--skipped", &format!("{name}=it wrote no report")]);
            }
            Err(failure) => {
                report.args(["--skipped", &format!("{name}={failure}")]);
            }
        }
        failed.push(name.to_owned());
    }
    Ok(failed)
}

/// How the Rust program of the benchmarks is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Build {
    /// As what is handed out.
    Full,
    /// Sooner: its figures are good for nothing.
    Quick,
}

impl Build {
    /// The table of the README is only made of a full run.
    fn of(selection: &Selection) -> Self {
        if selection.quick && selection.what != What::Claims {
            Self::Quick
        } else {
            Self::Full
        }
    }

    fn profile(self) -> &'static str {
        match self {
            Self::Full => "release",
            Self::Quick => programs::QUICK,
        }
    }

    /// The program, to be given its arguments. It stays as it is if a file is edited between two suites.
    fn benches(self) -> Command {
        Program::Benches.command(self.profile())
    }
}
