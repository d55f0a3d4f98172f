//! Uploading: what is tagged and not in the registry yet, each crate after those that it depends on.
//!
//! A crate is packed from its own tag, so what is uploaded is what was tagged, whatever came after. cargo
//! packs, builds and uploads; here is decided what, and what to do after a failure half way. The registry is
//! asked each time, and nothing is remembered: whoever was stopped at any step starts again.

mod ready;
mod registry;
mod sameness;

use std::{
    collections::BTreeMap,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use crate::{failure::Failure, process};

use super::{
    check,
    export::Export,
    git::Repository,
    packages::{self, Package},
};

use registry::{Found, Registry};

/// How long an upload that was taken may not be shown. cargo itself has waited for a minute before.
const PATIENCE: Duration = Duration::from_secs(600);
/// How long to wait before the registry is asked again.
const PAUSE: Duration = Duration::from_secs(2);

/// Publishes the crates of the workspace in `root`; without `execute` only says what would be.
pub(crate) fn run(root: &Path, registry: Option<&str>, execute: bool) -> Result<(), Failure> {
    let packages = packages::published(root)?;
    let registry = Registry::named(root, registry)?;
    if execute {
        let faults = ready::faults(root, &packages)?;
        if !faults.is_empty() {
            return Err(Failure::Refused(faults));
        }
        check::run(root)?;
        publish(root, &packages, &registry)
    } else {
        preview(root, &packages, &registry)
    }
}

/// Says of each of `packages` what would become of it, and what would be refused.
fn preview(root: &Path, packages: &[Package], registry: &Registry) -> Result<(), Failure> {
    for package in packages {
        let becomes = match ready::tag_fault(root, package)? {
            Some(_) if Repository::at(root).commit_of(&package.tag())?.is_none() => {
                format!("tag missing, {}", package.tag())
            }
            Some(_) => format!("not as at its tag, {}", package.tag()),
            None => match registry.ask(package)? {
                Found::Version { .. } => "is there already".to_owned(),
                Found::OtherVersions => "would publish, as the next version".to_owned(),
                Found::Nothing => "would publish, under a name that is new there".to_owned(),
            },
        };
        println!("{}: {becomes}", told(package));
    }
    for fault in ready::faults(root, packages)? {
        println!("would be refused: {fault}");
    }
    Ok(())
}

fn publish(root: &Path, packages: &[Package], registry: &Registry) -> Result<(), Failure> {
    let exports = exports(root, packages, registry)?;
    // All are asked for before anything is uploaded: what another has uploaded stops us while nothing is done.
    let mut waiting = Vec::new();
    for package in packages {
        let export = &exports[&package.tag()];
        match registry.ask(package)? {
            Found::Version { checksum } => {
                sameness::confirm(export, package, registry, &checksum)?;
                println!("{}: is there already", told(package));
            }
            Found::OtherVersions | Found::Nothing => waiting.push((export, package)),
        }
    }
    for (export, package) in waiting {
        let checksum = upload(export, package, registry)?;
        sameness::confirm(export, package, registry, &checksum)?;
        println!("{}: published", told(package));
    }
    println!("{} has all {} crates", registry.told(), packages.len());
    Ok(())
}

/// The tree of each tag, by its name.
fn exports(
    root: &Path,
    packages: &[Package],
    registry: &Registry,
) -> Result<BTreeMap<String, Export>, Failure> {
    let mut exports = BTreeMap::new();
    for package in packages {
        let tag = package.tag();
        let export = Export::of_commit(root, &tag, packages, registry.name())?;
        exports.insert(tag, export);
    }
    Ok(exports)
}

/// Uploads `package` and waits until the registry shows it; returns the checksum that it shows.
fn upload(export: &Export, package: &Package, registry: &Registry) -> Result<String, Failure> {
    let mut cargo = export.cargo();
    cargo.args(["publish", "--allow-dirty", "--package", &package.published]);
    cargo.args(registry.arguments());
    let (said, ended) = process::run_keeping(&mut cargo, is_of_an_earlier_upload);
    // Taken in an earlier attempt and not shown until now is taken, too.
    let is_taken = ended.is_ok() || !said.is_empty();
    if !is_taken {
        ended?;
    }
    let begun = Instant::now();
    loop {
        if let Found::Version { checksum } = registry.ask(package)? {
            return Ok(checksum);
        }
        if begun.elapsed() > PATIENCE {
            return Err(Failure::Machine(format!(
                "{} took {} and does not show it after {} s; start again when it does",
                registry.told(),
                told(package),
                PATIENCE.as_secs()
            )));
        }
        thread::sleep(PAUSE);
    }
}

/// Whether cargo says in `line` that the registry has what it should take.
fn is_of_an_earlier_upload(line: &str) -> bool {
    line.contains("is already uploaded") || line.contains("already exists on")
}

/// A package as it is called here, and as it is called there.
fn told(package: &Package) -> String {
    let Package {
        name,
        published,
        version,
        ..
    } = package;
    if name == published {
        format!("{name} {version}")
    } else {
        format!("{name} {version} as {published}")
    }
}
