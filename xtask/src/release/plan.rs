//! What changed in each published crate since its last tag, and which version that makes it.
//!
//! Reads the tree, its tags and the texts of the public APIs as they are committed; builds nothing.

mod followers;

use std::{collections::BTreeMap, path::Path};

use crate::failure::Failure;

use super::{
    api, contents,
    difference::Difference,
    git::{Repository, Tag},
    packages::{self, Package},
    untagged,
    version::{Step, Version},
    wire,
};

/// Where the messages are described; they are what `telemetry-proto` is.
const PROTO: &str = "proto";
/// The most items of an API that are listed of a kind.
const LISTED: usize = 20;

/// One package and what became of it since its last release.
#[derive(Debug)]
pub(crate) struct Change {
    /// Its last release; none before the first.
    pub(crate) tag: Option<Tag>,
    /// Higher releases, which are not in the history of the work tree.
    elsewhere: Vec<Tag>,
    /// Files that are packed and changed since.
    files: Vec<String>,
    /// What of its public API did.
    pub(crate) api: Difference,
}

impl Change {
    /// What became of `package` in the work tree `root`, where its public API is `api`.
    pub(crate) fn of(root: &Path, package: &Package, api: &str) -> Result<Self, Failure> {
        let repository = Repository::at(root);
        let tag = repository.last_tag(&package.name)?;
        let released = tag.as_ref().map(|tag| tag.version);
        let mut elsewhere = repository.all_tags(&package.name)?;
        elsewhere.retain(|other| released.is_none_or(|released| released < other.version));
        let Some(tag) = tag else {
            return Ok(Self {
                tag: None,
                elsewhere,
                files: Vec::new(),
                api: Difference::default(),
            });
        };
        let file = package.path(api::FILE);
        let before = repository.file_at(&tag, &file)?.unwrap_or_default();
        Ok(Self {
            files: changed_files(root, package, &tag)?,
            api: Difference::between(&String::from_utf8_lossy(&before), api),
            tag: Some(tag),
            elsewhere,
        })
    }

    /// The lowest version from `version` on that was not released elsewhere.
    fn free(&self, mut version: Version) -> Version {
        while self.elsewhere.iter().any(|tag| tag.version == version) {
            version = version.after(Step::Fix);
        }
        version
    }

    /// How far it takes the version.
    pub(crate) fn step(&self) -> Step {
        let of_files = if self.files.is_empty() {
            Step::Nothing
        } else {
            Step::Fix
        };
        self.api.step().max(of_files)
    }
}

/// Files that a release of `package` from the work tree `root` would show to be other than at `tag`.
pub(crate) fn changed_files(
    root: &Path,
    package: &Package,
    tag: &Tag,
) -> Result<Vec<String>, Failure> {
    let mut paths = vec![package.directory.as_str()];
    if root.join(package.path(wire::DESCRIPTOR)).exists() {
        paths.push(PROTO);
    }
    let changed = Repository::at(root).changed_since(tag, &paths)?;
    Ok(changed
        .into_iter()
        .filter(|path| is_of(package, path))
        .collect())
}

/// Whether a release of `package` would show that the file at `path` changed; its tests are not packed.
fn is_of(package: &Package, path: &str) -> bool {
    let below = path.strip_prefix(&package.directory);
    let below = below.and_then(|rest| rest.strip_prefix('/'));
    below.is_none_or(|path| {
        if package.is_python {
            contents::is_of_python(path)
        } else {
            contents::is_expected(path)
        }
    })
}

/// Versions that somebody wants instead of those that would be proposed, by package.
pub(crate) type Wishes = BTreeMap<String, Version>;

/// What is to be released of each package.
#[derive(Debug)]
pub(crate) struct Plan {
    /// In the order in which they can be published.
    packages: Vec<Package>,
    /// By the name of the package.
    proposals: BTreeMap<String, Proposal>,
    /// What it looks like, line by line.
    pub(crate) lines: Vec<String>,
}

