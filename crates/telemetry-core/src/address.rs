//! Where a worker or a manager is met, as people write it: `unix:/run/app/worker.sock`,
//! `127.0.0.1:4317` or `telemetry.example:7443`.
//!
//! Text only. Whether a place is safe to listen at is decided where it is bound, and whether it may be
//! reached from elsewhere by whoever connects. Names are looked up there as well.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::protocol::MAX_SOCKET_PATH_BYTES;

/// Most bytes of a host's name.
const MAX_HOST_BYTES: usize = 253;
/// Most bytes between two dots of it.
const MAX_LABEL_BYTES: usize = 63;

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
    /// A TCP port of a host that is known by its name; of whatever addresses it has when it is connected to.
    Host {
        /// The name, as it was written.
        name: String,
        /// The port.
        port: u16,
    },
}

/// A text that is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// Neither a path nor a port.
    #[error(
        "{given:?} is no address; expected unix:/path/to.sock, a path that begins with /, an IP and port \
         such as 127.0.0.1:4317, or a name and port such as telemetry.example:7443"
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
            Self::Host { .. } => false,
        }
    }

    /// The socket file, of a unix socket.
    #[must_use]
    pub fn socket_path(&self) -> Option<&Path> {
        match self {
            Self::Unix(path) => Some(path),
            Self::Tcp(_) | Self::Host { .. } => None,
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
        tcp.map(Self::Tcp)
            .or_else(|| host(bare))
            .ok_or_else(unknown)
    }
}

/// A name and a port.
fn host(text: &str) -> Option<Address> {
    let (name, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    let is_label = |label: &str| {
        let is_inside = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=MAX_LABEL_BYTES).contains(&label.len())
            && label.bytes().all(is_inside)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // One that ends with a dot is whole as it is.
    let labels = name.strip_suffix('.').unwrap_or(name);
    let last = labels.rsplit('.').next()?;
    let is_name = name.len() <= MAX_HOST_BYTES
        && labels.split('.').all(is_label)
        // Four numbers are an IP, or a misspelt one.
        && !last.bytes().all(|byte| byte.is_ascii_digit());
    is_name.then(|| Address::Host {
        name: name.to_owned(),
        port,
    })
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => address.fmt(f),
            Self::Host { name, port } => write!(f, "{name}:{port}"),
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
            ("Web-1.example:7443", "Web-1.example:7443"),
            ("my_service.:1", "my_service.:1"),
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
            "example:0",
            "example:65536",
            "999.0.0.1:80",
            "-a.example:80",
            "a..example:80",
            "unix.example :80",
            "user@example:80",
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
        let long = format!("{}.example:1", "x".repeat(64));
        assert!(long.parse::<Address>().is_err());
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
