//! Who a certificate says its holder is.

use std::fmt;

use rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// How the id of a workload begins (SPIFFE).
const SPIFFE: &str = "spiffe://";

/// The name of a certificate's holder: its SPIFFE id, or else the common name of its subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateName(String);

/// Why a certificate names nobody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// It cannot be read.
    #[error("the certificate cannot be read: {problem}")]
    Unreadable {
        /// What is wrong with it.
        problem: String,
    },
    /// It has neither.
    #[error("the certificate has neither a SPIFFE id nor a common name")]
    Nameless,
    /// It has several SPIFFE ids, where one is allowed.
    #[error("the certificate has {count} SPIFFE ids; one is allowed")]
    Several {
        /// How many.
        count: usize,
    },
}

impl CertificateName {
    /// Reads it. What it says is true only of a certificate that was verified.
    ///
    /// # Errors
    /// [`NameError`].
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, NameError> {
        let unreadable = |error: x509_cert::der::Error| NameError::Unreadable {
            problem: error.to_string(),
        };
        let certificate = Certificate::from_der(certificate).map_err(unreadable)?;
        let certificate = certificate.tbs_certificate();
        let names = certificate.get_extension::<SubjectAltName>();
        let names = names.map_err(unreadable)?.map(|(_, names)| names.0);
        let ids: Vec<&str> = names
            .iter()
            .flatten()
            .filter_map(|name| match name {
                GeneralName::UniformResourceIdentifier(uri) => Some(uri.as_str()),
                _ => None,
            })
            .filter(|uri| uri.starts_with(SPIFFE))
            .collect();
        match ids[..] {
            [id] => return Ok(Self(id.to_owned())),
            [] => {}
            _ => return Err(NameError::Several { count: ids.len() }),
        }
        let common = certificate.subject().common_name().map_err(unreadable)?;
        let common = common.map(|name| name.value().into_owned());
        common
            .filter(|name| !name.is_empty())
            .map(Self)
            .ok_or(NameError::Nameless)
    }

    /// All of it: `spiffe://example/web/web-1` or `web-1`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the holder is called among its like: the last part of a SPIFFE id's path, or the common name.
    #[must_use]
    pub fn short(&self) -> &str {
        match self.0.strip_prefix(SPIFFE) {
            Some(id) => id.rsplit('/').next().unwrap_or(id),
            None => &self.0,
        }
    }
}

impl fmt::Display for CertificateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
