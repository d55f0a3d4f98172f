//! Whether a registry has what we would upload.
//!
//! The same archive is the same. Another one is, too, if all files in it are but `Cargo.lock`: cargo locks
//! the crates that a package uses to the newest that there are when it packs, so that a crate which is not
//! released again has another one as soon as one below it is.

use std::{
    fs,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use crate::{artifacts::Artifacts, failure::Failure, process};

use super::{super::rehearse::hexadecimal, registry::Registry, tagged::Tagged, told};

/// Files in which two archives of the same release may differ. The second names the commit, which may have been
/// tagged again with the same content; the third is cargo's note that it unpacked.
const OF_CARGO: [&str; 3] = ["Cargo.lock", ".cargo_vcs_info.json", ".cargo-ok"];

/// Fails unless the archive that has `checksum` in the `registry` is what is packed of `tagged`.
pub(crate) fn confirm(tagged: &Tagged, registry: &Registry, checksum: &str) -> Result<(), Failure> {
    fault(tagged, registry, checksum)?.map_or(Ok(()), |fault| Err(Failure::Machine(fault)))
}

/// In what the archive that has `checksum` in the `registry` is not what is packed of `tagged`.
pub(crate) fn fault(
    tagged: &Tagged,
    registry: &Registry,
    checksum: &str,
) -> Result<Option<String>, Failure> {
    let Tagged { export, package } = tagged;
    let mut cargo = export.cargo();
    cargo.args(["package", "--allow-dirty", "--no-verify", "--quiet"]);
    cargo.args(["--package", &package.published]);
    cargo.args(registry.arguments());
    process::output(&mut cargo)?;
    let archive = export.packed(package);
    let content = fs::read(&archive).map_err(Failure::file("read", &archive))?;
    let own = hexadecimal(&Sha256::digest(content));
    if own == checksum {
        return Ok(None);
    }
    let differences = differences(&unpack(&archive)?, &registry.unpacked(package)?)?;
    if differences.is_empty() {
        return Ok(None);
    }
    let mut reasons = vec![format!(
        "{} has {} with the checksum {checksum}; what is tagged {} has {own}",
        registry.told(),
        told(package),
        package.tag()
    )];
    reasons.extend(differences.iter().map(|it| format!("  {it}")));
    reasons.push("a version is uploaded once: release another one".to_owned());
    Ok(Some(reasons.join("\n")))
}

/// What is not the same below `ours` and `theirs`, one file a line.
fn differences(ours: &Path, theirs: &Path) -> Result<Vec<String>, Failure> {
    let mut files = Artifacts::default();
    files.own("");
    for path in crate::artifacts::files_below(ours, Path::new(""))? {
        let file = ours.join(&path);
        files.insert(path, fs::read(&file).map_err(Failure::file("read", &file))?);
    }
    let is_of_cargo = |path: &Path| OF_CARGO.iter().any(|name| path == Path::new(name));
    let found = files.compare(theirs)?;
    Ok(found
        .iter()
        .filter(|difference| !is_of_cargo(difference.path()))
        .map(ToString::to_string)
        .collect())
}

/// Unpacks `archive` beside itself; returns the directory with the files of the package.
fn unpack(archive: &Path) -> Result<PathBuf, Failure> {
    let place = archive.with_extension("unpacked");
    if place.exists() {
        fs::remove_dir_all(&place).map_err(Failure::file("empty", &place))?;
    }
    fs::create_dir_all(&place).map_err(Failure::file("create", &place))?;
    let mut tar = process::command("tar");
    tar.args(["-xzf"]).arg(archive).arg("-C").arg(&place);
    process::output(&mut tar)?;
    Ok(place.join(archive.file_stem().unwrap_or_default()))
}
