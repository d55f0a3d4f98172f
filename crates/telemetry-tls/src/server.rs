//! The end that listens.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::config::{TlsConfig, TlsError};
use crate::material::{authorities, certified_key, provider, versions};
use crate::rotating::Rotating;
use crate::words::explain;

/// Accepts TLS. Clones are not needed: share it.
#[derive(Debug)]
pub struct ServerTls {
    rotating: Arc<Rotating<ServerConfig>>,
}

impl ServerTls {
    /// Reads the files. `protocols`: those of ALPN, of which the first that a client speaks is chosen; none
    /// says that it does not matter.
    ///
    /// # Errors
    /// [`TlsError`]: `cert` or `key` is not set, or a file cannot be used.
    pub fn new(config: &TlsConfig, protocols: &'static [&'static str]) -> Result<Self, TlsError> {
        let rotating = Rotating::new(config, move |config| made(config, protocols))?;
        Ok(Self {
            rotating: Arc::new(rotating),
        })
    }

    /// Does the handshake on a connection that was accepted. There is no deadline here.
    ///
    /// # Errors
    /// What is wrong with the peer, in words: see [`explain`].
    pub async fn accept<S>(&self, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.try_accept(stream).await.map_err(|(error, _)| error)
    }

    /// As [`accept`](Self::accept), and gives the connection back that cannot be used: a peer that is still sending reads
    /// what it was told only if somebody takes that before the connection is closed.
    ///
    /// # Errors
    /// What is wrong with the peer, in words, and its connection.
    pub async fn try_accept<S>(&self, stream: S) -> Result<TlsStream<S>, (io::Error, S)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let config = self.rotating.current();
        let accepted = TlsAcceptor::from(config).accept(stream).into_fallible();
        let accepted = accepted.await;
        accepted.map_err(|(error, stream)| (self.explained(&error), stream))
    }

    /// Whether peers must show a certificate.
    #[must_use]
    pub fn asks_for_certificates(&self) -> bool {
        self.rotating.config().client_ca.is_some()
    }

    /// Looks at the files, unless that was less than a second ago, and reads them if they have changed. To be
    /// called before a handshake, from where a call of the system may take its time.
    pub fn look(&self) {
        self.rotating.look();
    }

    /// What is wrong with the files as they are now, if those before are still in use.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        self.rotating.problem()
    }

    fn explained(&self, error: &io::Error) -> io::Error {
        let authorities = self.rotating.config().client_ca.as_deref();
        io::Error::new(error.kind(), explain(error, authorities))
    }
}

fn made(config: &TlsConfig, protocols: &[&str]) -> Result<ServerConfig, TlsError> {
    let provider = provider();
    let pair = certified_key(config, &provider)?;
    let other = |error: rustls::Error| TlsError::Other(error.to_string());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions(config.min_version)?)
        .map_err(other)?;
    let builder = match config.client_ca.as_deref() {
        None => builder.with_no_client_auth(),
        Some(path) => builder.with_client_cert_verifier(verifier(path, provider)?),
    };
    let mut made = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(pair)));
    made.session_storage = Arc::new(NoServerSessionStorage {});
    made.send_tls13_tickets = 0;
    made.alpn_protocols = protocols.iter().map(|it| it.as_bytes().to_vec()).collect();
    Ok(made)
}

fn verifier(
    path: &Path,
    provider: Arc<rustls::crypto::CryptoProvider>,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, TlsError> {
    let roots = authorities("client_ca", path)?;
    let built = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
    built.map_err(|error| TlsError::File {
        what: "client_ca",
        path: path.to_owned(),
        problem: error.to_string(),
    })
}

/// What a connection begins with: enough to tell a peer that does not speak TLS why it is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FirstBytes {
    /// A handshake, or the beginning of one.
    Tls,
    /// A worker that introduces itself.
    Introduction,
    /// A client of HTTP, of any version.
    Http,
    /// Something else.
    Other,
}

impl FirstBytes {
    /// How many bytes tell it for sure.
    pub const ENOUGH: usize = 4;

    /// What a connection is that begins with these.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        match bytes {
            [] | [22, ..] => Self::Tls,
            bytes if bytes.starts_with(b"TELE") => Self::Introduction,
            bytes
                if [&b"GET "[..], b"HEAD", b"POST", b"PUT ", b"PRI ", b"OPTI"]
                    .iter()
                    .any(|word| bytes.starts_with(word)) =>
            {
                Self::Http
            }
            _ => Self::Other,
        }
    }
}
