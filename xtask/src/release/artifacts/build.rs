//! How anything is compiled so that nothing of the machine is in it: which profile, and which names
//! directories get.
//!
//! Paths that the compiler writes into a binary (panics, logs) are those of this machine. Each directory that
//! a source can lie in has another name there, the same everywhere.

use std::{
    collections::BTreeSet,
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::{failure::Failure, metadata, process};

use crate::release::rehearse;

use super::facts::Facts;

/// Between the flags of the variable that cargo reads.
const BETWEEN: &str = "\u{1f}";

/// One way to compile.
#[derive(Debug)]
pub(crate) struct Build {
    /// The profile.
    pub(crate) profile: String,
    /// Where it is done: flags that nothing else has would undo cargo's cache.
    pub(crate) directory: PathBuf,
    epoch: u64,
    flags: OsString,
}

impl Build {
    /// With `profile`, below the target directory of the workspace.
    pub(crate) fn new(facts: &Facts, profile: &str) -> Result<Self, Failure> {
        let directory = facts.target_directory.join("artifacts");
        let mut names = vec![
            (facts.root.clone(), "/telemetry".to_owned()),
            (directory.clone(), "/target".to_owned()),
        ];
        for directory in sources(&metadata::locked(&facts.root)?) {
            names.push((directory, "/crates".to_owned()));
        }
        names.push(library()?);
        Ok(Self {
            profile: profile.to_owned(),
            directory,
            epoch: facts.epoch,
            flags: flags(&names),
        })
    }

    /// Tells `command`, which compiles with cargo, by variables. Flags of the caller's own do not count.
    pub(crate) fn tell<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env_remove("RUSTFLAGS")
            .env("CARGO_ENCODED_RUSTFLAGS", &self.flags)
            .env("CARGO_TARGET_DIR", &self.directory)
            .env("CARGO_INCREMENTAL", "0")
            .env("SOURCE_DATE_EPOCH", self.epoch.to_string())
    }
}

/// The directories in which the sources of packages from elsewhere lie, each in one of its own.
fn sources(locked: &Value) -> BTreeSet<PathBuf> {
    metadata::list(locked, "packages")
        .filter(|package| !package["source"].is_null())
        .filter_map(|package| package["manifest_path"].as_str())
        .filter_map(|manifest| Path::new(manifest).ancestors().nth(2))
        .map(Path::to_owned)
        .collect()
}

/// The sources of Rust's own library, where they are installed, and the name that it has elsewhere.
fn library() -> Result<(PathBuf, String), Failure> {
    let said = |argument: &[&str]| -> Result<String, Failure> {
        let said = process::output(rustc().args(argument))?;
        Ok(String::from_utf8_lossy(&said).into_owned())
    };
    let root = PathBuf::from(said(&["--print", "sysroot"])?.trim());
    let version = said(&["--version", "--verbose"])?;
    let commit = version
        .lines()
        .find_map(|line| line.strip_prefix("commit-hash: "))
        .unwrap_or("unknown");
    Ok((
        root.join("lib/rustlib/src/rust"),
        format!("/rustc/{commit}"),
    ))
}

/// The compiler that cargo uses.
pub(crate) fn rustc() -> Command {
    process::command(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
}

/// Of several that fit, the compiler takes the last.
fn flags(names: &[(PathBuf, String)]) -> OsString {
    let flag = |(path, name): &(PathBuf, String)| {
        let mut flag = OsString::from("--remap-path-prefix=");
        flag.push(path);
        flag.push("=");
        flag.push(name);
        flag
    };
    names
        .iter()
        .map(flag)
        .collect::<Vec<_>>()
        .join(BETWEEN.as_ref())
}

/// Fails with the first lines of `binary` in which a directory of this machine is named.
pub(crate) fn refuse_traces(binary: &Path, build: &Build, root: &Path) -> Result<(), Failure> {
    let content = fs::read(binary).map_err(Failure::file("read", binary))?;
    let home = rehearse::cargo_home();
    let traces: Vec<String> = [root, build.directory.as_path(), home.as_path()]
        .into_iter()
        .filter(|place| holds(&content, place.as_os_str().as_encoded_bytes()))
        .map(|place| {
            format!(
                "{} names {}; no directory of this machine is allowed in it",
                binary.display(),
                place.display()
            )
        })
        .collect();
    if traces.is_empty() {
        Ok(())
    } else {
        Err(Failure::Refused(traces))
    }
}

fn holds(content: &[u8], text: &[u8]) -> bool {
    content.windows(text.len()).any(|window| window == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_directory_gets_its_name() {
        let names = [
            ("/a".into(), "/x".to_owned()),
            ("/a/b".into(), "/y".to_owned()),
        ];
        let expected = "--remap-path-prefix=/a=/x\u{1f}--remap-path-prefix=/a/b=/y";
        assert_eq!(flags(&names), expected);
    }

    #[test]
    fn sources_are_where_the_packages_of_others_lie() {
        let locked = serde_json::json!({"packages": [
            {"manifest_path": "/root/crates/own/Cargo.toml", "source": null},
            {"manifest_path": "/home/registry/a-1.0.0/Cargo.toml", "source": "registry"},
            {"manifest_path": "/home/registry/b-1.0.0/Cargo.toml", "source": "registry"},
        ]});
        assert_eq!(
            sources(&locked),
            BTreeSet::from([PathBuf::from("/home/registry")])
        );
    }

    #[test]
    fn a_directory_of_the_machine_is_seen() {
        assert!(holds(b"at /home/me/src/lib.rs:3", b"/home/me"));
        assert!(!holds(b"at /crates/src/lib.rs:3", b"/home/me"));
    }
}
