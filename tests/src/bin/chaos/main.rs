//! `chaos`: real processes, every fault there is at once, and the truth beside them.
//!
//! `chaos --python PYTHON [--seconds N] [--seed S] [--quick]` runs it and prints a table; `chaos
//! worker` and `chaos manager ROLE` are the processes it starts. It ends only what it started.

use std::error::Error;
use std::process::ExitCode;

use telemetry_tests::truth::{run_worker, serve_role};
use tokio::runtime::Runtime;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let ended = match words[..] {
        ["worker"] => run_worker(),
        ["manager", role] => manage(role),
        _ => Ok(()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", words.join(" "));
            ExitCode::FAILURE
        }
    }
}

fn manage(role: &str) -> Result<(), Box<dyn Error>> {
    let role = serde_json::from_str(role)?;
    Runtime::new()?.block_on(serve_role(role))
}
