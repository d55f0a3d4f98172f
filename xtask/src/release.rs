//! `release`: what a release of the published crates would be, whether it may be, and a rehearsal.
//!
//! Crates are versioned separately; each release has a tag, `telemetry-core-v0.1.0`. Nothing here
//! changes a manifest, makes a tag or talks to a registry.
//!
//! * `plan` says what changed and proposes versions; `check` refuses what the rules do not allow.
//! * `api` writes the text of each crate's public API, which both compare.
//! * `rehearse` packs everything into a folder that cargo takes for a registry.

mod api;
mod changelog;
mod check;
mod contents;
mod difference;
mod git;
mod index;
mod packages;
mod plan;
mod proof;
mod rehearse;
mod rustdoc;
#[cfg(test)]
mod tests;
mod version;
mod wire;

use std::path::PathBuf;

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
    /// Pack the published crates, and all that they need, into a folder that cargo takes for a registry.
    Rehearse {
        /// The folder; it is made, and must be empty or hold an earlier rehearsal.
        #[arg(long)]
        into: PathBuf,
        /// Also build a worker and a manager outside of the tree from nothing but that folder.
        #[arg(long)]
        prove: bool,
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
            let texts = api::generate(&packages::published(root)?)?;
            api::files(&texts).apply(root, *check, api::REMEDY)
        }
        Task::Rehearse { into, prove } => {
            rehearse::run(root, into)?;
            if *prove {
                proof::run(into)?;
            }
            Ok(())
        }
    }
}
