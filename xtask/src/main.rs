//! `cargo xtask <command>`: every task of the project, and the only entrance to them.
//!
//! One file per command; this one reads the command line and hands over. It must stay quick to
//! compile, so it never depends on the manager, the worker or an async runtime: what needs them is
//! started as a process.
//!
//! # Floors
//!
//! From the ground up; a module uses only modules of floors below its own, which a test checks.
//!
//! 1. `failure`, `workspace`
//! 2. `artifacts`, `process`
//! 3. `gen_events`, `gen_proto`, `gen_reference`, `loom`, `metadata`, `programs`, `python`
//! 4. `bench`, `chaos`, `demo`, `features`, `release`, `simulate`, `test`
//! 5. `ci`

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool talks here"
)]

mod artifacts;
mod bench;
mod chaos;
mod ci;
mod demo;
mod failure;
mod features;
mod gen_events;
mod gen_proto;
mod gen_reference;
mod loom;
mod metadata;
mod process;
mod programs;
mod python;
mod release;
mod simulate;
mod test;
mod workspace;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use failure::Failure;

#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    about = "Every task of the project, one command each."
)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show a pool of real Python workers: watched, controlled, killed, and every event accounted for.
    Demo(demo::Show),
    /// Write the Rust code and the descriptor of proto/snakepit_bridge.proto.
    GenProto(Generate),
    /// Write docs/events.md, the reference of every event, from the built-in catalog.
    GenEvents(Generate),
    /// Write docs/python-reference.md, every name of the Python package, from its sources.
    GenReference(Generate),
    /// Run every test: Rust, documentation examples, Python.
    Test(test::Selection),
    /// Compare the speed of single steps with what one would write without us.
    Bench(bench::Selection),
    /// Kill, stop, cut, steal and restart real processes, and compare every account with the truth.
    Chaos(chaos::Run),
    /// Run both roles in one thread and in virtual time, in worlds that seeds make.
    Simulate(simulate::Run),
    /// Try the emit path's queue in the orders of its threads that the memory model allows.
    Loom(loom::Depth),
    /// Show and check what a release of the published crates would be, rehearse it, and make it.
    Release(release::Release),
    /// Run what a change must pass: format, lints, freshness, feature sets, docs, every test.
    Ci,
}

/// How a generator command treats what is on disk.
#[derive(Debug, Args)]
struct Generate {
    /// Write nothing; fail and name the files that are not what the generator would write.
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    match run(CommandLine::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::GenProto(generate) => gen_proto::run(generate.check),
        Command::GenEvents(generate) => gen_events::run(generate.check),
        Command::GenReference(generate) => gen_reference::run(generate.check),
        Command::Test(selection) => test::run(&selection),
        Command::Bench(selection) => bench::run(&selection),
        Command::Chaos(run) => chaos::run(&run),
        Command::Simulate(run) => simulate::run(&run),
        Command::Loom(depth) => loom::run(&depth),
        Command::Release(release) => release::run(&release),
        Command::Ci => ci::run(),
        Command::Demo(show) => demo::run(&show),
    }
}
