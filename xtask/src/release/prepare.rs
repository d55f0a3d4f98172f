//! A release in the tree: versions, headings of changelogs, one commit, and a tag for each crate.
//!
//! Only crates of which there is something to release are touched. Everything is known before anything is
//! written: [`Writing`] is what would be, `write` does it. What fails leaves the files as they were. Whoever was
//! stopped between commit and tags runs it again, which then makes the tags that are missing.

use std::{collections::BTreeMap, fs, path::Path};

use crate::{artifacts::Artifacts, failure::Failure, process};

use super::{
    changelog, check,
    edits::{Edit, Edits},
    git::Repository,
    packages::{self, Package},
    plan::{Plan, Wishes},
    untagged::{self, Untagged},
    version::Version,
};

/// Names the texts of public APIs that are not what their crates are, as [`check::stale`].
pub(crate) type Stale = fn(&Path, &[Package]) -> Result<Vec<String>, Failure>;

/// Prepares a release of the work tree `root`, at `date`; with `dry_run` only shows it. What is published must
/// be as `stale` wants it.
pub(crate) fn run(
    root: &Path,
    wishes: &Wishes,
    date: &str,
    dry_run: bool,
    stale: Stale,
) -> Result<(), Failure> {
    let plan = Plan::of(root, wishes)?;
    let stopped = untagged::Found::of(root, plan.packages())?.stopped;
    if !stopped.is_empty() {
        return complete(root, &stopped, wishes, dry_run);
    }
    let moves: Vec<(&Package, Version)> = plan.moves().collect();
    if moves.is_empty() {
        println!("nothing to release: no crate changed since its last tag");
        return Ok(());
    }
    let writing = Writing::of(root, plan.packages(), &moves, date)?;
    let published = packages::published(root)?;
    if dry_run {
        println!("{}", writing.show()?);
    }
    let mut refused: Vec<String> = check::unset(root, &published)?
        .iter()
        .map(|unset| format!("{unset}; set them first: what is tagged is what is published"))
        .collect();
    refused.extend(stale(root, &published)?);
    if dry_run {
        for reason in refused {
            println!("would be refused: {reason}");
        }
        return Ok(());
    }
    if !refused.is_empty() {
        return Err(Failure::Refused(refused));
    }
    for line in writing.write(root)? {
        println!("{line}");
    }
    Ok(())
}

/// Makes the tags that a `stopped` run did not, each at the commit that it made.
fn complete(
    root: &Path,
    stopped: &[Untagged],
    wishes: &Wishes,
    dry_run: bool,
) -> Result<(), Failure> {
    let is_other = |(name, version): &(&String, &Version)| {
        let is_it = |it: &Untagged| it.package == **name && it.version == **version;
        !stopped.iter().any(is_it)
    };
    if let Some((name, version)) = wishes.iter().find(is_other) {
        return Err(Failure::Refused(vec![format!(
            "{name} {version} has to wait: an earlier release has no tags yet; `cargo xtask release prepare` \
             alone makes them"
        )]));
    }
    for Untagged {
        package,
        version,
        commit,
    } in stopped
    {
        let tag = packages::tag(package, *version);
        if !dry_run {
            make_tag(root, &tag, &format!("{package} {version}"), commit)?;
        }
        println!("tagged:    {tag}, at {commit}, which an earlier run committed");
    }
    println!("what came after that is another release: run it again");
    Ok(())
}

/// Makes the tag `tag` of `commit`, which says `what`.
fn make_tag(root: &Path, tag: &str, what: &str, commit: &str) -> Result<(), Failure> {
    let mut git = Repository::at(root).git();
    git.args(["tag", "--annotate", "--message", what, tag, commit]);
    process::output(&mut git).map(drop)
}