/// A version that is proposed, and why.
#[derive(Debug)]
struct Proposal {
    /// What was released last; none before the first.
    released: Option<Version>,
    version: Version,
    reason: String,
}

impl Proposal {
    /// Whether there is something to release.
    fn moves(&self) -> bool {
        self.released != Some(self.version)
    }

    /// Whether those that ask for what was released do not get this.
    fn breaks(&self) -> bool {
        self.released
            .is_some_and(|released| !released.admits(self.version))
    }
}

impl Plan {
    /// The plan for the work tree `root`, with what is proposed where there is no wish. A wish that is not
    /// allowed is refused.
    pub(crate) fn of(root: &Path, wishes: &Wishes) -> Result<Self, Failure> {
        let packages = packages::released(root)?;
        let faults = untagged::Found::of(root, &packages)?.faults;
        if !faults.is_empty() {
            return Err(Failure::Refused(faults));
        }
        let texts = api::committed(root, &packages)?;
        let (proposals, lines) = proposals(root, &packages, &texts, wishes)?;
        Ok(Self {
            packages,
            proposals,
            lines,
        })
    }

    /// Every package, in the order in which they can be published.
    pub(crate) fn packages(&self) -> &[Package] {
        &self.packages
    }

    /// Every package that is to be released, with its new version.
    pub(crate) fn moves(&self) -> impl Iterator<Item = (&Package, Version)> {
        self.packages.iter().filter_map(|package| {
            let proposal = self.proposals.get(&package.name)?;
            proposal.moves().then_some((package, proposal.version))
        })
    }
}

/// The next version of each of `packages` of which there is something to release, where their public APIs are
/// `texts`; by its name.
pub(crate) fn versions(
    root: &Path,
    packages: &[Package],
    texts: &api::Texts,
) -> Result<BTreeMap<String, Version>, Failure> {
    let (proposals, _) = proposals(root, packages, texts, &Wishes::new())?;
    let moved = proposals
        .into_iter()
        .filter(|(_, proposal)| proposal.moves());
    Ok(moved
        .map(|(name, proposal)| (name, proposal.version))
        .collect())
}

/// What is proposed for each of `packages`, and the lines that say so.
fn proposals(
    root: &Path,
    packages: &[Package],
    texts: &api::Texts,
    wishes: &Wishes,
) -> Result<(BTreeMap<String, Proposal>, Vec<String>), Failure> {
    let mut proposals: BTreeMap<String, Proposal> = BTreeMap::new();
    let mut lines = Vec::new();
    let mut refused = unknown(packages, wishes);
    for package in packages {
        let text = api::of(texts, package);
        let change = Change::of(root, package, text)?;
        let moved = moved_by(package, packages, &proposals, text);
        let (mut proposal, lowest) = propose(package, &change, moved);
        if let Some(wish) = wishes.get(&package.name) {
            let name = &package.name;
            match lowest {
                _ if proposal.released == Some(*wish) || change.free(*wish) != *wish => refused
                    .push(format!(
                        "{name} {wish} is released: the tag {} exists",
                        packages::tag(name, *wish)
                    )),
                Some(lowest) if *wish < lowest => refused.push(format!(
                    "{name} {wish} is too low: {}; at least {lowest} is allowed",
                    proposal.reason
                )),
                _ => {}
            }
            proposal.version = *wish;
            proposal.reason = format!("as asked for; {}", proposal.reason);
        }
        lines.extend(describe(package, &change, &proposal, packages));
        proposals.insert(package.name.clone(), proposal);
    }
    if !refused.is_empty() {
        return Err(Failure::Refused(refused));
    }
    lines.push(String::new());
    lines.extend(followers::lines(packages, &proposals));
    Ok((proposals, lines))
}

/// A sentence for each wish for what is no package of ours.
fn unknown(packages: &[Package], wishes: &Wishes) -> Vec<String> {
    let names: Vec<&str> = packages.iter().map(|it| it.name.as_str()).collect();
    wishes
        .keys()
        .filter(|name| !names.contains(&name.as_str()))
        .map(|name| {
            format!(
                "{name} is not released; those that are: {}",
                names.join(", ")
            )
        })
        .collect()
}

