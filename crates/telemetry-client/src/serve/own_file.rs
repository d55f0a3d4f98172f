//! A file that says something about a running server and goes with it: its socket, its ready file.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A file that we made. Dropping it removes it, unless somebody else made a new one at its place or
/// this process is a fork of the one that made it.
#[derive(Debug)]
pub(super) struct OwnFile {
    /// Where it is.
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
    /// The process that made it.
    pid: u32,
}

impl OwnFile {
    /// Takes care of the file at `path`, which this process has just made.
    pub(super) fn new(path: PathBuf, made: &Metadata) -> Self {
        Self {
            path,
            identity: (made.dev(), made.ino()),
            pid: std::process::id(),
        }
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for OwnFile {
    fn drop(&mut self) {
        if self.pid != std::process::id() {
            return;
        }
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|found| (found.dev(), found.ino()) == self.identity);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "the file stays behind");
        }
    }
}
