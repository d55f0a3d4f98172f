//! Where workers can dial in: a unix socket, so far.

use std::io;
use std::path::PathBuf;

use telemetry_core::Address;

use crate::bound::{BindError, Bound};
use crate::socket_dir::SocketDirError;

/// Why workers cannot dial in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// It is a port.
    #[error(
        "workers cannot dial in at {address}: a port needs TLS, which this version does not have; \
         use unix:/path/to.sock"
    )]
    Port {
        /// The address.
        address: Address,
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

impl From<BindError> for AcceptError {
    fn from(error: BindError) -> Self {
        match error {
            BindError::Directory(error) => Self::Directory(error),
            BindError::NoSocket { path } => Self::NoSocket { path },
            BindError::Busy { path } => Self::Busy { path },
            BindError::Io { path, source } => Self::Io { path, source },
        }
    }
}

/// Listens at an address.
pub(super) fn bind(address: &Address) -> Result<Bound, AcceptError> {
    match address {
        Address::Unix(path) => Ok(Bound::at(path)?),
        port => Err(AcceptError::Port {
            address: port.clone(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_is_refused() {
        let port = bind(&"127.0.0.1:7443".parse().unwrap()).expect_err("no TLS");
        assert!(port.to_string().contains("needs TLS"), "{port}");
    }
}