/// What a release writes.
#[derive(Debug)]
struct Writing {
    /// Files that are not as they are committed, by their path from the root.
    files: BTreeMap<String, Edit>,
    /// The first line of the commit.
    subject: String,
    /// What is released, one a line where it is more than one.
    body: String,
    /// Each tag with what it says.
    tags: Vec<(String, String)>,
}

impl Writing {
    /// What a release of `moves`, which are among `packages`, writes into the work tree `root`; refused with
    /// every reason.
    fn of(
        root: &Path,
        packages: &[Package],
        moves: &[(&Package, Version)],
        date: &str,
    ) -> Result<Self, Failure> {
        let mut edits = Edits::of(root);
        let mut tags = Vec::new();
        let mut refused = Vec::new();
        for (package, version) in moves {
            let tag = packages::tag(&package.name, *version);
            let path = package.path("CHANGELOG.md");
            match changelog::released(&edits.text(&path)?, *version, date) {
                Ok(text) => edits.set(&path, text),
                Err(fault) => refused.push(format!("{path} {fault}")),
            }
            refused.extend(edits.set_version(package, packages, *version)?);
            let last = Repository::at(root).last_tag(&package.name)?;
            refused.extend(check::wire_faults(root, package, last.as_ref())?);
            edits.renew_wire(package)?;
            tags.push((tag, format!("{} {version}", package.name)));
        }
        refused.extend(edits.dirt(&Repository::at(root).dirty()?));
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
            files: edits.changed(),
            subject,
            body,
            tags,
        })
    }

    /// The difference to the last commit, the subject and the tags, as text.
    fn show(&self) -> Result<String, Failure> {
        let place = tempfile::tempdir().map_err(Failure::file("create", &std::env::temp_dir()))?;
        let place = place.path();
        let (mut before, mut after) = (Artifacts::default(), Artifacts::default());
        for (path, edit) in &self.files {
            before.insert(path, edit.before.clone());
            after.insert(path, edit.after.clone());
        }
        before.write(&place.join("a"))?;
        after.write(&place.join("b"))?;
        let mut git = Repository::at(place).git();
        git.args([
            "diff",
            "--no-index",
            "--no-ext-diff",
            "--no-prefix",
            "--no-color",
            "a",
            "b",
        ]);
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
            if let Err(failure) = self.commit(root) {
                return Err(self.restore(root, &failure));
            }
            lines.push(format!("committed: {}", self.subject));
            if !process::succeeds(repository.git().args(["symbolic-ref", "--quiet", "HEAD"])) {
                lines.push("warning:   the commit is on no branch, as HEAD is".to_owned());
            }
        }
        for (tag, what) in &self.tags {
            make_tag(root, tag, what, "HEAD")?;
            lines.push(format!("tagged:    {tag}"));
        }
        Ok(lines)
    }

    fn commit(&self, root: &Path) -> Result<(), Failure> {
        for (path, edit) in &self.files {
            let path = root.join(path);
            fs::write(&path, &edit.after).map_err(Failure::file("write", &path))?;
        }
        let mut git = Repository::at(root).git();
        git.args(["commit", "--quiet", "--message", &self.subject]);
        if !self.body.is_empty() {
            git.args(["--message", &self.body]);
        }
        git.arg("--only").arg("--").args(self.files.keys());
        process::output(&mut git).map(drop)
    }

    /// Makes the files as they were committed, after `failure`; returns what to say.
    fn restore(&self, root: &Path, failure: &Failure) -> Failure {
        let mut git = Repository::at(root).git();
        git.args(["checkout", "--quiet", "HEAD", "--"]);
        git.args(self.files.keys());
        Failure::Machine(match process::output(&mut git) {
            Ok(_) => format!("{failure}\nnothing is released, and all files are as they were"),
            Err(_) => {
                let paths: Vec<&str> = self.files.keys().map(String::as_str).collect();
                let paths = paths.join(" ");
                format!(
                    "{failure}\nnothing is released; `git checkout HEAD -- {paths}` restores the files"
                )
            }
        })
    }
}
