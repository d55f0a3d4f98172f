//! What cargo says about a workspace, as it prints it.
//!
//! Read as plain JSON: a few fields of it are used, and those have been the same for years.

use std::path::Path;

use serde_json::Value;

use crate::{failure::Failure, process};

/// The members of the workspace in `root`, without what they depend on. Quick, and needs no network.
pub(crate) fn own(root: &Path) -> Result<Value, Failure> {
    read(root, &["--no-deps"])
}

/// Every package that the workspace in `root` is locked to, with all features and for all platforms.
pub(crate) fn locked(root: &Path) -> Result<Value, Failure> {
    read(root, &["--locked", "--all-features"])
}

/// The list at `key`; empty where there is none.
pub(crate) fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key].as_array().into_iter().flatten()
}

fn read(root: &Path, arguments: &[&str]) -> Result<Value, Failure> {
    let mut cargo = process::cargo();
    cargo
        .current_dir(root)
        .args(["metadata", "--format-version", "1"])
        .args(arguments);
    serde_json::from_slice(&process::output(&mut cargo)?).map_err(|error| {
        Failure::Machine(format!(
            "`cargo metadata` did not print what it used to: {error}"
        ))
    })
}
