//! The end that connects.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use crate::config::{TlsConfig, TlsError};
use crate::material::{authorities, certified_key, provider, versions};
use crate::rotating::Rotating;
use crate::stream::ClientStream;
use crate::words::explain;

/// Connects with TLS. Clones are not needed: share it.
#[derive(Debug)]
pub struct ClientTls {
    rotating: Rotating<ClientConfig>,
    /// Instead of the host of the address.
    server_name: Option<ServerName<'static>>,
    /// The file of those that peers' certificates are held against.
    authorities: Option<Arc<Path>>,
}

impl ClientTls {
    /// Reads the files. `protocols`: those of ALPN that are offered.
    ///
    /// # Errors
    /// [`TlsError`]: `ca` is not set, a certificate has no key, a file cannot be used, or `server_name` is no
    /// name.
    pub fn new(config: &TlsConfig, protocols: &'static [&'static str]) -> Result<Self, TlsError> {
        let server_name = config.server_name.as_deref().map(name).transpose()?;
        Ok(Self {
            rotating: Rotating::new(config, move |config| made(config, protocols))?,
            server_name,
            authorities: config.ca.as_deref().map(Arc::from),
        })
    }

    /// Does the handshake on a connection to `host`, which is a name or an IP. There is no deadline here.
    ///
    /// What is wrong with our own certificate is said by the peer after that: the first read fails then, with its words.
    ///
    /// # Errors
    /// What is wrong with the peer, in words.
    pub async fn connect<S>(&self, stream: S, host: &str) -> io::Result<ClientStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let host = match &self.server_name {
            Some(name) => name.clone(),
            None => name(host).map_err(io::Error::other)?,
        };
        let config = self.rotating.current();
        let connected = TlsConnector::from(config).connect(host, stream);
        let authorities = self.authorities.as_deref();
        let stream = connected
            .await
            .map_err(|error| io::Error::new(error.kind(), explain(&error, authorities)))?;
        Ok(ClientStream::new(stream, self.authorities.clone()))
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
}

fn name(text: &str) -> Result<ServerName<'static>, TlsError> {
    let given = || TlsError::ServerName {
        given: text.to_owned(),
    };
    // A name that ends with a dot is whole as it is; certificates leave the dot out.
    let bare = text.strip_suffix('.').unwrap_or(text);
    ServerName::try_from(bare.to_owned()).map_err(|_| given())
}

fn made(config: &TlsConfig, protocols: &[&str]) -> Result<ClientConfig, TlsError> {
    let provider = provider();
    let Some(ca) = config.ca.as_deref() else {
        return Err(TlsError::Missing {
            what: "ca",
            why: "the authorities of the peers that we connect to",
        });
    };
    let roots: Arc<RootCertStore> = authorities("ca", ca)?;
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions(config.min_version)?)
        .map_err(|error| TlsError::Other(error.to_string()))?
        .with_root_certificates(roots);
    let mut made = if config.cert.is_none() && config.key.is_none() {
        builder.with_no_client_auth()
    } else {
        let pair = certified_key(config, &provider)?;
        builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(pair)))
    };
    made.resumption = Resumption::disabled();
    made.alpn_protocols = protocols.iter().map(|it| it.as_bytes().to_vec()).collect();
    Ok(made)
}
