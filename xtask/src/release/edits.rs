//! What a release changes in files of the last commit: each as it is there, and as it is to be.
//!
//! Read from the commit and not from the tree, so that what a stopped run has written already is known again.

use std::{collections::BTreeMap, fs, path::Path};

use crate::{failure::Failure, process};

use super::{git::Repository, manifest, packages::Package, version::Version, wire};

/// The wire of the last release, in the directory of the package that has [`wire::DESCRIPTOR`].
const RELEASED_WIRE: &str = "released/descriptor.bin";

/// A file of the last commit.
#[derive(Debug)]
pub(crate) struct Edit {
    /// As it is committed.
    pub(crate) before: Vec<u8>,
    /// As it is to be.
    pub(crate) after: Vec<u8>,
}

/// Files by their path from the root.
#[derive(Debug)]
pub(crate) struct Edits<'a> {
    root: &'a Path,
    files: BTreeMap<String, Edit>,
}

impl<'a> Edits<'a> {
    /// None yet, in the work tree `root`.
    pub(crate) fn of(root: &'a Path) -> Self {
        let files = BTreeMap::new();
        Self { root, files }
    }

    /// The text at `path` as it is to be so far.
    pub(crate) fn text(&mut self, path: &str) -> Result<String, Failure> {
        if !self.files.contains_key(path) {
            let before = committed(self.root, path)?.ok_or_else(|| {
                Failure::Refused(vec![format!(
                    "{path} is not committed, and a release needs it"
                )])
            })?;
            let after = before.clone();
            self.files.insert(path.to_owned(), Edit { before, after });
        }
        let text = self.files.get(path).map(|edit| edit.after.clone());
        String::from_utf8(text.unwrap_or_default())
            .map_err(|_| Failure::Refused(vec![format!("{path} is no UTF-8")]))
    }

    /// `text` is to be at `path`, which was read before.
    pub(crate) fn set(&mut self, path: &str, text: String) {
        if let Some(edit) = self.files.get_mut(path) {
            edit.after = text.into_bytes();
        }
    }

    /// Gives `package` its `version` in its manifest, in the lock file and in what the others of `packages`
    /// ask for; returns what is not there to be changed.
    pub(crate) fn set_version(
        &mut self,
        package: &Package,
        packages: &[Package],
        version: Version,
    ) -> Result<Vec<String>, Failure> {
        let mut faults = Vec::new();
        let name = &package.name;
        let version = version.to_string();
        let path = package.path("Cargo.toml");
        match manifest::with_value(&self.text(&path)?, "package", "version", &version) {
            Some(text) => self.set(&path, text),
            None => faults.push(format!("{path} has no line `version = \"…\"` in [package]")),
        }

        let table = self.text("Cargo.toml")?;
        match manifest::with_dependency_version(&table, name, &version) {
            Some(text) => self.set("Cargo.toml", text),
            None if manifest::has_dependency(&table, name) => faults.push(format!(
                "Cargo.toml asks for {name} in another form than the line \
                 `{name} = {{ path = \"…\", version = \"…\" }}` in [workspace.dependencies]"
            )),
            // Nobody asks for it there.
            None => {}
        }
        for user in packages.iter().filter(|user| user.uses.contains(name)) {
            let path = user.path("Cargo.toml");
            if !manifest::inherits(&self.text(&path)?, name) {
                faults.push(format!(
                    "{path} asks for {name} in another form than the line `{name}.workspace = true`, or \
                     `{name} = {{ workspace = true, … }}`"
                ));
            }
        }

        let lock = self.text("Cargo.lock")?;
        match manifest::with_locked_version(&lock, name, &version) {
            Some(text) => self.set("Cargo.lock", text),
            None => faults.push(format!("Cargo.lock has no package {name} of ours")),
        }
        Ok(faults)
    }

    /// Makes the wire of `package` that of the last release, where it keeps that.
    pub(crate) fn renew_wire(&mut self, package: &Package) -> Result<(), Failure> {
        let path = package.path(RELEASED_WIRE);
        let now = committed(self.root, &package.path(wire::DESCRIPTOR))?;
        if let (Some(after), Some(before)) = (now, committed(self.root, &path)?) {
            self.files.insert(path, Edit { before, after });
        }
        Ok(())
    }

    /// What stands in the way of a release: each of the `dirty` paths, but for files that a stopped run has
    /// written as they are to be.
    pub(crate) fn dirt(&self, dirty: &[String]) -> Vec<String> {
        let is_written = |path: &String, edit: &Edit| {
            let found = fs::read(self.root.join(path));
            found.is_ok_and(|found| found == edit.after)
        };
        let told = |path: &String| match self.files.get(path) {
            Some(edit) if is_written(path, edit) => None,
            Some(_) => Some(format!(
                "{path} is not committed; a release is made of a clean tree; if a run of `prepare` was stopped, \
                 `git checkout HEAD -- {path}` restores it"
            )),
            None => Some(format!(
                "{path} is not committed; a release is made of a clean tree"
            )),
        };
        dirty.iter().filter_map(told).collect()
    }

    /// Those that are not to stay as they are committed.
    pub(crate) fn changed(self) -> BTreeMap<String, Edit> {
        let mut files = self.files;
        files.retain(|_, edit| edit.before != edit.after);
        files
    }
}

/// The file at `path` as it is in the last commit; none where it is not.
fn committed(root: &Path, path: &str) -> Result<Option<Vec<u8>>, Failure> {
    let repository = Repository::at(root);
    let mut git = repository.git();
    git.args(["ls-tree", "--name-only", "HEAD", "--", path]);
    if process::output(&mut git)?.is_empty() {
        return Ok(None);
    }
    let mut git = repository.git();
    git.args(["cat-file", "blob", &format!("HEAD:{path}")]);
    process::output(&mut git).map(Some)
}
