//! What a release may not do. Everything is looked at, and every problem is named.
//!
//! What needs no build is [`problems`], over any work tree; [`run`] adds what cargo must be asked.

use std::{collections::BTreeMap, fs, path::Path};

use crate::{failure::Failure, metadata};

use super::{
    api, changelog, contents,
    export::Export,
    git::{Repository, Tag},
    msrv,
    packages::{self, Package},
    plan::{self, Change},
    rustdoc::Rustdoc,
    untagged,
    version::{Step, Version},
    wire,
};

/// Checks the workspace in `root`; prints what is unset, and fails with all problems.
pub(crate) fn run(root: &Path) -> Result<(), Failure> {
    let packages = packages::published(root)?;
    for note in unset(root, &packages)? {
        println!("note: {note}");
    }

    let mut found = Vec::new();
    let texts = match api::generate(root, &packages) {
        Ok(texts) => {
            found.extend(differing(root, &texts)?);
            texts
        }
        Err(failure) => {
            found.push(format!(
                "public API, compared as it is committed: {failure}"
            ));
            api::committed(root, &packages)?
        }
    };
    let findings = problems(root, &packages::released(root)?, &texts)?;
    for note in &findings.notes {
        println!("note: {note}");
    }
    found.extend(findings.problems);
    let export = Export::of_work_tree(root, &packages)?;
    for package in &packages {
        let faults = contents::faults(&export, package)?;
        found.extend(
            faults
                .iter()
                .map(|fault| format!("{}: {fault}", package.directory)),
        );
    }
    found.extend(contents::oversized(&export, &packages)?);
    if let Err(failure) = Rustdoc::ready(root)?.pages(&packages) {
        found.push(format!("pages as on docs.rs: {failure}"));
    }

    found.extend(msrv::fault(root, &packages)?);

    if found.is_empty() {
        println!("release check: {} crates, no problem", packages.len());
        Ok(())
    } else {
        Err(Failure::Refused(found))
    }
}

/// A sentence for each of `packages` whose text of its public API is not what it is now.
pub(crate) fn stale(root: &Path, packages: &[Package]) -> Result<Vec<String>, Failure> {
    differing(root, &api::generate(root, packages)?)
}

fn differing(root: &Path, texts: &api::Texts) -> Result<Vec<String>, Failure> {
    let stale = api::files(texts).compare(root)?;
    let told = stale
        .iter()
        .map(|difference| format!("{difference}; it must be what `{}` writes", api::REMEDY));
    Ok(told.collect())
}

/// What files and texts of public APIs tell.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// What may not be.
    pub(crate) problems: Vec<String>,
    /// What may be, and makes a release a breaking one.
    pub(crate) notes: Vec<String>,
}

/// What the work tree `root` does to its `packages` that it may not, as far as files and `texts` of their
/// public APIs tell.
pub(crate) fn problems(
    root: &Path,
    packages: &[Package],
    texts: &api::Texts,
) -> Result<Findings, Failure> {
    let mut findings = Findings::default();
    let problems = &mut findings.problems;
    problems.extend(untagged::Found::of(root, packages)?.faults);
    let mut broken: Vec<(&Package, Version)> = Vec::new();
    let next = plan::versions(root, packages, texts)?;
    for package in packages {
        let text = api::of(texts, package);
        let change = Change::of(root, package, text)?;
        if let Some(tag) = &change.tag {
            if package.version == tag.version {
                // The version is still to be chosen.
                findings
                    .notes
                    .extend(breakage_note(package, &change, tag, &next));
            } else {
                problems.extend(version_fault(package, &change, tag));
                problems.extend(follow_faults(package, text, tag, &broken));
            }
            if !tag.version.admits(package.version) {
                broken.push((package, tag.version));
            }
        }
        problems.extend(wire_faults(root, package, change.tag.as_ref())?);
        problems.extend(changelog_faults(root, package, &change, &next)?);
    }
    Ok(findings)
}

/// What is wrong with the changelog of `package`, and what `prepare` would not take when it makes the versions
/// `next`.
fn changelog_faults(
    root: &Path,
    package: &Package,
    change: &Change,
    next: &BTreeMap<String, Version>,
) -> Result<Vec<String>, Failure> {
    let name = package.path("CHANGELOG.md");
    let path = root.join(&name);
    let text = fs::read_to_string(&path).map_err(Failure::file("read", &path))?;
    let released = change.tag.as_ref().map(|tag| tag.version);
    let mut faults = changelog::faults(&text, package.version, released);
    if let Some(version) = next.get(&package.name) {
        // The day does not matter: the text is thrown away.
        faults.extend(changelog::released(&text, *version, "").err());
    }
    Ok(faults
        .iter()
        .map(|fault| format!("{name} {fault}"))
        .collect())
}

