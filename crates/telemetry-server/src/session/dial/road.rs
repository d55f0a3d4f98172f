//! The way to a worker that is dialled: a unix socket, or a port.

use std::io;

use telemetry_core::Address;
use tokio::net::{TcpStream, UnixStream};

use super::error::DialError;

/// A connection, on which nothing was said yet.
pub(super) enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
    #[cfg(feature = "simulation")]
    Simulated(Box<dyn crate::simulated::Io>, Option<u32>),
}

/// Connects; a name is looked up each time.
pub(super) async fn connect(endpoint: &Address) -> Result<Stream, DialError> {
    #[cfg(feature = "simulation")]
    if let Address::Tcp(address) = endpoint
        && let Some(dialled) = crate::simulated::dial(*address)
    {
        return dialled
            .map(|(stream, pid)| Stream::Simulated(stream, pid))
            .map_err(|error| DialError::Connect {
                endpoint: endpoint.clone(),
                error,
            });
    }
    let connected = match endpoint {
        Address::Unix(path) => match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(DialError::NoSocket { path: path.clone() });
            }
            connected => connected.map(Stream::Unix),
        },
        Address::Tcp(address) => TcpStream::connect(address).await.and_then(|stream| {
            stream.set_nodelay(true)?;
            Ok(Stream::Tcp(stream))
        }),
        Address::Host { name, port } => {
            let stream = TcpStream::connect((name.as_str(), *port)).await;
            stream.and_then(|stream| {
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            })
        }
        _ => Err(io::ErrorKind::Unsupported.into()),
    };
    connected.map_err(|error| DialError::Connect {
        endpoint: endpoint.clone(),
        error,
    })
}
