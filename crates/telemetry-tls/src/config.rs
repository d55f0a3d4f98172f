//! Which files, and what can be wrong with them.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;

/// What one end of TLS is made of; the same for whoever listens and whoever connects. PEM files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct TlsConfig {
    /// Our certificate, and behind it those that lead to its authority. Whoever listens needs one.
    pub cert: Option<PathBuf>,
    /// The private key of our certificate.
    pub key: Option<PathBuf>,
    /// Authorities of the peers that we connect to. Whoever connects needs it.
    pub ca: Option<PathBuf>,
    /// Authorities of the peers that connect to us. Without it no certificate is asked of them.
    pub client_ca: Option<PathBuf>,
    /// The name that must be in the certificate of the peer that we connect to, instead of the host of its
    /// address.
    pub server_name: Option<String>,
    /// The lowest version that is spoken.
    pub min_version: TlsVersion,
}

impl TlsConfig {
    /// Whether nothing is set, so that there is to be no TLS.
    #[must_use]
    pub fn is_unset(&self) -> bool {
        *self == Self::default()
    }
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum TlsVersion {
    /// For peers that know no other; needs the feature `tls12`.
    Tls12,
    /// The usual.
    #[default]
    Tls13,
}

/// A text that is no [`TlsVersion`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not allowed; it must be \"1.3\" or \"1.2\"")]
#[non_exhaustive]
pub struct TlsVersionError {
    /// The text.
    pub given: String,
}

impl FromStr for TlsVersion {
    type Err = TlsVersionError;

    fn from_str(text: &str) -> Result<Self, TlsVersionError> {
        match text {
            "1.2" => Ok(Self::Tls12),
            "1.3" => Ok(Self::Tls13),
            _ => Err(TlsVersionError {
                given: text.to_owned(),
            }),
        }
    }
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls12 => "1.2",
            Self::Tls13 => "1.3",
        })
    }
}

/// Why there can be no TLS.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file is not named.
    #[error("TLS needs `{what}`: {why}")]
    Missing {
        /// What is not set, as in the configuration.
        what: &'static str,
        /// What it is for.
        why: &'static str,
    },
    /// A file cannot be read.
    #[error("{what} {}: {source}", path.display())]
    Read {
        /// What it is for, as in the configuration.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file can be read and not be used.
    #[error("{what} {}: {problem}", path.display())]
    File {
        /// What it is for, as in the configuration.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what is allowed.
        problem: String,
    },
    /// A key of another certificate.
    #[error("key {} does not belong to the certificate {}", key.display(), cert.display())]
    Mismatch {
        /// The certificate.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// A name that no certificate can hold.
    #[error("server_name {given:?} is neither the name of a host nor an IP")]
    ServerName {
        /// The name.
        given: String,
    },
    /// What this build cannot do.
    #[error("min_version 1.2 needs a build with it; 1.3 is what there is here")]
    Version,
    /// What the library says otherwise.
    #[error("TLS: {0}")]
    Other(String),
}
