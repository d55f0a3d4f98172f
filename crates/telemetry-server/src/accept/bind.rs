//! The socket at which workers dial in, and its file.
//!
//! The file is the access control: mode 0600 in a directory of our own. One that an earlier manager left
//! behind is replaced, one that answers is another manager's.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use telemetry_core::Address;
use tokio::net::UnixListener;
use tokio::task::spawn_blocking;

use crate::dir_events::{FileId, Seen};
use crate::socket_dir::{self, SocketDirError};

/// Mode of the socket.
const SOCKET_MODE: u32 = 0o600;

/// Why workers cannot dial in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// It is a port.
    #[error(
        "workers cannot dial in at {address} without TLS: set cert, key and client_ca in [accept.tls], or use \
         unix:/path/to.sock"
    )]
    Port {
        /// The address.
        address: Address,
    },
    /// Nothing is asked of workers there.
    #[error(
        "workers could dial in at {address} from everywhere; set client_ca in [accept.tls], so that they need a \
         certificate, or token_file in [accept], or both"
    )]
    AnybodyMay {
        /// The address.
        address: Address,
    },
    /// There is no TLS.
    #[cfg(feature = "tls")]
    #[error("workers cannot dial in at {address}: {source}")]
    Tls {
        /// The address.
        address: Address,
        /// What is wrong.
        source: telemetry_tls::TlsError,
    },
    /// The system refused a port.
    #[error("cannot listen at {address}: {source}")]
    PortIo {
        /// The address.
        address: Address,
        /// What the system said.
        source: io::Error,
    },
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
pub(super) struct Bound {
    pub(super) listener: UnixListener,
    path: PathBuf,
    /// Device and number of our file.
    file: Option<(u64, u64)>,
}

impl Bound {
    /// Listens at an address.
    pub(super) fn at(address: &Address) -> Result<Self, AcceptError> {
        let Address::Unix(path) = address else {
            let address = address.clone();
            return Err(AcceptError::Port { address });
        };
        let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
        let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|it| it.to_str()))
        else {
            return Err(AcceptError::NoSocket { path });
        };
        socket_dir::ensure_private(dir)?;
        socket_dir::socket_path(dir, name)?;
        clear(&path)?;
        let failed = |source| AcceptError::Io {
            path: path.clone(),
            source,
        };
        let listener = UnixListener::bind(&path).map_err(failed)?;
        // Nobody else may enter the directory, so nobody was quicker.
        fs::set_permissions(&path, fs::Permissions::from_mode(SOCKET_MODE)).map_err(failed)?;
        Ok(Self {
            listener,
            file: file(&path),
            path,
        })
    }
}

impl Bound {
    /// Where its file should be.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether its file is still there, so that workers find it. While it listens, no other file has the
    /// number of its own, even if that was removed.
    pub(super) fn is_found(&self) -> bool {
        self.file.is_some() && file(&self.path) == self.file
    }

    /// Whether what was seen at its path is its file.
    pub(super) fn is_seen(&self, seen: Seen) -> bool {
        let seen = seen.file().map(FileId::number);
        seen.is_some() && seen == self.file
    }

    /// Listens at the same path again.
    pub(super) fn again(&self) -> impl Future<Output = Result<Self, AcceptError>> + use<> {
        let path = self.path.clone();
        async move {
            let address = Address::Unix(path.clone());
            // Whoever is there may be slow to answer.
            let bound = spawn_blocking(move || Self::at(&address)).await;
            bound.unwrap_or_else(|error| {
                let source = io::Error::other(error);
                Err(AcceptError::Io { path, source })
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

/// Listens at a port; where that is, with the number that was free.
#[cfg(feature = "tls")]
pub(super) fn port(address: &Address) -> Result<(tokio::net::TcpListener, Address), AcceptError> {
    let failed = |source| AcceptError::PortIo {
        address: address.clone(),
        source,
    };
    let Address::Tcp(place) = address else {
        let named = io::Error::new(
            io::ErrorKind::InvalidInput,
            "a name is no place to listen at; use an IP and port such as 0.0.0.0:7443",
        );
        return Err(failed(named));
    };
    let listener = std::net::TcpListener::bind(place).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let place = listener.local_addr().map_err(failed)?;
    let listener = tokio::net::TcpListener::from_std(listener).map_err(failed)?;
    Ok((listener, Address::Tcp(place)))
}

/// Which file is at a path.
fn file(path: &Path) -> Option<(u64, u64)> {
    let metadata = fs::symlink_metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// Removes the socket of a manager that is gone.
fn clear(path: &Path) -> Result<(), AcceptError> {
    let failed = |source| AcceptError::Io {
        path: path.to_owned(),
        source,
    };
    let kind = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found.map_err(failed)?.file_type(),
    };
    if !kind.is_socket() {
        let path = path.to_owned();
        return Err(AcceptError::NoSocket { path });
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        _ => {
            let path = path.to_owned();
            Err(AcceptError::Busy { path })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(path: &Path) -> Result<Bound, AcceptError> {
        Bound::at(&Address::Unix(path.to_owned()))
    }

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_a_living_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("manager.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let first = bind(&path).expect("nobody listens");
        let mode = fs::metadata(&path).unwrap().mode() & 0o7777;
        assert_eq!(mode, SOCKET_MODE);
        let refused = bind(&path).expect_err("somebody listens").to_string();
        assert!(refused.contains("another manager listens at"), "{refused}");
        drop(first);
        assert!(!path.exists(), "it cleans up");
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
    async fn a_file_a_port_and_a_directory_of_others_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("manager.sock");
        fs::write(&path, "").unwrap();
        assert!(matches!(bind(&path), Err(AcceptError::NoSocket { .. })));
        let port = Bound::at(&"127.0.0.1:7443".parse().unwrap()).expect_err("no TLS");
        assert!(port.to_string().contains("without TLS"), "{port}");
        let open = dir.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        let refused = bind(&open.join("manager.sock"));
        assert!(
            matches!(refused, Err(AcceptError::Directory(_))),
            "{refused:?}"
        );
    }
}
