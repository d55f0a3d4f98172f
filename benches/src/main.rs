//! Runs the comparison benchmarks and reads what they found.
//!
//! Each row compares ours with a peer in the same process and the same run. Only ratios are claims;
//! nanoseconds are for orientation. `cargo xtask bench` is what people type; it builds this program
//! and the Python suite, runs them one after the other, and has [`command`] print one table.
//!
//! # Floors
//!
//! From the ground up; a module uses only modules of floors below its own, which a test checks.
//!
//! 1. `allocations`, `report`
//! 2. `environment`, `measure`, `table`
//! 3. `differential`, `peers`
//! 4. `micro`
//! 5. in a circle: `naive`, `stream`
//! 6. `burst`, `fanin`, `overhead`, `start`
//! 7. `suites`
//! 8. `command`

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line program reports on its terminal"
)]

mod allocations;
mod burst;
mod command;
mod differential;
mod environment;
mod fanin;
mod measure;
mod micro;
mod naive;
mod overhead;
mod peers;
mod report;
mod start;
mod stream;
mod suites;
mod table;

use std::process::ExitCode;

fn main() -> ExitCode {
    let roles = [
        fanin::ROLES.as_slice(),
        &overhead::ROLES,
        &burst::ROLES,
        &start::ROLES,
    ]
    .concat();
    if let Some(code) = stream::play(&roles) {
        return code;
    }
    match command::run() {
        Ok(code) => code,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}
