//! What a registry has of each crate, and whether what it has is ours.

use std::path::Path;

use crate::failure::Failure;

use super::{
    super::{git::Repository, packages::Package},
    registry::{Found, Registry},
    sameness,
    tagged::Tagged,
};

/// What a crate is to a registry.
#[derive(Debug)]
pub(crate) enum Standing {
    /// It has this version, with the same content.
    There,
    /// It has other versions of it.
    Next,
    /// It has nothing of that name.
    New,
    /// It has this version, with other content.
    Another(String),
    /// What it has is somebody else's.
    Foreign(String),
}

/// What each of `crates`, which are tagged in the repository in `root`, is to `registry`. They stand in the
/// order of their dependencies.
pub(crate) fn all(
    root: &Path,
    crates: &[Tagged],
    registry: &Registry,
) -> Result<Vec<Standing>, Failure> {
    let mut standings: Vec<Standing> = Vec::new();
    for tagged in crates {
        // Ours is uploaded after all that it uses.
        let may_be_ours = crates.iter().zip(&standings).all(|(below, standing)| {
            let is_absent = matches!(standing, Standing::New | Standing::Foreign(_));
            !(is_absent && tagged.package.uses.contains(&below.package.name))
        });
        standings.push(one(root, tagged, registry, may_be_ours)?);
    }
    Ok(standings)
}

fn one(
    root: &Path,
    tagged: &Tagged,
    registry: &Registry,
    may_be_ours: bool,
) -> Result<Standing, Failure> {
    let package = &tagged.package;
    let is_first = is_first(root, package)?;
    let foreign = of_somebody_else(package);
    Ok(match registry.ask(package)? {
        Found::Nothing => Standing::New,
        Found::OtherVersions if is_first => Standing::Foreign(foreign),
        Found::OtherVersions => Standing::Next,
        Found::Version { .. } if is_first && !may_be_ours => Standing::Foreign(foreign),
        Found::Version { checksum } => match sameness::fault(tagged, registry, &checksum)? {
            None => Standing::There,
            Some(fault) if is_first => Standing::Foreign(format!("{foreign}\n{fault}")),
            Some(fault) => Standing::Another(fault),
        },
    })
}

/// Whether no version of `package` below this one was ever tagged.
fn is_first(root: &Path, package: &Package) -> Result<bool, Failure> {
    let tags = Repository::at(root).all_tags(&package.name)?;
    Ok(tags.iter().all(|tag| tag.version >= package.version))
}

fn of_somebody_else(package: &Package) -> String {
    format!(
        "`{}` is in the registry and was never released here; choose another name in \
         [workspace.metadata.release.names]",
        package.published
    )
}
