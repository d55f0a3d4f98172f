//! The command and what it says of itself: completions and manual pages come from the binary that is handed
//! out, so they fit it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use crate::{failure::Failure, process};

use super::{
    DIST,
    build::{self, Build},
    facts::{Facts, SERVER},
    limit, musl, sbom,
};

/// What the archive and the package are made of.
#[derive(Debug)]
pub(crate) struct Gathered {
    /// The command.
    pub(crate) binary: Vec<u8>,
    /// Scripts by the name of their shell.
    pub(crate) completions: BTreeMap<&'static str, Vec<u8>>,
    /// Manual pages by the name of their file.
    pub(crate) pages: BTreeMap<String, Vec<u8>>,
    /// What is in the command.
    pub(crate) contents: String,
}

/// The shells that people use; the command knows more.
const SHELLS: [&str; 3] = ["bash", "fish", "zsh"];

/// Builds the command and asks it.
pub(crate) fn gather(facts: &Facts, build: &Build) -> Result<Gathered, Failure> {
    let path = musl::build(build)?;
    if build.profile == DIST {
        limit::check(&path, limit::COMMAND)?;
        build::refuse_traces(&path, build, &facts.root)?;
    }
    musl::run_alone(&path)?;
    let completions = SHELLS
        .into_iter()
        .map(|shell| {
            let mut command = process::command(&path);
            let script = process::output(command.args(["completions", shell]))?;
            Ok((shell, script))
        })
        .collect::<Result<_, Failure>>()?;
    let selection = sbom::Selection {
        package: SERVER,
        features: musl::FEATURES,
        target: musl::TARGET,
    };
    Ok(Gathered {
        binary: fs::read(&path).map_err(Failure::file("read", &path))?,
        completions,
        pages: pages(&path)?,
        contents: sbom::text(facts, &selection, "telemetry", "application")?,
    })
}

fn pages(command: &PathBuf) -> Result<BTreeMap<String, Vec<u8>>, Failure> {
    let into = tempfile::tempdir().map_err(Failure::file("create", &std::env::temp_dir()))?;
    let into: &Path = into.path();
    process::output(process::command(command).args(["man", "--into"]).arg(into))?;
    let entries = fs::read_dir(into).map_err(Failure::file("list", into))?;
    entries
        .flatten()
        .map(|entry| {
            let page = fs::read(entry.path()).map_err(Failure::file("read", &entry.path()))?;
            Ok((entry.file_name().to_string_lossy().into_owned(), page))
        })
        .collect()
}
