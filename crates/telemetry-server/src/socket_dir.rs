//! Directories that hold workers' sockets: who may enter them, and how long a path in them may be.
//!
//! A socket's file is its access control, so the directory must belong to us alone. Knows nothing
//! of workers.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use telemetry_core::wire::{MAX_SOCKET_PATH_BYTES, WRITABLE_BY_OTHERS};

/// Mode of a directory that we create.
const PRIVATE_MODE: u32 = 0o700;

/// Why a directory is not used for sockets.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketDirError {
    /// It cannot be created or read.
    #[error("cannot {action} {path:?}: {source}")]
    Io {
        /// `create` or `inspect`.
        action: &'static str,
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The path is a link or no directory: whoever owns the link decides where the sockets go.
    #[error("{path:?} is a {kind}, not a directory; name the directory itself")]
    NotADirectory {
        /// The path.
        path: PathBuf,
        /// `symbolic link` or `file`.
        kind: &'static str,
    },
    /// Somebody else owns it and could put a socket of theirs into it.
    #[error("{path:?} belongs to user {owner}, we are user {us}; use a directory of our own")]
    ForeignOwner {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Our user.
        us: u32,
    },
    /// Group or others may write to it.
    #[error("{path:?} has mode {mode:04o}: others may write to it; run `chmod 700` on it")]
    WritableByOthers {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The system's limit of socket paths.
    #[error(
        "the socket path {path:?} has {length} bytes, the system allows {MAX_SOCKET_PATH_BYTES}; \
         use a shorter directory or name"
    )]
    PathTooLong {
        /// The socket.
        path: PathBuf,
        /// Its length.
        length: usize,
    },
}

/// Creates `dir` with mode 0700 unless it exists, and checks it as [`check_private`] does.
///
/// # Errors
/// See [`SocketDirError`].
pub(crate) fn ensure_private(dir: &Path) -> Result<(), SocketDirError> {
    match fs::symlink_metadata(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(PRIVATE_MODE)
                .create(dir)
                .map_err(|source| SocketDirError::Io {
                    action: "create",
                    path: dir.to_owned(),
                    source,
                })?;
        }
        _ => {}
    }
    check_private(dir)
}

/// Refuses a directory that is a link, belongs to another user, or that others may write to.
///
/// # Errors
/// See [`SocketDirError`].
pub(crate) fn check_private(dir: &Path) -> Result<(), SocketDirError> {
    let path = || dir.to_owned();
    let found = fs::symlink_metadata(dir).map_err(|source| SocketDirError::Io {
        action: "inspect",
        path: path(),
        source,
    })?;
    if !found.is_dir() {
        let kind = if found.is_symlink() {
            "symbolic link"
        } else {
            "file"
        };
        return Err(SocketDirError::NotADirectory { path: path(), kind });
    }
    let us = rustix::process::geteuid().as_raw();
    if found.uid() != us {
        return Err(SocketDirError::ForeignOwner {
            path: path(),
            owner: found.uid(),
            us,
        });
    }
    let mode = found.mode() & 0o7777;
    if mode & WRITABLE_BY_OTHERS != 0 {
        return Err(SocketDirError::WritableByOthers { path: path(), mode });
    }
    Ok(())
}

/// The path `dir/name`, refused when the system could not bind it.
///
/// # Errors
/// [`SocketDirError::PathTooLong`].
pub(crate) fn socket_path(dir: &Path, name: &str) -> Result<PathBuf, SocketDirError> {
    let path = dir.join(name);
    let length = path.as_os_str().len();
    if length > MAX_SOCKET_PATH_BYTES {
        return Err(SocketDirError::PathTooLong { path, length });
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn created_directory_is_private() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = temporary.path().join("a/b");
        ensure_private(&dir).unwrap();
        assert_eq!(mode(&dir), 0o700);
        ensure_private(&dir).unwrap();
    }

    #[test]
    fn directory_that_others_may_write_to_is_refused() {
        let temporary = tempfile::tempdir().unwrap();
        fs::set_permissions(temporary.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let refused = ensure_private(temporary.path()).unwrap_err().to_string();
        assert!(refused.ends_with("has mode 0777: others may write to it; run `chmod 700` on it"));
    }

    #[test]
    fn link_and_file_are_refused() {
        let temporary = tempfile::tempdir().unwrap();
        let link = temporary.path().join("link");
        std::os::unix::fs::symlink(temporary.path(), &link).unwrap();
        let refused = ensure_private(&link).unwrap_err().to_string();
        assert!(
            refused.ends_with("is a symbolic link, not a directory; name the directory itself")
        );
        let file = temporary.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(matches!(
            check_private(&file),
            Err(SocketDirError::NotADirectory { .. })
        ));
    }

    #[test]
    fn socket_path_is_limited_to_what_the_system_binds() {
        let dir = PathBuf::from(format!("/{}", "d".repeat(100)));
        assert_eq!(socket_path(&dir, "12345").unwrap().as_os_str().len(), 107);
        let refused = socket_path(&dir, "123456").unwrap_err().to_string();
        assert!(
            refused.contains("has 108 bytes, the system allows 107"),
            "{refused}"
        );
    }
}
