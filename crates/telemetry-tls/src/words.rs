//! What went wrong with a peer, for people: which certificate, which name, which date, which file.

use std::io;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use httpdate::fmt_http_date;
use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};

/// What an error of a TLS connection says, in words; `authorities` is the file of those that peers' certificates
/// are held against. Errors that are not of TLS are said as they are.
#[must_use]
pub fn explain(error: &io::Error, authorities: Option<&Path>) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    match inner {
        Some(error) => explained(error, authorities),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            "the peer left in the middle of the handshake; does it speak TLS?".to_owned()
        }
        None => error.to_string(),
    }
}

/// The same as an error; one that is not of TLS stays as it is.
pub(crate) fn in_words(error: io::Error, authorities: Option<&Path>) -> io::Error {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    match inner {
        Some(inner) => io::Error::new(error.kind(), explained(inner, authorities)),
        None => error,
    }
}

fn explained(error: &Error, authorities: Option<&Path>) -> String {
    match error {
        Error::InvalidCertificate(fault) => certificate(fault, authorities),
        Error::AlertReceived(alert) => received(*alert),
        Error::NoCertificatesPresented => match authorities {
            Some(file) => format!(
                "the peer showed no certificate; one that an authority in {} has signed is needed",
                file.display()
            ),
            None => "the peer showed no certificate".to_owned(),
        },
        Error::InvalidMessage(InvalidMessage::InvalidContentType)
        | Error::InvalidMessage(InvalidMessage::UnknownProtocolVersion) => {
            "the peer does not speak TLS".to_owned()
        }
        Error::PeerIncompatible(PeerIncompatible::Tls12NotOfferedOrEnabled)
        | Error::PeerIncompatible(PeerIncompatible::Tls13RequiredForQuic)
        | Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13) => {
            "the peer speaks no version of TLS that is allowed here (min_version)".to_owned()
        }
        error => error.to_string(),
    }
}

/// What is wrong with the certificate of a peer.
fn certificate(fault: &CertificateError, authorities: Option<&Path>) -> String {
    let ca = authorities.map_or_else(String::new, |file| format!(" in {}", file.display()));
    match fault {
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("the peer's certificate has expired: it was valid until {}", date(*not_after))
        }
        CertificateError::Expired => "the peer's certificate has expired".to_owned(),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("the peer's certificate is not valid yet: it will be from {}", date(*not_before))
        }
        CertificateError::NotValidYet => "the peer's certificate is not valid yet".to_owned(),
        CertificateError::NotValidForNameContext { expected, presented } => format!(
            "the peer's certificate is not for {:?} but for {}; set server_name to one of these, or have a \
             certificate made with that name",
            expected.to_str(),
            names(presented)
        ),
        CertificateError::NotValidForName => {
            "the peer's certificate is for another name".to_owned()
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            format!("the peer's certificate was not signed by an authority{ca}")
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "the peer's certificate is for another purpose: whoever connects needs the extended key usage \
             clientAuth, whoever listens serverAuth"
                .to_owned()
        }
        fault => format!("the peer's certificate cannot be used: {fault}"),
    }
}

/// What a peer says of us.
fn received(alert: AlertDescription) -> String {
    let fault = match alert {
        AlertDescription::CertificateExpired => "it has expired, or is not valid yet",
        // Of an authority of the same name, the signature cannot be verified.
        AlertDescription::UnknownCA | AlertDescription::DecryptError => {
            "it was not signed by an authority that the peer knows"
        }
        AlertDescription::CertificateRequired => {
            return "the peer asks for a certificate, and there is none; set cert and key"
                .to_owned();
        }
        AlertDescription::CertificateRevoked => "it was revoked",
        AlertDescription::BadCertificate | AlertDescription::CertificateUnknown => {
            "it is not for the name that the peer asked for, or cannot be used"
        }
        AlertDescription::UnsupportedCertificate => {
            "it is for another purpose (extended key usage clientAuth or serverAuth)"
        }
        AlertDescription::ProtocolVersion => {
            return "the peer does not speak a version of TLS that is allowed here (min_version)"
                .to_owned();
        }
        AlertDescription::UnrecognisedName => {
            return "the peer does not go by that name".to_owned();
        }
        alert => return format!("the peer ended the handshake: {alert:?}"),
    };
    format!("the peer refused our certificate: {fault} ({alert:?})")
}

fn names(presented: &[String]) -> String {
    if presented.is_empty() {
        "no name at all".to_owned()
    } else {
        presented.join(", ")
    }
}

fn date(time: UnixTime) -> String {
    let time = UNIX_EPOCH.checked_add(Duration::from_secs(time.as_secs()));
    time.map_or_else(|| "a day beyond all clocks".to_owned(), fmt_http_date)
}
