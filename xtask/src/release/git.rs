//! The releases that there were: tags of the repository, and files as they were at a tag.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::{failure::Failure, process};

use super::version::Version;

/// A repository, by the directory of its work tree.
#[derive(Debug)]
pub(crate) struct Repository {
    root: PathBuf,
}

/// A release of one package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tag {
    /// `telemetry-core-v0.1.0`.
    pub(crate) name: String,
    /// What was released.
    pub(crate) version: Version,
}

impl Tag {
    /// Its full name, which no branch has.
    pub(crate) fn reference(&self) -> String {
        format!("refs/tags/{}", self.name)
    }
}

impl Repository {
    /// The one whose work tree is `root`.
    pub(crate) fn at(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// The tag of the highest version of `package` in the history of what is checked out.
    pub(crate) fn last_tag(&self, package: &str) -> Result<Option<Tag>, Failure> {
        let tags = self.tags(package, &["--merged", "HEAD"])?;
        Ok(tags.into_iter().max_by_key(|tag| tag.version))
    }

    /// Every release of `package`, in whatever branch.
    pub(crate) fn all_tags(&self, package: &str) -> Result<Vec<Tag>, Failure> {
        self.tags(package, &[])
    }

    fn tags(&self, package: &str, which: &[&str]) -> Result<Vec<Tag>, Failure> {
        let mut git = self.git();
        git.args(["for-each-ref", "--format=%(refname:strip=2)"])
            .args(which)
            .arg(format!("refs/tags/{package}-v*"));
        let names = text(process::output(&mut git)?);
        Ok(tags_of(package, names.lines()))
    }

    /// Files below `paths` that are not as they were at `tag`, from the root; untracked ones are not told.
    pub(crate) fn changed_since(&self, tag: &Tag, paths: &[&str]) -> Result<Vec<String>, Failure> {
        let mut git = self.git();
        // What the user has set for differences is not obeyed; a file that was moved is gone from where it was.
        git.args(["diff", "--name-only", "-z", "--no-ext-diff", "--no-renames"])
            .args(["--no-color", &tag.reference(), "--"])
            .args(paths);
        let names = text(process::output(&mut git)?);
        Ok(names.split_terminator('\0').map(str::to_owned).collect())
    }

    /// The file at `path`, from the root, as it was at `tag`; none if it was not there.
    pub(crate) fn file_at(&self, tag: &Tag, path: &str) -> Result<Option<Vec<u8>>, Failure> {
        let mut git = self.git();
        git.args(["ls-tree", "--name-only", &tag.reference(), "--", path]);
        if process::output(&mut git)?.is_empty() {
            return Ok(None);
        }
        let mut git = self.git();
        git.args(["cat-file", "blob", &format!("{}:{path}", tag.reference())]);
        process::output(&mut git).map(Some)
    }

    /// The commit that `name`, a tag, stands for; none where there is no such tag.
    pub(crate) fn commit_of(&self, name: &str) -> Result<Option<String>, Failure> {
        let mut git = self.git();
        let format = "--format=%(objectname) %(*objectname)";
        git.args(["for-each-ref", format, &format!("refs/tags/{name}")]);
        let found = text(process::output(&mut git)?);
        // The tag itself, and what it stands for if it is annotated.
        Ok(found.split_whitespace().last().map(str::to_owned))
    }

    /// Files that are not as they are committed, and those that git does not know and is not told to ignore.
    pub(crate) fn dirty(&self) -> Result<Vec<String>, Failure> {
        let mut git = self.git();
        git.args(["status", "--porcelain", "--untracked-files=normal"]);
        let listed = text(process::output(&mut git)?);
        let path = |line: &str| line.get(3..).unwrap_or(line).to_owned();
        Ok(listed.lines().map(path).collect())
    }

    /// git, to be run in this repository.
    pub(crate) fn git(&self) -> Command {
        let mut git = process::command("git");
        git.current_dir(&self.root);
        // In a hook git says which repository it is in; that would be asked in place of this one.
        for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
            git.env_remove(variable);
        }
        git
    }
}

/// The releases of `package` among `names`. What is behind `-v` and no version is no release of ours.
fn tags_of<'a>(package: &str, names: impl Iterator<Item = &'a str>) -> Vec<Tag> {
    names
        .filter_map(|name| {
            let version = name.strip_prefix(package)?.strip_prefix("-v")?;
            Some(Tag {
                name: name.to_owned(),
                version: Version::parse(version)?,
            })
        })
        .collect()
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_a_version_behind_it_is_a_release() {
        let names = [
            "core-v0.10.0",
            "core-v0.9.1",
            "core-v0.11.0-rc.1",
            "core-view",
            "core-proto-v3.0.0",
        ];
        let tags = tags_of("core", names.into_iter());
        let names: Vec<&str> = tags.iter().map(|tag| tag.name.as_str()).collect();
        assert_eq!(names, ["core-v0.10.0", "core-v0.9.1"]);
    }
}
