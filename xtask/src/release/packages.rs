//! The packages that are published: those in `crates/` that do not say `publish = false`.
//!
//! In the order in which they can be published: each after those that it depends on.

use std::{collections::BTreeSet, path::Path};

use serde_json::Value;

use crate::{failure::Failure, metadata};

use super::version::Version;

/// Features that serve our own tests only; what they open is not public.
const INTERNAL_FEATURES: [&str; 3] = ["default", "simulation", "world"];

/// One published package.
#[derive(Debug)]
pub(crate) struct Package {
    /// Its name in the manifest.
    pub(crate) name: String,
    /// Its name in a registry, which is another where somebody else has that one.
    pub(crate) published: String,
    /// The version in the manifest.
    pub(crate) version: Version,
    /// Its directory, from the root.
    pub(crate) directory: String,
    /// Published packages that it depends on, not counting those that only its tests need.
    pub(crate) uses: BTreeSet<String>,
    /// The features that a user may choose.
    pub(crate) features: Vec<String>,
    /// Where its source is, if that is said anywhere.
    pub(crate) repository: Option<String>,
}

impl Package {
    /// The name of the tag of its version.
    pub(crate) fn tag(&self) -> String {
        tag(&self.name, self.version)
    }

    /// The path of `file`, a file of the package, from the root.
    pub(crate) fn path(&self, file: &str) -> String {
        format!("{}/{file}", self.directory)
    }

    /// Its name as code writes it, whatever it is published as.
    pub(crate) fn library(&self) -> String {
        self.name.replace('-', "_")
    }
}

/// The name of the tag of a release.
pub(crate) fn tag(name: &str, version: Version) -> String {
    format!("{name}-v{version}")
}

/// The published packages of the workspace in `root`.
pub(crate) fn published(root: &Path) -> Result<Vec<Package>, Failure> {
    in_order(published_of(root, &metadata::own(root)?)?)
}

fn published_of(root: &Path, metadata: &Value) -> Result<Vec<Package>, Failure> {
    let is_published = |package: &&Value| {
        package["publish"]
            .as_array()
            .is_none_or(|to| !to.is_empty())
            && directory(root, package).is_some_and(|directory| directory.starts_with("crates/"))
    };
    let published: Vec<&Value> = metadata::list(metadata, "packages")
        .filter(is_published)
        .collect();
    let names: BTreeSet<&str> = published
        .iter()
        .filter_map(|package| package["name"].as_str())
        .collect();
    let renamed = &metadata["metadata"]["release"]["names"];
    for name in renamed.as_object().into_iter().flat_map(|it| it.keys()) {
        if !names.contains(name.as_str()) {
            return Err(Failure::Machine(format!(
                "[workspace.metadata.release.names] names {name}, which is no published package; those are {}",
                Vec::from_iter(names).join(", ")
            )));
        }
    }
    published
        .iter()
        .map(|package| {
            read(root, package, &names, renamed).ok_or_else(|| {
                Failure::Machine(format!(
                    "{} has no name, or a version that is not three numbers",
                    package["manifest_path"]
                ))
            })
        })
        .collect()
}

fn read(root: &Path, package: &Value, names: &BTreeSet<&str>, renamed: &Value) -> Option<Package> {
    let name = package["name"].as_str()?;
    let uses = metadata::list(package, "dependencies")
        .filter(|dependency| dependency["kind"].is_null())
        .filter_map(|dependency| dependency["name"].as_str())
        .filter(|name| names.contains(name))
        .map(str::to_owned)
        .collect();
    let features = package["features"].as_object().into_iter();
    Some(Package {
        name: name.to_owned(),
        published: renamed[name].as_str().unwrap_or(name).to_owned(),
        version: Version::parse(package["version"].as_str()?)?,
        directory: directory(root, package)?,
        uses,
        features: features
            .flat_map(|table| table.keys())
            .filter(|feature| !INTERNAL_FEATURES.contains(&feature.as_str()))
            .cloned()
            .collect(),
        repository: package["repository"]
            .as_str()
            .filter(|address| !address.is_empty())
            .map(str::to_owned),
    })
}

/// The directory of a package, from the root.
fn directory(root: &Path, package: &Value) -> Option<String> {
    let manifest = Path::new(package["manifest_path"].as_str()?);
    let directory = manifest.parent()?.strip_prefix(root).ok()?;
    directory.to_str().map(str::to_owned)
}

/// Each package after those that it uses; by name where that leaves a choice.
fn in_order(mut waiting: Vec<Package>) -> Result<Vec<Package>, Failure> {
    waiting.sort_by(|one, other| one.name.cmp(&other.name));
    let mut ordered: Vec<Package> = Vec::new();
    while !waiting.is_empty() {
        let is_ready = |package: &Package| {
            let is_there = |name: &String| ordered.iter().any(|done| done.name == *name);
            package.uses.iter().all(is_there)
        };
        let Some(next) = waiting.iter().position(is_ready) else {
            let names: Vec<&str> = waiting
                .iter()
                .map(|package| package.name.as_str())
                .collect();
            return Err(Failure::Machine(format!(
                "these packages depend on each other in a circle: {}",
                names.join(", ")
            )));
        };
        ordered.push(waiting.remove(next));
    }
    Ok(ordered)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace;

    #[test]
    fn the_published_packages_stand_in_the_order_of_their_dependencies() {
        let packages = published(workspace::root()).unwrap();
        let names: Vec<&str> = packages
            .iter()
            .map(|package| package.name.as_str())
            .collect();
        assert_eq!(
            names,
            [
                "telemetry-proto",
                "telemetry-core",
                "telemetry-client",
                "telemetry-server"
            ]
        );
        let server = &packages[3];
        assert_eq!(server.directory, "crates/telemetry-server");
        assert!(server.features.contains(&"http".to_owned()));
        assert!(!server.features.contains(&"simulation".to_owned()));
        assert_eq!(server.library(), "telemetry_server");
        assert_eq!(server.published, "telemetry-manager");
        assert_eq!(packages[1].published, "telemetry-core");
    }

    #[test]
    fn a_circle_is_named() {
        let package = |name: &str, uses: &str| Package {
            name: name.to_owned(),
            published: name.to_owned(),
            version: Version::parse("0.1.0").unwrap(),
            directory: format!("crates/{name}"),
            uses: BTreeSet::from([uses.to_owned()]),
            features: Vec::new(),
            repository: None,
        };
        let failure = in_order(vec![package("a", "b"), package("b", "a")]).unwrap_err();
        assert!(failure.to_string().ends_with("circle: a, b"), "{failure}");
    }
}
