//! `bench`: builds the comparison benchmarks with optimisation and runs them.
//!
//! The program prints one table, and leaves the figures as JSON under `target/bench/`.

use std::fs;

use clap::{Args, ValueEnum};

use crate::{failure::Failure, process, workspace};

/// Where the figures of the last run are.
const RESULTS: &str = "target/bench";

/// Which benchmark to run, and how long.
#[derive(Debug, Args)]
pub(crate) struct Selection {
    /// What to measure.
    #[arg(value_enum, default_value = "micro")]
    suite: Suite,
    /// A smoke run of seconds; its figures are rough.
    #[arg(long)]
    quick: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Suite {
    /// Single steps in one thread: emit in its forms, decode.
    Micro,
}

impl Suite {
    fn name(self) -> &'static str {
        match self {
            Self::Micro => "micro",
        }
    }
}

impl Selection {
    /// Shows that the benchmarks run; their figures are rough.
    pub(crate) const SMOKE: Self = Self {
        suite: Suite::Micro,
        quick: true,
    };
}

/// Builds and runs the selected benchmark.
pub(crate) fn run(selection: &Selection) -> Result<(), Failure> {
    let results = workspace::path(RESULTS);
    fs::create_dir_all(&results).map_err(Failure::file("create", &results))?;
    let suite = selection.suite.name();
    let mut command = process::cargo();
    command.args([
        "run",
        "--quiet",
        "--release",
        "-p",
        "telemetry-benches",
        "--",
        suite,
    ]);
    if selection.quick {
        command.arg("--quick");
    }
    command
        .arg("--json")
        .arg(results.join(format!("{suite}.json")));
    process::run(&mut command)
}
