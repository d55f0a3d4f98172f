//! `release`: what a release of the published crates would be, whether it may be, a rehearsal, and the thing
//! itself.
//!
//! Crates are versioned separately; each release has a tag, `telemetry-core-v0.1.0`. Only `prepare` changes
//! manifests and makes tags, only `publish` talks to a registry, and only if it is told to execute.
//!
//! * `plan` says what changed and proposes versions; `check` refuses what the rules do not allow.
//! * `api` writes the text of each crate's public API, which both compare.
//! * `prepare` writes the versions that `plan` proposes, and tags them.
//! * `rehearse` packs everything into a folder that cargo takes for a registry; `publish` uploads it.
//! * `artifacts` makes what people install who do not use cargo.

mod api;
pub(crate) mod artifacts;
mod changelog;
mod check;
mod contents;
mod date;
mod difference;
mod edits;
mod export;
mod git;
mod index;
mod manifest;
mod msrv;
mod packages;
mod plan;
mod prepare;
mod proof;
mod publish;
mod rehearse;
mod rustdoc;
#[cfg(test)]
mod tests;
mod untagged;
mod version;
mod wire;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::{failure::Failure, workspace};

use version::Version;

/// A release, and of what.
#[derive(Debug, Args)]
pub(crate) struct Release {
    /// The root of another workspace with crates in `crates/`, instead of this one.
    #[arg(long, value_name = "DIR", hide = true)]
    root: Option<PathBuf>,
    #[command(subcommand)]
    task: Task,
}

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
    /// Give crates of which there is something to release their next version: manifests, changelogs, a commit, tags.
    Prepare {
        /// Show what would be written, and write nothing.
        #[arg(long)]
        dry_run: bool,
        /// A version instead of the one that is proposed: `telemetry-core=0.3.0`.
        #[arg(long, value_name = "CRATE=VERSION", value_parser = wish)]
        set: Vec<(String, Version)>,
    },
    /// Upload what is tagged and not in the registry yet, in the order of dependencies; says what it would do.
    Publish {
        /// Do it. Started again after a failure, it goes on where it ended.
        #[arg(long)]
        execute: bool,
        /// A registry of cargo's configuration, instead of the public one.
        #[arg(long, value_name = "NAME")]
        registry: Option<String>,
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
    /// Make what is handed out beside the crates: the static command, .deb, wheel, sources, checksums.
    Artifacts(artifacts::Choice),
}

/// The names here of the crates that are published.
pub(crate) fn published() -> Result<Vec<String>, Failure> {
    let packages = packages::published(workspace::root())?;
    Ok(packages.into_iter().map(|package| package.name).collect())
}

/// Refuses what a release of the workspace may not do; what a change must pass.
pub(crate) fn check() -> Result<(), Failure> {
    check::run(workspace::root())
}

/// Builds what others get, quickly, and tries it where there is nothing else.
pub(crate) fn try_artifacts() -> Result<(), Failure> {
    artifacts::quick()
}

/// Does what is asked for.
pub(crate) fn run(release: &Release) -> Result<(), Failure> {
    let given = release.root.as_deref().map(|root| {
        let found = std::fs::canonicalize(root);
        found.map_err(Failure::file("find", root))
    });
    let given = given.transpose()?;
    let root = given.as_deref().unwrap_or(workspace::root());
    match &release.task {
        Task::Plan => {
            for line in plan::Plan::of(root, &plan::Wishes::new())?.lines {
                println!("{line}");
            }
            Ok(())
        }
        Task::Check => check::run(root),
        Task::Api { check } => {
            let texts = api::generate(root, &packages::published(root)?)?;
            api::files(&texts).apply(root, *check, api::REMEDY)
        }
        Task::Prepare { dry_run, set } => {
            let mut wishes = plan::Wishes::new();
            for (name, version) in set {
                if wishes.insert(name.clone(), *version).is_some() {
                    let twice = format!("--set names {name} twice; once is allowed");
                    return Err(Failure::Refused(vec![twice]));
                }
            }
            prepare::run(root, &wishes, &date::today()?, *dry_run, check::stale)
        }
        Task::Publish { execute, registry } => publish::run(root, registry.as_deref(), *execute),
        Task::Rehearse { into, prove } => {
            let packages = rehearse::run(root, into)?;
            if *prove {
                proof::run(into, &packages)?;
            }
            Ok(())
        }
        Task::Artifacts(choice) => artifacts::run(choice),
    }
}

/// Reads `telemetry-core=0.3.0`.
fn wish(text: &str) -> Result<(String, Version), String> {
    let read = text
        .split_once('=')
        .and_then(|(name, version)| Some((name.to_owned(), Version::parse(version)?)));
    read.ok_or_else(|| "expected a crate and three numbers, `telemetry-core=0.3.0`".to_owned())
}
