//! A release in the tree: versions, headings of changelogs, one commit, and a tag for each crate.
//!
//! Only crates of which there is something to release are touched. Everything is known before anything is
//! written: [`Writing`] is what would be, `write` does it. Whoever was stopped between commit and tags runs it
//! again, which then makes the tags that are missing.

use std::{collections::BTreeMap, fs, path::Path};

use crate::{artifacts::Artifacts, failure::Failure, process};

use super::{
    changelog,
    git::Repository,
    manifest,
    packages::{self, Package},
    plan::{Plan, Wishes},
    version::Version,
};

/// Prepares a release of the work tree `root`, at `date`; with `dry_run` only shows it.
pub(crate) fn run(root: &Path, wishes: &Wishes, date: &str, dry_run: bool) -> Result<(), Failure> {
    let plan = Plan::of(root, wishes)?;
    let moves: Vec<(&Package, Version)> = plan.moves().collect();
    if moves.is_empty() {
        println!("nothing to release: no crate changed since its last tag");
        return Ok(());
    }
    let writing = Writing::of(root, &moves, date)?;
    if dry_run {
        println!("{}", writing.show(root)?);
        return Ok(());
    }
    for line in writing.write(root)? {
        println!("{line}");
    }
    Ok(())
}

/// What a release writes.
#[derive(Debug)]
struct Writing {
    /// Files that are not as they are now, by their path from the root.
    files: BTreeMap<String, String>,
    /// The first line of the commit.
    subject: String,
    /// What is released, one a line where it is more than one.
    body: String,
    /// Each tag with what it says.
    tags: Vec<(String, String)>,
}

impl Writing {
    /// What a release of `moves` writes into the work tree `root`; refused with every reason.
    fn of(root: &Path, moves: &[(&Package, Version)], date: &str) -> Result<Self, Failure> {
        let mut refused: Vec<String> = Repository::at(root)
            .dirty()?
            .iter()
            .map(|path| format!("{path} is not committed; a release is made of a clean tree"))
            .collect();
        let mut tree = Tree::at(root);
        let mut tags = Vec::new();
        for (package, version) in moves {
            let tag = packages::tag(&package.name, *version);
            let path = package.path("CHANGELOG.md");
            match changelog::released(tree.read(&path)?, *version, date) {
                Ok(text) => tree.write(&path, text),
                Err(fault) => refused.push(format!("{path} {fault}")),
            }
            if let Err(fault) = tree.set_version(package, *version)? {
                refused.push(fault);
            }
            tags.push((tag, format!("{} {version}", package.name)));
        }
        if !refused.is_empty() {
            return Err(Failure::Refused(refused));
        }
        let (subject, body) = match &tags[..] {
            [(_, only)] => (format!("Release {only}"), String::new()),
            several => {
                let lines = several.iter().map(|(_, what)| format!("* {what}\n"));
                (
                    format!("Release {} packages", several.len()),
                    lines.collect(),
                )
            }
        };
        Ok(Self {
            files: tree.changed()?,
            subject,
            body,
            tags,
        })
    }

    /// The difference to the work tree `root`, the commit and the tags, as text.
    fn show(&self, root: &Path) -> Result<String, Failure> {
        let place = tempfile::tempdir().map_err(Failure::file("create", &std::env::temp_dir()))?;
        let place = place.path();
        let (mut before, mut after) = (Artifacts::default(), Artifacts::default());
        for (path, text) in &self.files {
            let old = root.join(path);
            before.insert(path, fs::read(&old).map_err(Failure::file("read", &old))?);
            after.insert(path, text.as_bytes());
        }
        before.write(&place.join("a"))?;
        after.write(&place.join("b"))?;
        let mut git = Repository::at(place).git();
        git.args(["diff", "--no-index", "--no-prefix", "--no-color", "a", "b"]);
        // It ends with 1 where there is a difference.
        let shown = git.output().map_err(Failure::file("compare", place))?;
        let mut text = String::from_utf8_lossy(&shown.stdout).into_owned();
        if !self.files.is_empty() {
            text.push_str(&format!("\ncommit: {}\n", self.subject));
        }
        let tags: Vec<&str> = self.tags.iter().map(|(tag, _)| tag.as_str()).collect();
        Ok(format!("{text}tags:   {}", tags.join(", ")))
    }

    /// Writes, commits and tags; returns a line for each.
    fn write(&self, root: &Path) -> Result<Vec<String>, Failure> {
        let mut lines = Vec::new();
        let repository = Repository::at(root);
        if !self.files.is_empty() {
            for (path, text) in &self.files {
                let path = root.join(path);
                fs::write(&path, text).map_err(Failure::file("write", &path))?;
            }
            let mut git = repository.git();
            git.args(["commit", "--quiet", "--message", &self.subject]);
            if !self.body.is_empty() {
                git.args(["--message", &self.body]);
            }
            git.arg("--only").arg("--").args(self.files.keys());
            process::output(&mut git)?;
            lines.push(format!("committed: {}", self.subject));
        }
        for (tag, what) in &self.tags {
            let mut git = repository.git();
            git.args(["tag", "--annotate", "--message", what, tag]);
            process::output(&mut git)?;
            lines.push(format!("tagged:    {tag}"));
        }
        Ok(lines)
    }
}

/// Files of a work tree, as they are and as they are to be.
#[derive(Debug)]
struct Tree<'a> {
    root: &'a Path,
    files: BTreeMap<String, String>,
}

impl<'a> Tree<'a> {
    fn at(root: &'a Path) -> Self {
        let files = BTreeMap::new();
        Self { root, files }
    }

    fn read(&mut self, path: &str) -> Result<&str, Failure> {
        if !self.files.contains_key(path) {
            let file = self.root.join(path);
            let text = fs::read_to_string(&file).map_err(Failure::file("read", &file))?;
            self.files.insert(path.to_owned(), text);
        }
        Ok(self.files.get(path).map_or("", String::as_str))
    }

    fn write(&mut self, path: &str, text: String) {
        self.files.insert(path.to_owned(), text);
    }

    /// Gives `package` its `version` in its manifest, in the lock file and in what the others ask for; or
    /// says what is not there to be changed.
    fn set_version(
        &mut self,
        package: &Package,
        version: Version,
    ) -> Result<Result<(), String>, Failure> {
        let name = &package.name;
        let version = version.to_string();
        let path = package.path("Cargo.toml");
        let Some(text) = manifest::with_value(self.read(&path)?, "package", "version", &version)
        else {
            return Ok(Err(format!("{path} has no line `version = \"…\"`")));
        };
        self.write(&path, text);
        // Not there where no crate of the workspace asks for it.
        let table = manifest::with_dependency_version(self.read("Cargo.toml")?, name, &version);
        if let Some(text) = table {
            self.write("Cargo.toml", text);
        }
        let Some(text) = manifest::with_locked_version(self.read("Cargo.lock")?, name, &version)
        else {
            return Ok(Err(format!("Cargo.lock has no package {name} of ours")));
        };
        self.write("Cargo.lock", text);
        Ok(Ok(()))
    }

    /// Those that are not to stay as they are.
    fn changed(self) -> Result<BTreeMap<String, String>, Failure> {
        let mut changed = BTreeMap::new();
        for (path, text) in self.files {
            let file = self.root.join(&path);
            let found = fs::read_to_string(&file).map_err(Failure::file("read", &file))?;
            if found != text {
                changed.insert(path, text);
            }
        }
        Ok(changed)
    }
}
