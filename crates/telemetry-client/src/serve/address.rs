//! Where a worker listens, as people write it: `unix:/run/app/worker.sock` or `127.0.0.1:4317`.
//!
//! Text only; whether a place is safe to listen at is decided where it is bound.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// Where a worker listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// A unix socket at this path.
    Unix(PathBuf),
    /// A loopback port; port 0 takes a free one.
    Tcp(SocketAddr),
}

/// A text that is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no address to listen at; expected unix:/path/to.sock, a path that begins with /, \
     or a loopback IP and port such as 127.0.0.1:0"
)]
pub struct ListenAddressError {
    /// The text.
    pub text: String,
}

impl FromStr for ListenAddress {
    type Err = ListenAddressError;

    fn from_str(text: &str) -> Result<Self, ListenAddressError> {
        let path = text
            .strip_prefix("unix:")
            .or_else(|| text.starts_with('/').then_some(text));
        match path {
            // `unix:///path` is how gRPC writes it.
            Some(path) if path.starts_with("///") => Ok(Self::Unix(path[2..].into())),
            Some(path) if !path.is_empty() => Ok(Self::Unix(path.into())),
            Some(_) => Err(ListenAddressError {
                text: text.to_owned(),
            }),
            None => {
                let bare = text.strip_prefix("http://").unwrap_or(text);
                bare.parse().map(Self::Tcp).map_err(|_| ListenAddressError {
                    text: text.to_owned(),
                })
            }
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => write!(f, "{address}"),
        }
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
            ("http://127.0.0.1:80", "127.0.0.1:80"),
            ("[::1]:4317", "[::1]:4317"),
        ] {
            let address: ListenAddress = text.parse().expect(text);
            assert_eq!(address.to_string(), shown);
            assert_eq!(shown.parse(), Ok(address), "{shown}");
        }
    }

    #[test]
    fn a_refusal_repeats_the_text_and_says_what_is_allowed() {
        for text in ["", "unix:", "localhost:80", "127.0.0.1", "tcp://1.2.3.4:5"] {
            let error = text.parse::<ListenAddress>().expect_err(text).to_string();
            assert!(
                error.contains(&format!("{text:?}")) && error.contains("unix:/path"),
                "{error}"
            );
        }
    }
}
