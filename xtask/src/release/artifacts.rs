//! `artifacts`: what is handed out beside the crates, in one folder, and the sums of all of it.
//!
//! The command as one static file, in an archive and as a Debian package; the Python package as a wheel and
//! as its sources; for what is compiled, a list of what is in it. The same commit, toolchain and tools make the
//! same bytes, wherever they build.

mod archive;
mod build;
mod deb;
mod facts;
mod folder;
mod gathered;
mod limit;
mod musl;
mod quick;
mod sbom;
mod sums;
mod tree;
mod wheel;

pub(crate) use quick::quick;

use std::{collections::BTreeSet, path::PathBuf};

use clap::{Args, ValueEnum};

use crate::{failure::Failure, workspace};

use build::Build;
use facts::Facts;

/// What to make and where.
#[derive(Debug, Args)]
pub(crate) struct Choice {
    /// The folder; it is made, and must be empty or hold earlier artifacts, which go.
    #[arg(long, required_unless_present = "quick")]
    into: Option<PathBuf>,
    /// Only these.
    #[arg(long, value_delimiter = ',', value_enum)]
    only: Vec<Kind>,
    /// The profile of what is compiled; only `dist` is for others.
    #[arg(long, default_value = DIST, value_parser = [DIST, DEMO])]
    profile: String,
    /// Keep nothing: build command and wheel quickly, and try each where there is nothing else.
    #[arg(long, conflicts_with_all = ["into", "only", "profile"])]
    quick: bool,
}

/// What others get.
const DIST: &str = "dist";
/// What others get of the Python module.
const WHEEL: &str = "wheel";
/// What is quicker to build, larger and slower.
const DEMO: &str = "demo";

/// What is there soonest.
const TRIAL: &str = "trial";

/// One kind of artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Kind {
    /// The command, static, with its manual in an archive; and what is in it.
    Telemetry,
    /// The same for Debian.
    Deb,
    /// The Python package, compiled; and what is in it.
    Wheel,
    /// The Python package as sources.
    Sdist,
}

/// Makes what `choice` says.
pub(crate) fn run(choice: &Choice) -> Result<(), Failure> {
    let Some(into) = choice.into.as_deref() else {
        return quick();
    };
    let root = workspace::root();
    let facts = Facts::of(root)?;
    let build = Build::new(&facts, &choice.profile)?;
    let kinds: BTreeSet<Kind> = if choice.only.is_empty() {
        Kind::value_variants().iter().copied().collect()
    } else {
        choice.only.iter().copied().collect()
    };
    folder::empty(into)?;

    if kinds.contains(&Kind::Telemetry) || kinds.contains(&Kind::Deb) {
        let gathered = gathered::gather(&facts, &build)?;
        if kinds.contains(&Kind::Telemetry) {
            archive::write(&facts, &gathered, into)?;
        }
        if kinds.contains(&Kind::Deb) {
            deb::write(&facts, &gathered, into)?;
        }
    }
    if kinds.contains(&Kind::Wheel) {
        let profile = if choice.profile == DIST { WHEEL } else { DEMO };
        wheel::build(&facts, &Build::new(&facts, profile)?, into)?;
    }
    if kinds.contains(&Kind::Sdist) {
        wheel::sources(&facts, into)?;
    }

    for (name, bytes) in sums::write(into)? {
        println!("{bytes:>9} bytes  {name}");
    }
    for note in facts.unset() {
        println!("note: {note}");
    }
    if choice.profile != DIST {
        println!("note: made with profile {}, not for others", choice.profile);
    }
    Ok(())
}
