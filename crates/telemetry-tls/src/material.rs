//! What is in the files: certificates, a key, authorities. Read and made ready, or refused with the name
//! of the file.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::config::{TlsConfig, TlsError, TlsVersion};

/// Largest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 4 << 20;
/// `O_NONBLOCK` of Linux and its like.
#[cfg(target_os = "linux")]
const NONBLOCK: i32 = 0o4000;
#[cfg(not(target_os = "linux"))]
const NONBLOCK: i32 = 4;

/// What a file looked like when it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamp {
    path: PathBuf,
    /// Device, number, length and time of the last change; none of a file that could not be found.
    seen: Option<(u64, u64, u64, SystemTime)>,
}

impl Stamp {
    /// How the file looks now.
    pub(crate) fn of(path: &Path) -> Self {
        use std::os::unix::fs::MetadataExt;
        let seen = fs::metadata(path).ok().and_then(|file| {
            let changed = file.modified().ok()?;
            Some((file.dev(), file.ino(), file.len(), changed))
        });
        Self {
            path: path.to_owned(),
            seen,
        }
    }

    /// Whether it looks otherwise now.
    pub(crate) fn is_stale(&self) -> bool {
        Self::of(&self.path) != *self
    }
}

/// Our certificate and its key.
pub(crate) fn certified_key(
    config: &TlsConfig,
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, TlsError> {
    let missing = |what, why| TlsError::Missing { what, why };
    let cert = config.cert.as_deref();
    let cert = cert.ok_or_else(|| missing("cert", "our own certificate, which peers look at"))?;
    let key = config.key.as_deref();
    let key = key.ok_or_else(|| missing("key", "the private key of our certificate"))?;
    let chain = certificates("cert", cert)?;
    let signing = private_key(key)?;
    match CertifiedKey::from_der(chain, signing, provider) {
        Ok(pair) => Ok(Arc::new(pair)),
        Err(rustls::Error::InconsistentKeys(_)) => Err(TlsError::Mismatch {
            cert: cert.to_owned(),
            key: key.to_owned(),
        }),
        Err(error) => Err(TlsError::File {
            what: "key",
            path: key.to_owned(),
            problem: error.to_string(),
        }),
    }
}

/// The authorities in a file.
pub(crate) fn authorities(what: &'static str, path: &Path) -> Result<Arc<RootCertStore>, TlsError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(what, path)? {
        store.add(certificate).map_err(|error| TlsError::File {
            what,
            path: path.to_owned(),
            problem: format!("holds a certificate that is no authority's: {error}"),
        })?;
    }
    Ok(Arc::new(store))
}

/// The versions from the lowest that is allowed.
pub(crate) fn versions(
    lowest: TlsVersion,
) -> Result<&'static [&'static rustls::SupportedProtocolVersion], TlsError> {
    static NEWEST: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13];
    match lowest {
        TlsVersion::Tls13 => Ok(NEWEST),
        #[cfg(feature = "tls12")]
        TlsVersion::Tls12 => Ok(rustls::ALL_VERSIONS),
        #[cfg(not(feature = "tls12"))]
        TlsVersion::Tls12 => Err(TlsError::Version),
    }
}

/// What signs and encrypts.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let content = content(what, path)?;
    let refused = |problem| TlsError::File {
        what,
        path: path.to_owned(),
        problem,
    };
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&content).collect();
    let found = read.map_err(|error| refused(format!("is no PEM file: {error}")))?;
    if found.is_empty() {
        return Err(refused(
            "holds no certificate; it must have \"-----BEGIN CERTIFICATE-----\"".to_owned(),
        ));
    }
    Ok(found)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let content = content("key", path)?;
    PrivateKeyDer::from_pem_slice(&content).map_err(|error| TlsError::File {
        what: "key",
        path: path.to_owned(),
        problem: match error {
            rustls::pki_types::pem::Error::NoItemsFound => {
                "holds no private key; it must have \"-----BEGIN PRIVATE KEY-----\", not encrypted"
                    .to_owned()
            }
            error => format!("is no PEM file: {error}"),
        },
    })
}

fn content(what: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |source| TlsError::Read {
        what,
        path: path.to_owned(),
        source,
    };
    // What is no file may keep us waiting, when it is opened or for its end.
    let mut options = File::options();
    options.read(true).custom_flags(NONBLOCK);
    let file = options.open(path).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(failed(io::Error::other("it is no file")));
    }
    let mut content = Vec::new();
    let read = file.take(MAX_FILE_BYTES + 1).read_to_end(&mut content);
    read.map_err(failed)?;
    if content.len() as u64 > MAX_FILE_BYTES {
        let long = format!("it has more than {MAX_FILE_BYTES} bytes");
        return Err(failed(io::Error::other(long)));
    }
    Ok(content)
}
