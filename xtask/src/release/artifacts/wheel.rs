//! The Python package: a wheel for Linux with any glibc that is old enough, and its sources.
//!
//! The module is linked by zig, which knows the symbols of every glibc, so that the one of this machine does not
//! count. Both tools are Python packages of an environment of their own.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    failure::Failure,
    process,
    python::{self, Environment},
};

use super::{
    WHEEL,
    build::{self, Build},
    facts::{Facts, PYTHON},
    limit, sbom,
};

/// Manifest of the module.
const MANIFEST: &str = "crates/telemetry-py/Cargo.toml";
/// What the module is compiled for.
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// The oldest systems that the wheel is for, by their glibc: that which Rust itself asks for.
const COMPATIBILITY: &str = "manylinux_2_17";

/// Builds the wheel into the folder `into`, and writes beside it what is in it.
pub(crate) fn build(facts: &Facts, build: &Build, into: &Path) -> Result<(), Failure> {
    let environment = python::ready_for_artifacts()?;
    let into = absolute(into)?;
    let made = empty(&build.directory.join("wheels"))?;
    let mut maturin = environment.command();
    maturin
        .args(["-m", "maturin", "build", "--locked", "--strip", "--zig"])
        .args(["--profile", &build.profile, "--manifest-path", MANIFEST])
        .args(["--target", TARGET, "--compatibility", COMPATIBILITY])
        .args(["--compression-level", "9"])
        .arg("--interpreter")
        .arg(environment.python())
        .arg("--out")
        .arg(&made);
    // maturin starts zig by this name.
    maturin.env("PATH", environment.path());
    process::run(build.tell(&mut maturin))?;
    let wheel = only(&made, ".whl")?;
    if build.profile == WHEEL {
        limit::check(&wheel, limit::WHEEL)?;
        let module = build.directory.join(TARGET).join(&build.profile);
        build::refuse_traces(&module.join("lib_native.so"), build, &facts.root)?;
    }
    let name = hand_over(&wheel, &into)?;
    let selection = sbom::Selection {
        package: PYTHON,
        features: "",
        target: TARGET,
    };
    let contents = sbom::text(facts, &selection, "telemetry_py", "library")?;
    let path = into.join(name.replace(".whl", ".cdx.json"));
    fs::write(&path, contents).map_err(Failure::file("write", &path))
}

/// Packs the sources, with those of the crates that the module is made of, into the folder `into`.
pub(crate) fn sources(facts: &Facts, into: &Path) -> Result<(), Failure> {
    let environment = python::ready_for_artifacts()?;
    let into = absolute(into)?;
    let made = empty(&facts.target_directory.join("artifacts/sources"))?;
    let mut maturin = environment.command();
    maturin
        .args(["-m", "maturin", "sdist", "--manifest-path", MANIFEST])
        .arg("--out")
        .arg(&made)
        .env("SOURCE_DATE_EPOCH", facts.epoch.to_string());
    process::run(&mut maturin)?;
    hand_over(&only(&made, ".tar.gz")?, &into).map(|_name| ())
}

/// The module as the tests use it, from what they have built, as a wheel for this machine alone.
pub(crate) fn of_tests(environment: &Environment) -> Result<PathBuf, Failure> {
    let made = empty(&crate::workspace::path("target/maturin/wheels"))?;
    environment.build_wheel(&made)?;
    only(&made, ".whl")
}

fn hand_over(file: &Path, into: &Path) -> Result<String, Failure> {
    let name = file.file_name().unwrap_or_default();
    let copy = into.join(name);
    fs::copy(file, &copy).map_err(Failure::file("write", &copy))?;
    Ok(name.to_string_lossy().into_owned())
}

/// Programs are started in the root; the folder was named from where we are.
fn absolute(folder: &Path) -> Result<PathBuf, Failure> {
    fs::canonicalize(folder).map_err(Failure::file("find", folder))
}

/// `directory`, a directory of ours, with nothing in it.
fn empty(directory: &Path) -> Result<PathBuf, Failure> {
    if directory.exists() {
        fs::remove_dir_all(directory).map_err(Failure::file("delete", directory))?;
    }
    fs::create_dir_all(directory).map_err(Failure::file("create", directory))?;
    Ok(directory.to_owned())
}

/// The one file in `directory`, whose name ends with `end`.
fn only(directory: &Path, end: &str) -> Result<PathBuf, Failure> {
    let entries = fs::read_dir(directory).map_err(Failure::file("list", directory))?;
    let found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    match &found[..] {
        [file] if file.to_string_lossy().ends_with(end) => Ok(file.clone()),
        _ => Err(Failure::Machine(format!(
            "maturin left {found:?}; one file {end} was asked for"
        ))),
    }
}
