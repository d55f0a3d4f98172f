//! Runs the comparison benchmarks: `telemetry-benches micro [--quick] [--json PATH]`.
//!
//! Each row compares ours with a peer in the same process and the same run. Only ratios are claims;
//! nanoseconds are for orientation.

#![expect(
    clippy::print_stdout,
    reason = "a command line program reports on its terminal"
)]

mod measure;
mod micro;
mod table;

use std::env;
use std::process::ExitCode;

use measure::Effort;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let json = arguments
        .iter()
        .position(|argument| argument == "--json")
        .and_then(|at| arguments.get(at + 1));
    let effort = if quick { Effort::QUICK } else { Effort::FULL };
    let report = match arguments.first().map(String::as_str) {
        Some("micro") => micro::run(effort),
        other => {
            println!("unknown benchmark {other:?}; there is: micro");
            return ExitCode::from(2);
        }
    };
    print!("{}", table::render(&report));
    if let Some(path) = json {
        let text = serde_json::to_string_pretty(&report).unwrap_or_default();
        if let Err(error) = std::fs::write(path, text) {
            println!("cannot write {path}: {error}");
            return ExitCode::FAILURE;
        }
        println!("written to {path}");
    }
    ExitCode::SUCCESS
}
