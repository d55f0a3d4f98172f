//! Where workers can dial in: a unix socket, or a port.

use std::io;

use telemetry_core::Address;

use crate::bound::{BindError, Bound, Reach};
#[cfg(feature = "tls")]
use crate::secret_file::SecretFileError;

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
    /// Others may read the key of its certificate, or write to it.
    #[cfg(feature = "tls")]
    #[error("workers cannot dial in at {address}: the key {source}")]
    Key {
        /// The address.
        address: Address,
        /// What is wrong.
        source: SecretFileError,
    },
    /// The system refused a port.
    #[error("cannot listen at {address}: {source}")]
    PortIo {
        /// The address.
        address: Address,
        /// What the system said.
        source: io::Error,
    },
    /// It is a unix socket that cannot be.
    #[error(transparent)]
    Socket(#[from] BindError),
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

/// Listens at an address.
pub(super) fn bind(address: &Address, reach: Reach) -> Result<Bound, AcceptError> {
    match address {
        Address::Unix(path) => Ok(Bound::within(path, reach)?),
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
        let port = bind(&"127.0.0.1:7443".parse().unwrap(), Reach::Own).expect_err("no TLS");
        assert!(port.to_string().contains("without TLS"), "{port}");
    }
}
