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
    /// Its name has a character that would make it another's.
    #[error(
        "the certificate's name {name:?} is not allowed: a common name may have no '/' and no ':', a SPIFFE id needs a path"
    )]
    Ambiguous {
        /// The name.
        name: String,
    },
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
            [id] => {
                let path = id[SPIFFE.len()..].split_once('/');
                let is_whole =
                    path.is_some_and(|(domain, path)| !domain.is_empty() && !path.is_empty());
                return match is_whole && !id[SPIFFE.len()..].contains(':') {
                    true => Ok(Self(id.to_owned())),
                    false => Err(NameError::Ambiguous {
                        name: id.to_owned(),
                    }),
                };
            }
            [] => {}
            _ => return Err(NameError::Several { count: ids.len() }),
        }
        let common = certificate.subject().common_name().map_err(unreadable)?;
        let common = common.map(|name| name.value().into_owned());
        match common.filter(|name| !name.is_empty()) {
            None => Err(NameError::Nameless),
            Some(name) if name.contains(['/', ':']) => Err(NameError::Ambiguous { name }),
            Some(name) => Ok(Self(name)),
        }
    }

    /// All of it: `spiffe://example/web/web-1` or `web-1`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the holder is called: `example/web/web-1` of a SPIFFE id, or the common name. No two names are the
    /// same here, since a common name has no `/`, and neither has a `:`.
    #[must_use]
    pub fn id(&self) -> &str {
        self.0.strip_prefix(SPIFFE).unwrap_or(&self.0)
    }
}

impl fmt::Display for CertificateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
