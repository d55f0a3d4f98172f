//! Where a worker listens: a unix socket or a TCP address.
//!
//! Only names of places; dialling them is the session's business.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Serialize, Serializer};
use telemetry_core::MAX_SOCKET_PATH_BYTES;
use thiserror::Error;

/// Where a worker listens.
///
/// ```
/// use telemetry_server::Endpoint;
///
/// let endpoint: Endpoint = "unix:/run/pool/worker-1.sock".parse()?;
/// assert_eq!(endpoint.to_string(), "unix:/run/pool/worker-1.sock");
/// assert_eq!("http://127.0.0.1:50051".parse::<Endpoint>()?.to_string(), "127.0.0.1:50051");
/// # Ok::<(), telemetry_server::EndpointError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// A unix socket; the peer must run as the user of the manager, as root, or as a user that the
    /// manager was told to accept.
    Unix(PathBuf),
    /// A TCP address, without TLS; loopback unless the manager was told otherwise.
    Tcp(SocketAddr),
}

/// A text that is no endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EndpointError {
    /// Neither a path nor an address.
    #[error(
        "{given:?} is no endpoint; expected unix:/path, /path, 127.0.0.1:port or \
         http://127.0.0.1:port"
    )]
    Unknown {
        /// The text as it was given.
        given: String,
    },
    /// The path does not fit the address structure of the kernel.
    #[error("the socket path has {len} bytes; at most {MAX_SOCKET_PATH_BYTES} are possible")]
    PathTooLong {
        /// Length of the path.
        len: usize,
    },
}

impl Endpoint {
    /// Checks what can be known without dialling.
    ///
    /// # Errors
    ///
    /// [`EndpointError::PathTooLong`].
    pub fn check(&self) -> Result<(), EndpointError> {
        match self {
            Self::Unix(path) if path.as_os_str().len() > MAX_SOCKET_PATH_BYTES => {
                Err(EndpointError::PathTooLong {
                    len: path.as_os_str().len(),
                })
            }
            _ => Ok(()),
        }
    }

    /// Whether nobody beyond this machine is on the way there.
    pub(crate) fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp(address) => address.ip().is_loopback(),
        }
    }

    /// The socket file, for a unix endpoint.
    #[must_use]
    pub fn socket_path(&self) -> Option<&Path> {
        match self {
            Self::Unix(path) => Some(path),
            Self::Tcp(_) => None,
        }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let path = text
            .strip_prefix("unix:")
            .or_else(|| text.starts_with('/').then_some(text));
        if let Some(path) = path.filter(|path| !path.is_empty()) {
            // `unix:///path` is how gRPC writes an absolute path.
            let endpoint = Self::Unix(path.strip_prefix("//").unwrap_or(path).into());
            return endpoint.check().map(|()| endpoint);
        }
        let address = text
            .strip_prefix("http://")
            .unwrap_or(text)
            .trim_end_matches('/');
        let address = match address.strip_prefix("localhost:") {
            Some(port) => port
                .parse()
                .map(|port: u16| ([127, 0, 0, 1], port).into())
                .ok(),
            None => address.parse().ok(),
        };
        address
            .map(Self::Tcp)
            .ok_or_else(|| EndpointError::Unknown {
                given: text.to_owned(),
            })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => address.fmt(f),
        }
    }
}

impl Serialize for Endpoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_of_each_kind_parse() {
        let unix = Endpoint::Unix("/run/w.sock".into());
        for text in ["unix:/run/w.sock", "unix:///run/w.sock", "/run/w.sock"] {
            assert_eq!(text.parse(), Ok(unix.clone()), "{text}");
        }
        let tcp = Endpoint::Tcp(([127, 0, 0, 1], 50051).into());
        for text in [
            "127.0.0.1:50051",
            "http://127.0.0.1:50051/",
            "localhost:50051",
        ] {
            assert_eq!(text.parse(), Ok(tcp.clone()), "{text}");
        }
    }

    #[test]
    fn what_is_neither_is_refused_with_the_text() {
        let error = "https://example"
            .parse::<Endpoint>()
            .expect_err("no endpoint");
        assert!(error.to_string().contains("https://example"), "{error}");
        let long = format!("unix:/{}", "x".repeat(200));
        assert_eq!(
            long.parse::<Endpoint>(),
            Err(EndpointError::PathTooLong { len: 201 })
        );
    }
}
