//! What a registry has, as cargo tells: a project that asks for one version of one package and is locked.
//!
//! cargo's words for "there is no such package" and "no such version" are the only ones that are understood
//! so; whatever else it says is a failure to ask, never an absence.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{failure::Failure, metadata, process};

use super::super::packages::Package;

/// A registry.
#[derive(Debug)]
pub(crate) struct Registry {
    /// Its name in cargo's configuration; none for the public one.
    name: Option<String>,
    /// The directory of the project that asks.
    place: PathBuf,
}

/// What it has.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// No package of that name.
    Nothing,
    /// The package, in other versions.
    OtherVersions,
    /// That version.
    Version {
        /// Of its archive.
        checksum: String,
    },
}

impl Registry {
    /// The registry `name`, asked from a project in the target directory of the workspace in `root`.
    pub(crate) fn named(root: &Path, name: Option<&str>) -> Result<Self, Failure> {
        let metadata = metadata::own(root)?;
        let target = Path::new(metadata["target_directory"].as_str().unwrap_or("target"));
        Ok(Self {
            name: name.map(str::to_owned),
            place: target.join("xtask-release/asking"),
        })
    }

    /// Its name in cargo's configuration; none for the public one.
    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// What it is called here.
    pub(crate) fn told(&self) -> String {
        let name = self.name().map(|name| format!("the registry `{name}`"));
        name.unwrap_or_else(|| "the public registry".to_owned())
    }

    /// What a command of cargo needs to mean it.
    pub(crate) fn arguments(&self) -> Vec<&str> {
        let name = self.name().into_iter();
        name.flat_map(|name| ["--registry", name]).collect()
    }

    /// Whether it has `package` in the version of the manifest.
    pub(crate) fn ask(&self, package: &Package) -> Result<Found, Failure> {
        self.write(package)?;
        let mut cargo = self.cargo();
        cargo.args(["generate-lockfile", "--color", "never"]);
        let output = cargo.output().map_err(|source| Failure::Start {
            command: "cargo generate-lockfile".to_owned(),
            source,
        })?;
        let (name, version) = (&package.published, package.version.to_string());
        if output.status.success() {
            let lock = self.place.join("Cargo.lock");
            let lock = fs::read_to_string(&lock).map_err(Failure::file("read", &lock))?;
            if let Some(checksum) = checksum(&lock, name, &version) {
                return Ok(Found::Version { checksum });
            }
        }
        let said = String::from_utf8_lossy(&output.stderr);
        absence(&said, name, &version).ok_or_else(|| {
            Failure::Machine(format!(
                "{} could not be asked for {name} {version}; cargo said:\n{}",
                self.told(),
                said.trim_end()
            ))
        })
    }

    /// The directory with the files of `package` as the registry has them, which it has been asked for.
    pub(crate) fn unpacked(&self, package: &Package) -> Result<PathBuf, Failure> {
        self.write(package)?;
        process::output(self.cargo().args(["generate-lockfile", "--quiet"]))?;
        let locked = metadata::locked(&self.place)?;
        metadata::list(&locked, "packages")
            .find(|it| it["name"] == package.published.as_str())
            .and_then(|it| Path::new(it["manifest_path"].as_str()?).parent())
            .map(Path::to_owned)
            .ok_or_else(|| Failure::Machine(format!("cargo did not unpack {}", package.published)))
    }

    /// Writes the project that asks for `package`.
    fn write(&self, package: &Package) -> Result<(), Failure> {
        let source = self.place.join("src");
        fs::create_dir_all(&source).map_err(Failure::file("create", &source))?;
        let lock = self.place.join("Cargo.lock");
        if lock.exists() {
            fs::remove_file(&lock).map_err(Failure::file("delete", &lock))?;
        }
        let registry = self
            .name()
            .map_or_else(String::new, |name| format!(", registry = \"{name}\""));
        let manifest = format!(
            "[package]\nname = \"asking\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n\
             [dependencies]\nasked = {{ package = \"{}\", version = \"={}\"{registry} }}\n",
            package.published, package.version
        );
        for (path, text) in [("Cargo.toml", &*manifest), ("src/lib.rs", "//! Asks.\n")] {
            let path = self.place.join(path);
            fs::write(&path, text).map_err(Failure::file("write", &path))?;
        }
        Ok(())
    }

    fn cargo(&self) -> Command {
        let mut cargo = process::cargo();
        // Without the network nothing would be found, in the words for what is not there.
        cargo
            .current_dir(&self.place)
            .env("CARGO_NET_OFFLINE", "false");
        cargo
    }
}

/// The checksum of a package in the text of a `Cargo.lock`.
fn checksum(lock: &str, name: &str, version: &str) -> Option<String> {
    let heading = format!("name = \"{name}\"\nversion = \"{version}\"\n");
    let block = lock
        .split("[[package]]\n")
        .find(|block| block.starts_with(&heading))?;
    let value = block
        .lines()
        .find_map(|line| line.strip_prefix("checksum = \""))?;
    Some(value.trim_end_matches('"').to_owned())
}

/// What cargo says is not there; none if it says anything else.
fn absence(said: &str, name: &str, version: &str) -> Option<Found> {
    if said.contains(&format!("no matching package named `{name}` found")) {
        return Some(Found::Nothing);
    }
    let other = format!("failed to select a version for the requirement `{name} = \"={version}\"`");
    let is_yanked = said.contains(&format!("version {version} is yanked"));
    (said.contains(&other) && !is_yanked).then_some(Found::OtherVersions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(said: &str, expected: Option<Found>) {
        assert_eq!(absence(said, "low-core", "0.2.0"), expected, "{said}");
    }

    #[test]
    fn only_what_cargo_says_is_absent_is_absent() {
        check(
            "error: no matching package named `low-core` found\nlocation searched: `loop` index",
            Some(Found::Nothing),
        );
        check(
            "error: failed to select a version for the requirement `low-core = \"=0.2.0\"`\n\
             candidate versions found which didn't match: 0.1.0",
            Some(Found::OtherVersions),
        );
        check(
            "error: failed to select a version for the requirement `low-core = \"=0.2.0\"`\n  \
             version 0.2.0 is yanked",
            None,
        );
        check("error: no matching package named `low-wire` found", None);
        check(
            "error: failed to get `low-core` as a dependency\n\nCaused by:\n  download of config.json failed",
            None,
        );
        check("", None);
    }

    #[test]
    fn the_checksum_is_that_of_the_version() {
        let lock = "version = 4\n\n[[package]]\nname = \"low-core\"\nversion = \"0.2.0\"\nsource = \"x\"\n\
                    checksum = \"abc\"\n";
        assert_eq!(checksum(lock, "low-core", "0.2.0").as_deref(), Some("abc"));
        assert_eq!(checksum(lock, "low-core", "0.1.0"), None);
    }
}
