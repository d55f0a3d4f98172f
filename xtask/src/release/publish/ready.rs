//! What must be so before anything is uploaded, as far as files and tags tell.

use std::path::Path;

use crate::failure::Failure;

use super::super::{
    check,
    git::{Repository, Tag},
    packages::Package,
    plan,
};

/// Why `packages` of the work tree `root` may not be published; every reason.
pub(crate) fn faults(root: &Path, packages: &[Package]) -> Result<Vec<String>, Failure> {
    let dirty = Repository::at(root).dirty()?;
    let mut faults: Vec<String> = dirty
        .iter()
        .map(|path| format!("{path} is not committed; what is published is tagged"))
        .collect();
    for unset in check::unset(root, packages)? {
        faults.push(format!("{unset}; what is published says both"));
    }
    for package in packages {
        faults.extend(tag_fault(root, package)?);
    }
    Ok(faults)
}

/// What is wrong with the tag of the version that `package` has: it is not there, or not of these files.
pub(crate) fn tag_fault(root: &Path, package: &Package) -> Result<Option<String>, Failure> {
    let name = package.tag();
    let manifest = package.path("Cargo.toml");
    if Repository::at(root).commit_of(&name)?.is_none() {
        return Ok(Some(format!(
            "{manifest} has version {}, and there is no tag {name}; `cargo xtask release prepare` makes it",
            package.version
        )));
    }
    let version = package.version;
    let changed = plan::changed_files(root, package, &Tag { name, version })?;
    let Some(first) = changed.first() else {
        return Ok(None);
    };
    Ok(Some(format!(
        "{manifest} has version {version}, but {first} and {} more are not as at {}; they need another version",
        changed.len() - 1,
        package.tag()
    )))
}
