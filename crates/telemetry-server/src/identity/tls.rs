//! How a worker that is dialled is known over TLS: by whose certificate, and for which name.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use telemetry_tls::{ClientStream, ClientTls, TlsConfig, TlsError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::spawn_blocking;

use crate::secret_file;

/// What is spoken over it.
const PROTOCOLS: &[&str] = &["h2"];

/// TLS to a worker at a port. Clones share their files, which are looked at before each connection and read again when
/// they have changed.
#[derive(Clone)]
pub struct WorkerTls {
    files: Arc<Files>,
    /// What must be in the worker's certificate, in place of the host of its address.
    server_name: Option<String>,
}

/// What all clones share.
struct Files {
    config: TlsConfig,
    /// There once the files could be used.
    tls: Mutex<Option<Arc<ClientTls>>>,
}

impl WorkerTls {
    /// Reads the files: `ca`, the authorities of workers' certificates, and `cert` and `key`, our own for workers that ask
    /// for one. Files that are not there or cannot be used are told of in the log, and tried again with each connection.
    ///
    /// # Errors
    /// [`TlsError`] of what no file that comes later can mend: `ca` is not set, a certificate has no key, or `server_name`
    /// is no name.
    pub fn new(mut config: TlsConfig) -> Result<Self, TlsError> {
        let read = ClientTls::new(&config, PROTOCOLS);
        if let Err(error) = checked(&config) {
            tracing::warn!(%error, "workers are not dialled with TLS until this is mended");
        }
        match &read {
            Err(
                error @ (TlsError::Read { .. } | TlsError::File { .. } | TlsError::Mismatch { .. }),
            ) => tracing::warn!(%error, "workers are not dialled with TLS until this is mended"),
            _ => drop(read?),
        }
        let server_name = config.server_name.take();
        Ok(Self {
            files: Arc::new(Files {
                config,
                tls: Mutex::default(),
            }),
            server_name,
        })
    }

    /// The same with another name that must be in the worker's certificate.
    #[must_use]
    pub fn named(&self, server_name: impl Into<String>) -> Self {
        Self {
            files: Arc::clone(&self.files),
            server_name: Some(server_name.into()),
        }
    }

    /// Whether a name was given that must be in the worker's certificate.
    #[cfg(feature = "config")]
    pub(crate) fn is_named(&self) -> bool {
        self.server_name.is_some()
    }

    /// Begins TLS on a connection to `host`. There is no deadline here.
    pub(crate) async fn connect<S>(&self, stream: S, host: &str) -> io::Result<ClientStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let files = Arc::clone(&self.files);
        let tls = spawn_blocking(move || files.current()).await;
        let tls = tls.map_err(io::Error::other)??;
        let name = self.server_name.as_deref().unwrap_or(host);
        tls.connect(stream, name).await
    }
}

impl Files {
    /// What is in the files by now. May wait for the disk.
    fn current(&self) -> io::Result<Arc<ClientTls>> {
        checked(&self.config)?;
        let mut made = self.tls.lock().unwrap_or_else(PoisonError::into_inner);
        let tls = match &*made {
            Some(tls) => Arc::clone(tls),
            None => {
                let tls =
                    Arc::new(ClientTls::new(&self.config, PROTOCOLS).map_err(io::Error::other)?);
                Arc::clone(made.insert(tls))
            }
        };
        drop(made);
        tls.look();
        Ok(tls)
    }
}

/// Refuses a key that others may read.
fn checked(config: &TlsConfig) -> io::Result<()> {
    let checked = config.key.as_deref().map(secret_file::check);
    checked.unwrap_or(Ok(())).map_err(io::Error::other)
}

impl PartialEq for WorkerTls {
    fn eq(&self, other: &Self) -> bool {
        self.files.config == other.files.config && self.server_name == other.server_name
    }
}

impl Eq for WorkerTls {}

impl fmt::Debug for WorkerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerTls")
            .field("files", &self.files.config)
            .field("server_name", &self.server_name)
            .finish()
    }
}
