//! Which feature sets a crate must compile with: none, and each one alone.
//!
//! Read from the manifests, so that a new feature is checked without being listed anywhere. All
//! features together are checked with the whole workspace and not repeated here.

use std::{fmt, path::Path};

use crate::{failure::Failure, metadata, workspace};

/// One crate with one set of features.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FeatureSet {
    package: String,
    /// Absent: no feature at all.
    feature: Option<String>,
}

impl FeatureSet {
    /// What to hand to a cargo command.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let mut arguments = vec!["--package".to_owned(), self.package.clone()];
        arguments.push("--no-default-features".to_owned());
        if let Some(feature) = &self.feature {
            arguments.extend(["--features".to_owned(), feature.clone()]);
        }
        arguments
    }
}

impl fmt::Display for FeatureSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.feature {
            Some(feature) => write!(f, "{} with {feature} alone", self.package),
            None => write!(f, "{} without features", self.package),
        }
    }
}

/// The sets of every crate in `crates/`.
pub(crate) fn sets() -> Result<Vec<FeatureSet>, Failure> {
    metadata::own(workspace::root()).map(|metadata| sets_of(&metadata))
}

/// The sets of the crates in the output of `cargo metadata --no-deps` that live in `crates/`.
fn sets_of(metadata: &serde_json::Value) -> Vec<FeatureSet> {
    let mut sets = Vec::new();
    for package in metadata::list(metadata, "packages") {
        let (Some(name), Some(manifest)) =
            (package["name"].as_str(), package["manifest_path"].as_str())
        else {
            continue;
        };
        let holder = Path::new(manifest).ancestors().nth(2);
        if !holder.is_some_and(|directory| directory.ends_with("crates")) {
            continue;
        }
        let set = |feature| FeatureSet {
            package: name.to_owned(),
            feature,
        };
        sets.push(set(None));
        for feature in package["features"]
            .as_object()
            .into_iter()
            .flat_map(|table| table.keys())
        {
            if feature != "default" {
                sets.push(set(Some(feature.clone())));
            }
        }
    }
    sets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_crate_is_checked_bare_and_with_each_feature_alone() {
        let metadata = serde_json::json!({ "packages": [
            { "name": "wire", "manifest_path": "/w/crates/wire/Cargo.toml",
              "features": { "default": ["a"], "a": [], "b": ["a"] } },
            { "name": "xtask", "manifest_path": "/w/xtask/Cargo.toml", "features": {} },
        ]});
        let sets: Vec<String> = sets_of(&metadata).iter().map(ToString::to_string).collect();
        assert_eq!(
            sets,
            [
                "wire without features",
                "wire with a alone",
                "wire with b alone"
            ]
        );
    }

    #[test]
    fn the_workspace_has_feature_sets() {
        let sets = sets().unwrap();
        let grpc_client = FeatureSet {
            package: "telemetry-proto".to_owned(),
            feature: Some("grpc-client".to_owned()),
        };
        assert!(sets.contains(&grpc_client), "{sets:?}");
    }

    #[test]
    fn arguments_select_one_crate_and_one_feature() {
        let set = FeatureSet {
            package: "wire".to_owned(),
            feature: Some("a".to_owned()),
        };
        let arguments = [
            "--package",
            "wire",
            "--no-default-features",
            "--features",
            "a",
        ];
        assert_eq!(set.arguments(), arguments);
    }
}
