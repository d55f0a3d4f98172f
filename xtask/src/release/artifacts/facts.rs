//! What every artifact says of itself: versions, who answers for it, and the time it carries.

use std::{
    env,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::{failure::Failure, metadata, process};

use crate::release::git::Repository;

/// The package of the command.
pub(crate) const SERVER: &str = "telemetry-server";
/// The package of the Python module.
pub(crate) const PYTHON: &str = "telemetry-py";
/// Where the time of all files comes from, if it is set.
const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// Read once, from the manifests and from git.
#[derive(Debug)]
pub(crate) struct Facts {
    /// The root of the workspace.
    pub(crate) root: PathBuf,
    /// Where cargo builds.
    pub(crate) target_directory: PathBuf,
    /// The version of the command.
    pub(crate) version: String,
    /// Name and mail of whoever answers for a release, if that is said.
    pub(crate) maintainer: Option<String>,
    /// Where the sources are, if that is said.
    pub(crate) repository: Option<String>,
    /// The time of every file, in seconds since 1970.
    pub(crate) epoch: u64,
}

impl Facts {
    /// Those of the workspace in `root`.
    pub(crate) fn of(root: &Path) -> Result<Self, Failure> {
        let metadata = metadata::own(root)?;
        let server = package(&metadata, SERVER);
        Ok(Self {
            root: root.to_owned(),
            target_directory: PathBuf::from(text(&metadata["target_directory"])),
            version: text(&server["version"]),
            maintainer: said(&metadata["metadata"]["release"]["maintainer"]),
            repository: said(&server["repository"]),
            epoch: epoch(root)?,
        })
    }

    /// A sentence for each fact that is missing.
    pub(crate) fn unset(&self) -> Vec<&'static str> {
        let missing = [
            (
                self.maintainer.is_none(),
                "`maintainer` in [workspace.metadata.release] is unset, and so it is in the .deb",
            ),
            (
                self.repository.is_none(),
                "`repository` in [workspace.package] is unset, so no artifact says where its sources are",
            ),
        ];
        missing
            .into_iter()
            .filter_map(|(is_missing, note)| is_missing.then_some(note))
            .collect()
    }
}

/// `SOURCE_DATE_EPOCH`, or when the commit was made.
fn epoch(root: &Path) -> Result<u64, Failure> {
    if let Some(given) = env::var_os(EPOCH) {
        let given = given.to_string_lossy();
        return seconds(&given).ok_or_else(|| {
            Failure::Machine(format!(
                "{EPOCH} is {given:?}; seconds since 1970 are allowed"
            ))
        });
    }
    let mut git = Repository::at(root).git();
    git.args(["log", "-1", "--format=%ct"]);
    let said = process::output(&mut git)?;
    seconds(&String::from_utf8_lossy(&said))
        .ok_or_else(|| Failure::Machine(format!("git knows no commit here; set {EPOCH}")))
}

fn seconds(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

fn package<'a>(metadata: &'a Value, name: &str) -> &'a Value {
    metadata::list(metadata, "packages")
        .find(|package| package["name"] == name)
        .unwrap_or(&Value::Null)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn said(value: &Value) -> Option<String> {
    Some(text(value)).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace;

    #[test]
    fn facts_are_those_of_the_manifests() {
        let facts = Facts::of(workspace::root()).unwrap();
        assert_eq!(facts.version.split('.').count(), 3);
        assert!(facts.epoch > 1_700_000_000);
    }

    #[test]
    fn an_empty_text_is_unset() {
        assert_eq!(said(&Value::from("")), None);
        assert_eq!(said(&Value::Null), None);
        assert_eq!(said(&Value::from("x")), Some("x".to_owned()));
    }
}
