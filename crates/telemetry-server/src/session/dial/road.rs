//! The way to a worker that is dialled: a unix socket, or a port, with TLS or without.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use telemetry_core::Address;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::error::DialError;
use super::{Credentials, HANDSHAKE_TIMEOUT};

/// Most time for one of several addresses of a name; all of them get their part.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection, on which no HTTP/2 was spoken yet.
pub(super) enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
    #[cfg(feature = "tls")]
    Tls(Box<telemetry_tls::ClientStream<TcpStream>>),
    #[cfg(feature = "simulation")]
    Simulated(Box<dyn crate::simulated::Io>, Option<u32>),
}

/// Connects; a name is looked up each time, and its addresses are tried one after the other.
pub(super) async fn connect(
    endpoint: &Address,
    credentials: &Credentials,
) -> Result<Stream, DialError> {
    #[cfg(feature = "simulation")]
    if let Address::Tcp(address) = endpoint
        && let Some(dialled) = crate::simulated::dial(*address)
    {
        return dialled
            .map(|(stream, pid)| Stream::Simulated(stream, pid))
            .map_err(|error| failed(endpoint, error));
    }
    match endpoint {
        Address::Unix(path) => match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(DialError::NoSocket { path: path.clone() })
            }
            connected => connected
                .map(Stream::Unix)
                .map_err(|error| failed(endpoint, error)),
        },
        Address::Tcp(place) => {
            let host = place.ip().to_string();
            port(endpoint, &host, *place, credentials).await
        }
        Address::Host { name, port: number } => {
            let found = credentials.look_up.places(name, *number).await;
            let places = found.map_err(|error| failed(endpoint, error))?;
            let parts = u32::try_from(places.len()).unwrap_or(u32::MAX).max(1);
            let each = ADDRESS_TIMEOUT.min(HANDSHAKE_TIMEOUT / parts);
            let mut last = failed(endpoint, io::Error::other("the name has no address"));
            for place in &places {
                let reached = port(endpoint, name, *place, credentials);
                let reached = match places.len() {
                    1 => reached.await,
                    _ => timeout(each, reached).await.unwrap_or_else(|_| {
                        let late = format!("{place} did not answer in {each:?}");
                        Err(failed(
                            endpoint,
                            io::Error::new(io::ErrorKind::TimedOut, late),
                        ))
                    }),
                };
                match reached {
                    Ok(stream) => return Ok(stream),
                    Err(error) => last = error,
                }
            }
            Err(last)
        }
        _ => Err(failed(endpoint, io::ErrorKind::Unsupported.into())),
    }
}

/// Connects to a port, and begins TLS if it is to be spoken there; `host`: what must be in the certificate.
#[cfg_attr(
    not(feature = "tls"),
    expect(unused_variables, reason = "there is no TLS that would need them")
)]
async fn port(
    endpoint: &Address,
    host: &str,
    place: SocketAddr,
    credentials: &Credentials,
) -> Result<Stream, DialError> {
    let connected = TcpStream::connect(place).await.and_then(|stream| {
        stream.set_nodelay(true)?;
        Ok(stream)
    });
    let stream = connected.map_err(|error| failed(endpoint, error))?;
    #[cfg(feature = "tls")]
    if let Some(tls) = &credentials.tls {
        let shaken = tls.connect(stream, host).await;
        let endpoint = endpoint.clone();
        return shaken
            .map(|stream| Stream::Tls(Box::new(stream)))
            .map_err(|error| DialError::Tls { endpoint, error });
    }
    Ok(Stream::Tcp(stream))
}

fn failed(endpoint: &Address, error: io::Error) -> DialError {
    DialError::Connect {
        endpoint: endpoint.clone(),
        error,
    }
}
