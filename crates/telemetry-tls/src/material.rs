//! What is in the files: certificates, a key, authorities. Read and made ready, or refused with the name
//! of the file.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
    seen: Option<Seen>,
}

/// What tells a file from the one that was there before; none of one that could not be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    device: u64,
    number: u64,
    bytes: u64,
    /// When its content changed, as whoever wrote it says: seconds and nanoseconds.
    modified: (i64, i64),
    /// When anything of it changed, as the system says.
    changed: (i64, i64),
}

impl Stamp {
    /// How the file looks now.
    pub(crate) fn of(path: &Path) -> Self {
        use std::os::unix::fs::MetadataExt;
        let seen = fs::metadata(path).ok().map(|file| Seen {
            device: file.dev(),
            number: file.ino(),
            bytes: file.len(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_replaced_with_the_time_and_the_length_of_the_one_before_is_another_one() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("cert.pem");
        fs::write(&path, "one").expect("a file");
        let modified = fs::metadata(&path).and_then(|file| file.modified());
        let modified = modified.expect("a time");
        let stamp = Stamp::of(&path);
        assert!(!stamp.is_stale());
        // The clock of the file system may take some milliseconds to tick.
        let seen = (0..10_000).any(|_| {
            fs::write(&path, "two").expect("a file");
            let file = File::options().write(true).open(&path);
            let restored = file.and_then(|file| file.set_modified(modified));
            restored.expect("it is ours");
            stamp.is_stale()
        });
        assert!(seen, "it looks as before");
        let found = fs::metadata(&path).and_then(|file| file.modified());
        assert_eq!(found.expect("a time"), modified);
    }
}