/// The farthest step that one of the packages below takes with it, and its name.
fn moved_by(
    package: &Package,
    packages: &[Package],
    proposals: &BTreeMap<String, Proposal>,
    text: &str,
) -> Option<(Step, String)> {
    packages
        .iter()
        .filter(|below| package.uses.contains(&below.name))
        .filter(|below| {
            let proposal = proposals.get(below.name.as_str());
            proposal.is_some_and(Proposal::breaks)
        })
        .map(|below| {
            let is_public = text.contains(&format!("{}::", below.library()));
            if is_public {
                let reason = format!("types of {}, which breaks, are public in it", below.name);
                (Step::Breaking, reason)
            } else {
                let reason = format!("it has to ask for the new {}", below.name);
                (Step::Fix, reason)
            }
        })
        .max_by_key(|(step, _)| *step)
}

/// The version that `package` should have next, and the lowest that it may have; before the first release any
/// may be.
fn propose(
    package: &Package,
    change: &Change,
    moved: Option<(Step, String)>,
) -> (Proposal, Option<Version>) {
    let Some(tag) = &change.tag else {
        let proposal = Proposal {
            released: None,
            version: change.free(package.version),
            reason: "first release".to_owned(),
        };
        return (proposal, None);
    };
    let own = change.step();
    let (step, reason) = match moved {
        Some((step, reason)) if step > own => (step, reason),
        _ => (own, reason(change)),
    };
    let lowest = tag.version.after(step);
    let proposal = Proposal {
        released: Some(tag.version),
        // Whoever has raised the version in the manifest may have raised it farther.
        version: change.free(lowest.max(package.version)),
        reason,
    };
    (proposal, Some(lowest))
}

fn reason(change: &Change) -> String {
    let api = &change.api;
    match change.step() {
        Step::Nothing => "nothing changed".to_owned(),
        Step::Fix => "files changed, the public API did not".to_owned(),
        Step::Addition => format!("{} in the public API", counted(api.added.len(), "addition")),
        Step::Breaking => format!(
            "{} of the public API",
            counted(api.breakages().len(), "breaking change")
        ),
    }
}

fn describe(
    package: &Package,
    change: &Change,
    proposal: &Proposal,
    packages: &[Package],
) -> Vec<String> {
    let Package { name, version, .. } = package;
    let tag = change.tag.as_ref();
    let tag = tag.map_or_else(
        || "no tag".to_owned(),
        |tag| format!("last tag {}", tag.name),
    );
    let mut lines = vec![format!("{name}: manifest {version}, {tag}")];
    if let Some(highest) = change.elsewhere.iter().max_by_key(|tag| tag.version) {
        lines.push(format!(
            "  {} is higher, and not in this history",
            highest.name
        ));
    }
    if change.tag.is_some() {
        lines.push(format!("  {} changed", counted(change.files.len(), "file")));
    }
    let mut listed = |kind: &str, items: Vec<String>| {
        for item in items.iter().take(LISTED) {
            lines.push(format!("  {kind} {item}"));
        }
        if items.len() > LISTED {
            lines.push(format!("  {kind} … and {} more", items.len() - LISTED));
        }
    };
    listed("breaking:", change.api.breakages());
    listed("added:   ", change.api.added.clone());
    lines.push(format!(
        "  propose {}: {}",
        proposal.version, proposal.reason
    ));
    let users: Vec<&str> = packages
        .iter()
        .filter(|other| other.uses.contains(name))
        .map(|other| other.name.as_str())
        .collect();
    if !users.is_empty() {
        lines.push(format!("  used by {}", users.join(", ")));
    }
    lines
}

/// `number` of `thing`, in words.
pub(crate) fn counted(number: usize, thing: &str) -> String {
    match number {
        0 => format!("no {thing}"),
        1 => format!("1 {thing}"),
        _ => format!("{number} {thing}s"),
    }
}
