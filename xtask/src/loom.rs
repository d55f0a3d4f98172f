//! `loom`: the queue in the model checker, which tries every order that the memory model allows.
//!
//! Everything is built once more with `--cfg loom`, into a target directory of its own, so that
//! other builds stay warm.

use crate::{failure::Failure, process, workspace};

/// Where it is built.
const TARGET: &str = "target/loom";

/// Runs the models; fails with the order that broke one.
pub(crate) fn run() -> Result<(), Failure> {
    process::run(
        process::cargo()
            .args(["test", "-p", "telemetry-core", "--lib", "queue::model"])
            .env("RUSTFLAGS", "--cfg loom")
            .env("CARGO_TARGET_DIR", workspace::path(TARGET)),
    )
}
