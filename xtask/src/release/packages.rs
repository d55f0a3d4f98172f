//! The packages that are published: those in `crates/` that do not say `publish = false`, in the order in which
//! they can be published, each after those that it depends on.
//!
//! Beside them are Python packages, which have a `pyproject.toml`. They are released, with a version, a changelog
//! and a tag, and go to no registry of crates.

use std::{collections::BTreeSet, path::Path};

use serde_json::Value;

use crate::{failure::Failure, metadata};

use super::version::Version;

/// Features that serve our own tests only; what they open is not public.
const INTERNAL_FEATURES: [&str; 2] = ["default", "simulation"];

/// What a package has that is a Python package.
const OF_PYTHON: &str = "pyproject.toml";

/// One package that is released.
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
    /// Whether it is a Python package, which goes to no registry of crates.
    pub(crate) is_python: bool,
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
    let mut packages = released(root)?;
    packages.retain(|package| !package.is_python);
    Ok(packages)
}

/// Every package of the workspace in `root` that is released; those of Python last, they are used by none.
pub(crate) fn released(root: &Path) -> Result<Vec<Package>, Failure> {
    in_order(released_of(root, &metadata::own(root)?)?)
}

fn released_of(root: &Path, metadata: &Value) -> Result<Vec<Package>, Failure> {
    let is_ours = |package: &&Value| {
        directory(root, package).is_some_and(|directory| directory.starts_with("crates/"))
    };
    let is_published = |package: &&Value| {
        let to = package["publish"].as_array();
        to.is_none_or(|to| !to.is_empty())
    };
    let (published, kept): (Vec<&Value>, Vec<&Value>) = metadata::list(metadata, "packages")
        .filter(is_ours)
        .partition(is_published);
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
    let of_python = kept.into_iter().filter(|package| is_python(package));
    published
        .into_iter()
        .chain(of_python)
        .map(|package| {
            read(root, package, &names, renamed).ok_or_else(|| {
                let manifest = package["manifest_path"].as_str().unwrap_or_default();
                let version = package["version"].as_str().unwrap_or_default();
                Failure::Machine(format!(
                    "{manifest} has version {version}; three numbers are allowed, as 0.1.0"
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
        is_python: is_python(package),
    })
}

fn is_python(package: &Value) -> bool {
    let manifest = package["manifest_path"].as_str();
    manifest.is_some_and(|manifest| Path::new(manifest).with_file_name(OF_PYTHON).exists())
}

/// The directory of a package, from the root.
fn directory(root: &Path, package: &Value) -> Option<String> {
    let manifest = Path::new(package["manifest_path"].as_str()?);
    let directory = manifest.parent()?.strip_prefix(root).ok()?;
    directory.to_str().map(str::to_owned)
}

/// Each package after those that it uses; those of Python last, and by name where that leaves a choice.
fn in_order(mut waiting: Vec<Package>) -> Result<Vec<Package>, Failure> {
    waiting.sort_by(|one, other| {
        let key = |it: &Package| (it.is_python, it.name.clone());
        key(one).cmp(&key(other))
    });
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
                "telemetry-tls",
                "telemetry-client",
                "telemetry-server"
            ]
        );
        let server = &packages[4];
        assert_eq!(server.directory, "crates/telemetry-server");
        assert!(server.features.contains(&"http".to_owned()));
        assert!(!server.features.contains(&"simulation".to_owned()));
        assert_eq!(server.library(), "telemetry_server");
        assert_eq!(server.published, "telemetry-manager");
        assert_eq!(packages[1].published, "telemetry-core");
    }

    #[test]
    fn the_python_package_is_released_after_all_that_it_uses() {
        let packages = released(workspace::root()).unwrap();
        let last = packages.last().unwrap();
        assert_eq!((&*last.name, last.is_python), ("telemetry-py", true));
        assert!(last.uses.contains("telemetry-client"), "{last:?}");
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
            is_python: false,
        };
        let failure = in_order(vec![package("a", "b"), package("b", "a")]).unwrap_err();
        assert!(failure.to_string().ends_with("circle: a, b"), "{failure}");
    }
}
