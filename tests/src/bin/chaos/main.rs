//! `chaos`: real processes, every fault there is at once, and the truth beside them.
//!
//! `chaos --python PYTHON [--seconds N] [--seed S] [--workers N] [--rate R] [--quick]` runs it and prints a table; `chaos
//! worker` and `chaos manager ROLE` are the processes it starts. It ends only what it started. The
//! exit code is 0 if no account was wrong without saying so, no law was broken at any look, and every
//! fault happened.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that talks at a terminal"
)]

mod dialled;
mod faults;
mod fleet;
mod loose;
mod pool;
mod record;
mod table;

use std::error::Error;
use std::process::ExitCode;

use fleet::Settings;
use telemetry_tests::truth::{run_worker, serve_role};
use tokio::runtime::Runtime;

/// Seconds of a run that names none.
const SECONDS: u64 = 60;
/// Workers of the pool, unless it is said.
const WORKERS: usize = 3;
/// Events a second of each worker, unless it is said.
const RATE: u32 = 200;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let ended = match words[..] {
        ["worker"] => run_worker().map(|()| true),
        ["manager", role] => manage(role).map(|()| true),
        _ => chaos(&words),
    };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{}: {error}", words.join(" "));
            ExitCode::FAILURE
        }
    }
}

fn manage(role: &str) -> Result<(), Box<dyn Error>> {
    let role = serde_json::from_str(role)?;
    let runtime = Runtime::new()?;
    let served = runtime.block_on(serve_role(role));
    // A read of standard input may never return.
    runtime.shutdown_background();
    served
}

fn chaos(words: &[&str]) -> Result<bool, Box<dyn Error>> {
    let mut settings = Settings {
        python: telemetry_tests::python().unwrap_or_default(),
        seconds: SECONDS,
        seed: u64::from(std::process::id()),
        quick: false,
        workers: WORKERS,
        rate: RATE,
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if *word == "--quick" {
            settings.quick = true;
            continue;
        }
        let value = words
            .next()
            .ok_or_else(|| format!("{word} needs a value"))?;
        match *word {
            "--python" => settings.python = value.into(),
            "--seconds" => settings.seconds = value.parse()?,
            "--workers" => settings.workers = value.parse()?,
            "--rate" => settings.rate = value.parse()?,
            "--seed" => settings.seed = value.parse()?,
            _ => return Err(format!("{word} is not known").into()),
        }
    }
    if !settings.python.is_file() {
        return Err("--python names a Python that has telemetry_py".into());
    }
    println!("seed {}", settings.seed);
    Ok(Runtime::new()?.block_on(fleet::run(&settings))?)
}
