//! What must be so of the work tree before anything is uploaded.

use std::path::Path;

use crate::failure::Failure;

use super::super::{check, git::Repository, packages::Package};

/// Why `packages` of the work tree `root` may not be published; every reason.
pub(crate) fn faults(root: &Path, packages: &[Package]) -> Result<Vec<String>, Failure> {
    let dirty = Repository::at(root).dirty()?;
    let mut faults: Vec<String> = dirty
        .iter()
        .map(|path| format!("{path} is not committed; what is published is tagged"))
        .collect();
    for unset in check::unset(root, packages)? {
        faults.push(format!(
            "{unset}; both are set before anything is published"
        ));
    }
    Ok(faults)
}