/// What breaks in `package`, whose version is that of its last release, `tag`.
fn breakage_note(
    package: &Package,
    change: &Change,
    tag: &Tag,
    next: &BTreeMap<String, Version>,
) -> Option<String> {
    let items = change.api.breakages();
    let version = next.get(&package.name)?;
    (!items.is_empty()).then(|| {
        format!(
            "{}: {} since {}; `prepare` makes it {version}:\n    {}",
            package.name,
            plan::counted(items.len(), "breaking change"),
            tag.name,
            items.join("\n    ")
        )
    })
}

/// A version in the manifest that is too low for what changed since `tag`, with the items that say so.
fn version_fault(package: &Package, change: &Change, tag: &Tag) -> Option<String> {
    let step = change.api.step();
    let lowest = tag.version.after(step);
    let manifest = package.path("Cargo.toml");
    if package.version < tag.version {
        return Some(format!(
            "{manifest} has version {}, which is below {}",
            package.version, tag.name
        ));
    }
    let items: Vec<String> = match step {
        _ if package.version >= lowest => return None,
        Step::Breaking => change.api.breakages(),
        _ => change
            .api
            .added
            .iter()
            .map(|line| format!("`{line}` is new"))
            .collect(),
    };
    let size = if step == Step::Breaking {
        "break"
    } else {
        "add to"
    };
    Some(format!(
        "{manifest} has version {}, but these {size} the public API of {}; at least {lowest} is allowed:\n    {}",
        package.version,
        tag.name,
        items.join("\n    ")
    ))
}

/// A version in the manifest that is too low for what happens to the packages below: those that are
/// `broken`, with the version that was released of each.
fn follow_faults(
    package: &Package,
    text: &str,
    tag: &Tag,
    broken: &[(&Package, Version)],
) -> Vec<String> {
    let mut faults = Vec::new();
    for (below, released) in broken
        .iter()
        .filter(|(below, _)| package.uses.contains(&below.name))
    {
        let Package { name, version, .. } = below;
        let is_shown = text.contains(&format!("{}::", below.library()));
        let (step, tie) = if is_shown {
            (Step::Breaking, "whose types are in its API")
        } else {
            (Step::Fix, "which it uses")
        };
        let lowest = tag.version.after(step);
        if package.version < lowest {
            faults.push(format!(
                "{} has version {}, but {name}, {tie}, goes from {released} to {version}; at least {lowest} \
                 is allowed",
                package.path("Cargo.toml"),
                package.version
            ));
        }
    }
    faults
}

/// What a peer of the last release, `tag`, would misread; no version allows that.
pub(crate) fn wire_faults(
    root: &Path,
    package: &Package,
    tag: Option<&Tag>,
) -> Result<Vec<String>, Failure> {
    let path = package.path(wire::DESCRIPTOR);
    let Some(tag) = tag else {
        return Ok(Vec::new());
    };
    let Some(before) = Repository::at(root).file_at(tag, &path)? else {
        return Ok(Vec::new());
    };
    let file = root.join(&path);
    if !file.exists() {
        return Ok(vec![format!(
            "{path} is gone, and with it the wire of {}",
            tag.name
        )]);
    }
    let now = fs::read(&file).map_err(Failure::file("read", &file))?;
    let breakages = wire::breakages(&before, &now);
    Ok(breakages
        .iter()
        .map(|breakage| {
            format!(
                "{path}: {breakage}; what {} has stays as it is, new numbers are allowed",
                tag.name
            )
        })
        .collect())
}

/// What stands nowhere yet and must before a crate is published.
pub(crate) fn unset(root: &Path, packages: &[Package]) -> Result<Vec<String>, Failure> {
    let metadata = metadata::own(root)?;
    let mut notes = Vec::new();
    if metadata["metadata"]["release"]["maintainer"]
        .as_str()
        .is_none_or(str::is_empty)
    {
        notes.push("`maintainer` in [workspace.metadata.release] is unset".to_owned());
    }
    let without: Vec<&str> = packages
        .iter()
        .filter(|package| package.repository.is_none())
        .map(|package| package.name.as_str())
        .collect();
    if !without.is_empty() {
        notes.push(format!(
            "`repository` in [workspace.package] is unset, for {}",
            without.join(", ")
        ));
    }
    Ok(notes)
}
