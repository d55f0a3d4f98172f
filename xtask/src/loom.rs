//! `loom`: the queue in the model checker, which tries every order that the memory model allows.
//!
//! Everything is built once more with `--cfg loom`, into a target directory of its own, so that
//! other builds stay warm.

use clap::Args;

use crate::{failure::Failure, process, workspace};

/// Where it is built.
const TARGET: &str = "target/loom";
/// How often a thread is put off against its will, unless every order is tried.
const PREEMPTIONS: &str = "4";

/// How far the models are followed.
#[derive(Debug, Default, Args)]
pub(crate) struct Depth {
    /// Every order, which takes minutes, instead of those in which threads are put off up to four times
    #[arg(long)]
    all: bool,
}

/// Runs the models; fails with the order that broke one.
pub(crate) fn run(depth: &Depth) -> Result<(), Failure> {
    let mut cargo = process::cargo();
    cargo
        .args(["test", "-p", "telemetry-core", "--lib", "queue::model"])
        .env("RUSTFLAGS", "--cfg loom")
        .env("CARGO_TARGET_DIR", workspace::path(TARGET));
    if !depth.all {
        cargo.env("LOOM_MAX_PREEMPTIONS", PREEMPTIONS);
    }
    process::run(&mut cargo)
}
