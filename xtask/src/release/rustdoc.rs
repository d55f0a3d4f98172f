//! rustdoc with what is unstable in it: the description of a crate as JSON, and pages as docs.rs makes
//! them.
//!
//! Only rustdoc gets `RUSTC_BOOTSTRAP`, through a script in the target directory. The compiler does not,
//! so that what other commands have built stays fresh.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{failure::Failure, metadata, process};

use super::packages::Package;

/// The script that stands in for rustdoc.
const SCRIPT: &str = "#!/bin/sh\nRUSTC_BOOTSTRAP=1 exec rustdoc \"$@\"\n";

/// rustdoc, ready to be started by cargo.
#[derive(Debug)]
pub(crate) struct Rustdoc {
    /// The workspace whose crates it describes.
    root: PathBuf,
    script: PathBuf,
    target: PathBuf,
}

impl Rustdoc {
    /// For the workspace in `root`; writes the script where it is not there yet.
    pub(crate) fn ready(root: &Path) -> Result<Self, Failure> {
        let metadata = metadata::own(root)?;
        let target = metadata["target_directory"].as_str().unwrap_or("target");
        let target = PathBuf::from(target);
        let directory = target.join("xtask-release");
        fs::create_dir_all(&directory).map_err(Failure::file("create", &directory))?;
        let script = directory.join("rustdoc-unstable");
        if !fs::read(&script).is_ok_and(|found| found == SCRIPT.as_bytes()) {
            write_program(&script)?;
        }
        Ok(Self {
            root: root.to_owned(),
            script,
            target,
        })
    }

    /// Describes the library of `package` with every feature that a user may choose; returns the file.
    pub(crate) fn json(&self, package: &Package) -> Result<PathBuf, Failure> {
        let mut cargo = self.cargo();
        cargo.args(["rustdoc", "--package", &package.name, "--lib"]);
        cargo.arg("--no-default-features");
        if !package.features.is_empty() {
            cargo.args(["--features", &package.features.join(",")]);
        }
        cargo.args(["--", "-Z", "unstable-options", "--output-format", "json"]);
        process::run(&mut cargo)?;
        Ok(self.target.join(format!("doc/{}.json", package.library())))
    }

    /// Makes the pages of `packages` as docs.rs does; a warning is a failure.
    pub(crate) fn pages(&self, packages: &[Package]) -> Result<(), Failure> {
        let mut cargo = self.cargo();
        cargo.args([
            "doc",
            "--no-deps",
            "--lib",
            "--all-features",
            "--keep-going",
        ]);
        for package in packages {
            cargo.args(["--package", &package.name]);
        }
        cargo.env("RUSTDOCFLAGS", "--cfg docsrs -D warnings");
        process::run(&mut cargo)
    }

    fn cargo(&self) -> Command {
        let mut cargo = process::cargo();
        cargo.current_dir(&self.root).env("RUSTDOC", &self.script);
        cargo
    }
}

fn write_program(path: &Path) -> Result<(), Failure> {
    fs::write(path, SCRIPT).map_err(Failure::file("write", path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .map_err(Failure::file("change the mode of", path))
}
