//! An authority of one's own, for development and tests: its key lies in a file beside the others, so it is
//! nothing for production.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};

/// What the authority is called.
const AUTHORITY: &str = "telemetry development authority";
/// How long the authority is valid.
const AUTHORITY_LIFE: Duration = Duration::from_secs(3_650 * 86_400);
/// How long a certificate is valid, unless it is said.
const LIFE: Duration = Duration::from_secs(365 * 86_400);
/// How much the clocks of two machines may differ.
const SLACK: Duration = Duration::from_secs(3_600);

/// Signs certificates.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

/// Whom a certificate is for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// The common name.
    pub name: String,
    /// Names and IPs under which it listens.
    pub hosts: Vec<String>,
    /// Its SPIFFE id, if it has one.
    pub uri: Option<String>,
    /// Whether it may listen.
    pub listens: bool,
    /// Whether it may connect.
    pub connects: bool,
    /// From when on it is valid.
    pub not_before: SystemTime,
    /// Until when.
    pub not_after: SystemTime,
}

/// A certificate and its key, as the content of PEM files. Not to be compared: that would tell of the key by the time it
/// takes.
#[derive(Clone)]
pub struct Issued {
    /// The certificate.
    pub cert: String,
    /// Its private key.
    pub key: String,
}

/// Why a certificate could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot make a certificate: {0}")]
pub struct AuthorityError(#[from] rcgen::Error);

impl Authority {
    /// One with a new key.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn new() -> Result<Self, AuthorityError> {
        let key = KeyPair::generate()?;
        let params = params()?;
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self {
            issuer: Issuer::new(params, key),
            certificate,
        })
    }

    /// One that was made before, from its two files.
    ///
    /// # Errors
    /// [`AuthorityError`] if the key is none.
    pub fn load(certificate: &str, key: &str) -> Result<Self, AuthorityError> {
        Ok(Self {
            issuer: Issuer::new(params()?, KeyPair::from_pem(key)?),
            certificate: certificate.to_owned(),
        })
    }

    /// Its certificate, which is what peers are given as `ca` and `client_ca`, as the content of a PEM file.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Its private key, as the content of a PEM file.
    #[must_use]
    pub fn key(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// Signs a certificate with a new key.
    ///
    /// # Errors
    /// [`AuthorityError`], as of a host that is no name.
    pub fn issue(&self, holder: &Holder) -> Result<Issued, AuthorityError> {
        let mut params = CertificateParams::new(holder.hosts.clone())?;
        params.distinguished_name = called(&holder.name);
        if let Some(uri) = &holder.uri {
            let uri = uri.as_str().try_into()?;
            params.subject_alt_names.push(SanType::URI(uri));
        }
        params.not_before = holder.not_before.into();
        params.not_after = holder.not_after.into();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let usages = [
            (holder.listens, ExtendedKeyUsagePurpose::ServerAuth),
            (holder.connects, ExtendedKeyUsagePurpose::ClientAuth),
        ];
        let wanted = usages.into_iter().filter(|(wanted, _)| *wanted);
        params.extended_key_usages = wanted.map(|(_, usage)| usage).collect();
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let cert = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Issued {
            cert,
            key: key.serialize_pem(),
        })
    }
}

impl Holder {
    /// One that connects, and listens under these hosts if there are any, for a year from now.
    #[must_use]
    pub fn new(name: impl Into<String>, hosts: &[&str]) -> Self {
        let now = SystemTime::now();
        Self {
            name: name.into(),
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            uri: None,
            listens: !hosts.is_empty(),
            connects: true,
            not_before: now - SLACK,
            not_after: now + LIFE,
        }
    }
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issued")
            .field("cert", &self.cert)
            .finish_non_exhaustive()
    }
}

fn params() -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.distinguished_name = called(AUTHORITY);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let now = SystemTime::now();
    params.not_before = (now - SLACK).into();
    params.not_after = (now + AUTHORITY_LIFE).into();
    Ok(params)
}

fn called(name: &str) -> DistinguishedName {
    let mut called = DistinguishedName::new();
    called.push(DnType::CommonName, name);
    called
}
