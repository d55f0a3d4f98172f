//! Uploading: what is tagged and not in the registry yet, each crate after those that it depends on.
//!
//! A crate is packed from its own tag, so what is uploaded is what was tagged, whatever came after. cargo
//! packs, builds and uploads; here is decided what, and what to do after a failure half way. The registry is
//! asked each time, and nothing is remembered: whoever was stopped at any step starts again.

mod ready;
mod registry;
mod sameness;
mod standing;
mod tagged;

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use crate::{failure::Failure, process};

use super::{
    check,
    packages::{self, Package},
};

use registry::{Found, Registry};
use standing::Standing;
use tagged::Tagged;

/// How long an upload that was taken may not be shown. cargo itself has waited for a minute before.
const PATIENCE: Duration = Duration::from_secs(600);
/// How long to wait before the registry is asked again.
const PAUSE: Duration = Duration::from_secs(2);

/// Publishes the crates of the workspace in `root`; without `execute` only says what would be.
pub(crate) fn run(root: &Path, registry: Option<&str>, execute: bool) -> Result<(), Failure> {
    let packages = packages::published(root)?;
    let registry = Registry::named(root, registry)?;
    let mut refused = ready::faults(root, &packages)?;
    let mut waiting = Vec::new();
    for package in &packages {
        match Tagged::of(root, package, &packages, registry.name())? {
            Ok(tagged) => {
                if let Some(note) = tagged.note(root)? {
                    println!("{note}");
                }
                refused.extend(tagged.fault());
                waiting.push(tagged);
            }
            Err(fault) => {
                if !execute {
                    println!("{}: tag missing, {}", told(package), package.tag());
                }
                refused.push(fault);
            }
        }
    }
    if !execute {
        return preview(root, &waiting, &registry, refused);
    }
    if !refused.is_empty() {
        return Err(Failure::Refused(refused));
    }
    check::run(root)?;
    publish(root, &waiting, &registry)
}

/// Says of each of `crates` what would become of it, and what would be `refused`.
fn preview(
    root: &Path,
    crates: &[Tagged],
    registry: &Registry,
    mut refused: Vec<String>,
) -> Result<(), Failure> {
    let standings = standing::all(root, crates, registry)?;
    for (Tagged { package, .. }, standing) in crates.iter().zip(standings) {
        let becomes = match standing {
            Standing::There => "is there already",
            Standing::Next => "would publish, as the next version",
            Standing::New => "would publish, under a name that is new there",
            Standing::Another(fault) | Standing::Foreign(fault) => {
                refused.push(fault);
                "is there, and is another"
            }
        };
        println!("{}: {becomes}", told(package));
    }
    for fault in refused {
        println!("would be refused: {fault}");
    }
    Ok(())
}

fn publish(root: &Path, crates: &[Tagged], registry: &Registry) -> Result<(), Failure> {
    // All are asked for before anything is uploaded: what another has uploaded stops us while nothing is done.
    let standings = standing::all(root, crates, registry)?;
    let mut waiting = Vec::new();
    let mut refused = Vec::new();
    for (tagged, standing) in crates.iter().zip(standings) {
        match standing {
            Standing::There => println!("{}: is there already", told(&tagged.package)),
            Standing::Next | Standing::New => waiting.push(tagged),
            Standing::Another(fault) | Standing::Foreign(fault) => refused.push(fault),
        }
    }
    if !refused.is_empty() {
        return Err(Failure::Refused(refused));
    }
    for tagged in waiting {
        let checksum = upload(tagged, registry)?;
        sameness::confirm(tagged, registry, &checksum)?;
        println!("{}: published", told(&tagged.package));
    }
    println!("{} has all {} crates", registry.told(), crates.len());
    Ok(())
}

/// Uploads `tagged` and waits until the registry shows it; returns the checksum that it shows.
fn upload(tagged: &Tagged, registry: &Registry) -> Result<String, Failure> {
    let Tagged { export, package } = tagged;
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
