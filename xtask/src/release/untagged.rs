//! Releases that a changelog tells and that have no tag here.
//!
//! Two things leave one: whoever prepared it was stopped between commit and tags, or this is a clone that has
//! no tags. The commit that wrote the heading tells them apart: of the first kind it is one that `prepare`
//! makes and that no other repository has.

use std::{collections::BTreeSet, fs, path::Path};

use crate::{failure::Failure, process};

use super::{
    changelog,
    git::Repository,
    packages::{self, Package},
    version::Version,
};

/// A release that was committed and not tagged.
#[derive(Debug)]
pub(crate) struct Untagged {
    pub(crate) package: String,
    pub(crate) version: Version,
    /// The commit that wrote the heading.
    pub(crate) commit: String,
}

/// Releases of `packages` without a tag in the work tree `root`.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Those that `prepare` completes.
    pub(crate) stopped: Vec<Untagged>,
    /// A sentence for each of the others.
    pub(crate) faults: Vec<String>,
}

impl Found {
    /// Looks for them.
    pub(crate) fn of(root: &Path, packages: &[Package]) -> Result<Self, Failure> {
        let tags = asked(
            root,
            &["for-each-ref", "--format=%(refname:strip=2)", "refs/tags"],
        )?;
        let tags: BTreeSet<&str> = tags.lines().collect();
        let mut found = Self::default();
        for package in packages {
            let path = package.path("CHANGELOG.md");
            let file = root.join(&path);
            let text = fs::read_to_string(&file).map_err(Failure::file("read", &file))?;
            for version in changelog::dated(&text) {
                let tag = packages::tag(&package.name, version);
                if tags.contains(&*tag) {
                    continue;
                }
                let heading = format!("-S## [{version}] - ");
                let commit = asked(
                    root,
                    &[
                        "log",
                        "-1",
                        "--no-show-signature",
                        "--format=%H",
                        &heading,
                        "--",
                        &path,
                    ],
                )?;
                if commit.is_empty() {
                    // Nobody has committed it yet.
                    continue;
                }
                if is_stopped(root, package, version, &commit)? {
                    found.stopped.push(Untagged {
                        package: package.name.clone(),
                        version,
                        commit,
                    });
                } else {
                    found.faults.push(format!(
                        "{path} says that {version} was released and there is no tag {tag} here; \
                         `git fetch --tags`, or tag {commit} if nobody has"
                    ));
                }
            }
        }
        Ok(found)
    }
}

/// Whether `commit` is one that `prepare` made for `version` of `package`, and is here only.
fn is_stopped(
    root: &Path,
    package: &Package,
    version: Version,
    commit: &str,
) -> Result<bool, Failure> {
    let said = asked(
        root,
        &["log", "-1", "--no-show-signature", "--format=%B", commit],
    )?;
    let what = format!("{} {version}", package.name);
    let names = |line: &str| {
        [line.strip_prefix("Release "), line.strip_prefix("* ")].contains(&Some(&*what))
    };
    if !said.starts_with("Release ") || !said.lines().any(names) {
        return Ok(false);
    }
    let elsewhere = asked(
        root,
        &["for-each-ref", "--contains", commit, "refs/remotes"],
    )?;
    Ok(elsewhere.is_empty())
}

/// What git says to `arguments`.
fn asked(root: &Path, arguments: &[&str]) -> Result<String, Failure> {
    let said = process::output(Repository::at(root).git().args(arguments))?;
    Ok(String::from_utf8_lossy(&said).trim_end().to_owned())
}
