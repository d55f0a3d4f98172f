//! `release`: what a release of the published crates would be, and whether it may be.
//!
//! Crates are versioned separately; each release has a tag, `telemetry-core-v0.1.0`. Nothing here
//! changes a manifest, makes a tag or talks to a registry.
//!
//! * `plan` says what changed and proposes versions; `check` refuses what the rules do not allow.
//! * `api` writes the text of each crate's public API, which both compare.

mod api;
mod changelog;
mod check;
mod contents;
mod difference;
mod git;
mod packages;
mod plan;
mod rustdoc;
#[cfg(test)]
mod tests;
mod version;
mod wire;

use clap::Subcommand;

use crate::{failure::Failure, workspace};

/// What to do about a release.
#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Say what changed in each published crate since its last tag, and propose its next version.
    Plan,
    /// Refuse what a release may not do; name every problem, not only the first.
    Check,
    /// Write crates/*/public-api.txt, the public API of each published crate, one item a line.
    Api {
        /// Write nothing; fail and name the files that are not fresh.
        #[arg(long)]
        check: bool,
    },
}

/// Does what `task` says.
pub(crate) fn run(task: &Task) -> Result<(), Failure> {
    let root = workspace::root();
    match task {
        Task::Plan => {
            for line in plan::lines(root)? {
                println!("{line}");
            }
            Ok(())
        }
        Task::Check => check::run(root),
        Task::Api { check } => {
            api::generate(&packages::published(root)?)?.apply(root, *check, api::REMEDY)
        }
    }
}
