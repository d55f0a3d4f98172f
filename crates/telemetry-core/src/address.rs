//! Where a worker or a manager is met, as people write it: `unix:/run/app/worker.sock` or
//! `127.0.0.1:4317`.
//!
//! Text only. Whether a place is safe to listen at is decided where it is bound, and whether it may be
//! reached from elsewhere by whoever connects.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::protocol::MAX_SOCKET_PATH_BYTES;

/// A unix socket or a TCP port.
///
/// ```
/// use telemetry_core::Address;
///
/// let address: Address = "unix:/run/pool/worker-1.sock".parse()?;
/// assert_eq!(address.to_string(), "unix:/run/pool/worker-1.sock");
/// assert_eq!("http://127.0.0.1:50051".parse::<Address>()?.to_string(), "127.0.0.1:50051");
/// # Ok::<(), telemetry_core::AddressError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// A unix socket at this path.
    Unix(PathBuf),
    /// A TCP port; port 0 takes a free one where it is listened at.
    Tcp(SocketAddr),
}

/// A text that is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// Neither a path nor a port.
    #[error(
        "{given:?} is no address; expected unix:/path/to.sock, a path that begins with /, or an IP \
         and port such as 127.0.0.1:4317"
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

impl Address {
    /// Reads a list, as of several managers of which any will do: `unix:/a.sock,unix:/b.sock`.
    ///
    /// # Errors
    ///
    /// [`AddressError`] of the first part that is none; also of an empty list.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, AddressError> {
        text.split(',').map(|part| part.trim().parse()).collect()
    }

    /// Checks what can be known without connecting.
    ///
    /// # Errors
    ///
    /// [`AddressError::PathTooLong`].
    pub fn check(&self) -> Result<(), AddressError> {
        match self.socket_path().map(|path| path.as_os_str().len()) {
            Some(len) if len > MAX_SOCKET_PATH_BYTES => Err(AddressError::PathTooLong { len }),
            _ => Ok(()),
        }
    }

    /// Whether nobody beyond this machine is on the way there.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp(address) => address.ip().is_loopback(),
        }
    }

    /// The socket file, of a unix socket.
    #[must_use]
    pub fn socket_path(&self) -> Option<&Path> {
        match self {
            Self::Unix(path) => Some(path),
            Self::Tcp(_) => None,
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let unknown = || AddressError::Unknown {
            given: text.to_owned(),
        };
        let path = text
            .strip_prefix("unix:")
            .or_else(|| text.starts_with('/').then_some(text));
        if let Some(path) = path {
            // `unix:///path` is how gRPC writes an absolute path.
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() {
                return Err(unknown());
            }
            let address = Self::Unix(path.into());
            return address.check().map(|()| address);
        }
        let bare = text
            .strip_prefix("http://")
            .unwrap_or(text)
            .trim_end_matches('/');
        let tcp = match bare.strip_prefix("localhost:") {
            Some(port) => port.parse().ok().map(|port| ([127, 0, 0, 1], port).into()),
            None => bare.parse().ok(),
        };
        tcp.map(Self::Tcp).ok_or_else(unknown)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => address.fmt(f),
        }
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_read_and_written_back() {
        for (text, shown) in [
            ("unix:/run/a.sock", "unix:/run/a.sock"),
            ("unix:///run/a.sock", "unix:/run/a.sock"),
            ("unix:a.sock", "unix:a.sock"),
            ("/run/a.sock", "unix:/run/a.sock"),
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("http://127.0.0.1:80/", "127.0.0.1:80"),
            ("localhost:50051", "127.0.0.1:50051"),
            ("[::1]:4317", "[::1]:4317"),
        ] {
            let address: Address = text.parse().expect(text);
            assert_eq!(address.to_string(), shown);
            assert_eq!(shown.parse(), Ok(address), "{shown}");
        }
    }

    #[test]
    fn a_refusal_repeats_the_text_and_says_what_is_allowed() {
        for text in [
            "",
            "unix:",
            "unix://",
            "127.0.0.1",
            "tcp://1.2.3.4:5",
            "https://example",
        ] {
            let error = text.parse::<Address>().expect_err(text).to_string();
            assert!(
                error.contains(&format!("{text:?}")) && error.contains("unix:/path"),
                "{error}"
            );
        }
        let long = format!("unix:/{}", "x".repeat(200));
        assert_eq!(
            long.parse::<Address>(),
            Err(AddressError::PathTooLong { len: 201 })
        );
    }

    #[test]
    fn a_list_is_read_in_its_order_and_refused_for_one_wrong_part() {
        let read = |text| Address::parse_list(text).map(|list| list.len());
        assert_eq!(read("unix:/a.sock, 127.0.0.1:1"), Ok(2));
        for text in ["", "unix:/a.sock,", "unix:/a.sock,elsewhere"] {
            assert!(read(text).is_err(), "{text:?}");
        }
    }
}
