//! What is packed into each package: everything a user needs, nothing that lies about, and not much.

use std::fs;

use crate::{failure::Failure, process};

use super::{export::Export, packages::Package};

/// What must be in every package.
const NEEDED: [&str; 6] = [
    "CHANGELOG.md",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "src/lib.rs",
];

/// What cargo and we add at the top; whatever else is packed lies in a directory of its own.
const AT_THE_TOP: [&str; 5] = [
    ".cargo_vcs_info.json",
    "Cargo.lock",
    "Cargo.toml.orig",
    "build.rs",
    "public-api.txt",
];

/// What is built into a Python package, beside its sources.
const OF_PYTHON: [&str; 5] = [
    "CHANGELOG.md",
    "Cargo.toml",
    "README.md",
    "build.rs",
    "pyproject.toml",
];

/// The most bytes of a packed and compressed package. The largest has three quarters of it.
const MOST_BYTES: u64 = 512 * 1024;

/// What is wrong with the contents of `package`, as it is packed from `export`.
pub(crate) fn faults(export: &Export, package: &Package) -> Result<Vec<String>, Failure> {
    let mut cargo = export.cargo();
    cargo.args(["package", "--list", "--allow-dirty", "--quiet"]);
    cargo.args(["--package", &package.published]);
    let listed = process::output(&mut cargo)?;
    let listed = String::from_utf8_lossy(&listed);
    Ok(faults_of(&listed.lines().collect::<Vec<_>>()))
}

/// Packs all of `packages` at once, so that they need not be in any registry.
pub(crate) fn pack(export: &Export, packages: &[Package]) -> Result<(), Failure> {
    let mut cargo = export.cargo();
    cargo.args(["package", "--allow-dirty", "--no-verify", "--quiet"]);
    for package in packages {
        cargo.args(["--package", &package.published]);
    }
    process::run(&mut cargo)
}

/// A sentence for each of `packages` whose archive is too large.
pub(crate) fn oversized(export: &Export, packages: &[Package]) -> Result<Vec<String>, Failure> {
    pack(export, packages)?;
    let mut faults = Vec::new();
    for package in packages {
        let archive = export.packed(package);
        let found = fs::metadata(&archive).map_err(Failure::file("inspect", &archive))?;
        println!("{}: {} bytes packed", package.name, found.len());
        if found.len() > MOST_BYTES {
            faults.push(format!(
                "{}: {} bytes packed; at most {MOST_BYTES} are allowed",
                package.directory,
                found.len()
            ));
        }
    }
    Ok(faults)
}

fn faults_of(listed: &[&str]) -> Vec<String> {
    let missing = NEEDED
        .iter()
        .filter(|needed| !listed.contains(needed))
        .map(|needed| format!("{needed} is not packed; every package has it"));
    let stray = listed.iter().filter(|path| !is_expected(path)).map(|path| {
        format!(
            "{path} is packed; allowed are the sources, the examples, manifest, README, changelog, \
                 licences and public-api.txt"
        )
    });
    missing.chain(stray).collect()
}

/// Whether the file at `path`, from the directory of a package, belongs into it.
pub(crate) fn is_expected(path: &str) -> bool {
    let is_rust = path.ends_with(".rs");
    match path.split_once('/') {
        None => NEEDED.contains(&path) || AT_THE_TOP.contains(&path),
        Some(("src", below)) => is_rust || below.starts_with("generated/"),
        Some(("examples", _)) => is_rust || path.ends_with(".toml"),
        Some(_) => false,
    }
}

/// Whether the file at `path`, from the directory of a Python package, is in what is built of that.
pub(crate) fn is_of_python(path: &str) -> bool {
    match path.split_once('/') {
        None => OF_PYTHON.contains(&path),
        Some((directory, _)) => directory == "src" || directory == "python",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_into_a_package_is_accepted() {
        let mut listed = NEEDED.to_vec();
        listed.extend(AT_THE_TOP);
        listed.extend(["src/queue/ring.rs", "src/generated/descriptor.bin"]);
        listed.extend(["examples/demo/main.rs", "examples/telemetry.toml"]);
        assert_eq!(faults_of(&listed), [""; 0]);
    }

    #[test]
    fn what_is_missing_or_lies_about_is_named() {
        let mut listed: Vec<&str> = NEEDED.to_vec();
        listed.retain(|path| *path != "LICENSE-MIT");
        for stray in [
            "tests/wire.rs",
            "src/notes.txt",
            "core.1234",
            "examples/out.log",
        ] {
            listed.push(stray);
        }
        let faults = faults_of(&listed);
        assert_eq!(faults.len(), 5, "{faults:?}");
        assert!(
            faults[0].starts_with("LICENSE-MIT is not packed"),
            "{faults:?}"
        );
        assert!(faults[3].starts_with("core.1234 is packed"), "{faults:?}");
    }
}
