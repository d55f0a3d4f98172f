//! A unix socket of the manager's that others come to, and its file.
//!
//! The file is the access control: mode 0600 in a directory of our own. Where other users are expected it has mode
//! 0666 in a directory that they enter and cannot write to, and whoever listens looks at who comes. One that an
//! earlier manager left behind is replaced, one that answers is another manager's. What they come for is not known
//! here.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;
use tokio::task::spawn_blocking;

use crate::dir_events::{FileId, Seen};
use crate::socket_dir::{self, SocketDirError};

/// Mode of a socket that is for ourselves.
const PRIVATE_MODE: u32 = 0o600;
/// Mode of a socket that other users come to.
const SHARED_MODE: u32 = 0o666;

/// Who reaches a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Our own user, and root.
    Own,
    /// Every user of the machine: who may is to be looked at with each connection.
    EveryUser,
}

/// Why there is no unix socket to come to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The directory of the socket, or its path, cannot be used.
    #[error(transparent)]
    Directory(#[from] SocketDirError),
    /// Something else is there.
    #[error("{} is there and no socket; remove it or listen elsewhere", path.display())]
    NoSocket {
        /// The path.
        path: PathBuf,
    },
    /// Somebody listens there.
    #[error("another manager listens at {}; stop it or listen elsewhere", path.display())]
    Busy {
        /// The path.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot listen at {}: {source}", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A listening socket. Dropping it removes its file, unless that is another one's by now.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) listener: UnixListener,
    path: PathBuf,
    /// Who reaches it.
    reach: Reach,
    /// Device and number of our file.
    file: Option<(u64, u64)>,
}

impl Bound {
    /// Listens at a path, for ourselves. Its directory is made 0700 when it is absent. Needs a runtime with IO.
    #[cfg(any(feature = "http", test))]
    pub(crate) fn at(path: &Path) -> Result<Self, BindError> {
        Self::within(path, Reach::Own)
    }

    /// Listens at a path. Its directory is made when it is absent, for those who are to reach it. Needs a runtime
    /// with IO.
    pub(crate) fn within(path: &Path, reach: Reach) -> Result<Self, BindError> {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|it| it.to_str()))
        else {
            return Err(BindError::NoSocket { path });
        };
        match reach {
            Reach::Own => socket_dir::ensure_private(dir)?,
            Reach::EveryUser => socket_dir::ensure_shared(dir)?,
        }
        socket_dir::socket_path(dir, name)?;
        clear(&path)?;
        let failed = |source| BindError::Io {
            path: path.clone(),
            source,
        };
        let listener = UnixListener::bind(&path).map_err(failed)?;
        let mode = match reach {
            Reach::Own => PRIVATE_MODE,
            Reach::EveryUser => SHARED_MODE,
        };
        // Nobody else may write to the directory, so nobody was quicker.
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(failed)?;
        Ok(Self {
            listener,
            file: file(&path),
            reach,
            path,
        })
    }
}

impl Bound {
    /// Where its file should be.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether its file is still there, so that others find it. While it listens, no other file has the
    /// number of its own, even if that was removed.
    pub(crate) fn is_found(&self) -> bool {
        self.file.is_some() && file(&self.path) == self.file
    }

    /// Whether what was seen at its path is its file.
    pub(crate) fn is_seen(&self, seen: Seen) -> bool {
        let seen = seen.file().map(FileId::number);
        seen.is_some() && seen == self.file
    }

    /// Listens at the same path again.
    pub(crate) fn again(&self) -> impl Future<Output = Result<Self, BindError>> + use<> {
        let (path, reach) = (self.path.clone(), self.reach);
        async move {
            let at = path.clone();
            // Whoever is there may be slow to answer.
            let bound = spawn_blocking(move || Self::within(&at, reach)).await;
            bound.unwrap_or_else(|error| {
                let source = io::Error::other(error);
                Err(BindError::Io { path, source })
            })
        }
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        if self.is_found() {
            // Whoever removed it meanwhile did our work.
            let _gone = fs::remove_file(&self.path);
        }
    }
}

/// Which file is at a path.
fn file(path: &Path) -> Option<(u64, u64)> {
    let metadata = fs::symlink_metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// Removes the socket of a manager that is gone.
fn clear(path: &Path) -> Result<(), BindError> {
    let failed = |source| BindError::Io {
        path: path.to_owned(),
        source,
    };
    let kind = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found.map_err(failed)?.file_type(),
    };
    if !kind.is_socket() {
        let path = path.to_owned();
        return Err(BindError::NoSocket { path });
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        _ => {
            let path = path.to_owned();
            Err(BindError::Busy { path })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(path: &Path) -> Result<Bound, BindError> {
        Bound::at(path)
    }

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_a_living_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("manager.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let first = bind(&path).expect("nobody listens");
        let mode = fs::metadata(&path).unwrap().mode() & 0o7777;
        assert_eq!(mode, PRIVATE_MODE);
        let refused = bind(&path).expect_err("somebody listens").to_string();
        assert!(refused.contains("another manager listens at"), "{refused}");
        drop(first);
        assert!(!path.exists(), "it cleans up");
    }

    #[tokio::test]
    async fn a_socket_for_every_user_is_open_also_when_it_is_made_again() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let path = dir.path().join("users/manager.sock");
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
        let first = Bound::within(&path, Reach::EveryUser).unwrap();
        assert_eq!(mode(&path), SHARED_MODE);
        assert_eq!(mode(path.parent().unwrap()), 0o755);
        fs::remove_file(&path).unwrap();
        let _again = first.again().await.unwrap();
        assert_eq!(mode(&path), SHARED_MODE);
    }

    #[tokio::test]
    async fn a_socket_that_somebody_else_put_there_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("manager.sock");
        let first = bind(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let _second = bind(&path).unwrap();
        drop(first);
        assert!(path.exists());
    }

    #[tokio::test]
    async fn a_file_and_a_directory_of_others_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("manager.sock");
        fs::write(&path, "").unwrap();
        assert!(matches!(bind(&path), Err(BindError::NoSocket { .. })));
        let open = dir.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        let refused = bind(&open.join("manager.sock"));
        assert!(
            matches!(refused, Err(BindError::Directory(_))),
            "{refused:?}"
        );
    }
}
