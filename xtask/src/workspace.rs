//! Where things are: the root of the workspace and paths below it.

use std::path::{Path, PathBuf};

/// The absolute path of the directory with the root manifest.
///
/// Taken from where this crate was compiled, so a command works from any directory.
pub(crate) fn root() -> &'static Path {
    let manifest_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest_dir.parent().unwrap_or(manifest_dir)
}

/// The absolute path of `relative`, a path below the root.
pub(crate) fn path(relative: impl AsRef<Path>) -> PathBuf {
    root().join(relative)
}

/// `path` seen from the root where it lies below it, otherwise as it is.
pub(crate) fn relative(path: &Path) -> &Path {
    path.strip_prefix(root()).unwrap_or(path)
}
