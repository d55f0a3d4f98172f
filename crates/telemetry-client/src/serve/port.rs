//! The way to a port: find out its addresses, connect, begin TLS.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{set_tcp_nodelay, socket_error};
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};
use telemetry_core::{Address, Token};
use telemetry_tls::{ClientStream, ClientTls, TlsConfig, TlsError};
use tokio::time::{Instant, timeout_at};

use super::introduce::Unreached;
use super::look_up::LookUps;
use super::poller::PollerHandle;
use super::stream::Stream;

/// Time for all of it.
const REACH_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for one of several addresses.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Debug)]
pub(super) struct Port {
    config: TlsConfig,
    /// There once the files could be used.
    tls: Option<ClientTls>,
    /// Names that are looked up.
    look_ups: LookUps,
    /// What is shown there.
    pub(super) token: Option<Token>,
}

impl Port {
    /// Reads the files, if they are there by now.
    ///
    /// # Errors
    ///
    /// [`TlsError`] of what no file that comes later can mend.
    pub(super) fn new(config: &TlsConfig, token: Option<Token>) -> Result<Self, TlsError> {
        let tls = match ClientTls::new(config, &[]) {
            Ok(tls) => Some(tls),
            Err(
                error @ (TlsError::Read { .. } | TlsError::File { .. } | TlsError::Mismatch { .. }),
            ) => {
                tracing::warn!(%error, "no manager elsewhere is connected to until this is mended");
                None
            }
            Err(error) => return Err(error),
        };
        Ok(Self {
            config: config.clone(),
            tls,
            look_ups: LookUps::default(),
            token,
        })
    }

    /// Connects to a manager that can be trusted.
    pub(super) async fn reach(
        &mut self,
        address: &Address,
        poller: &PollerHandle,
    ) -> Result<ClientStream<Stream>, Unreached> {
        let tls = match &mut self.tls {
            Some(tls) => tls,
            none => none.insert(ClientTls::new(&self.config, &[])?),
        };
        // This thread has nothing else to do.
        tls.look();
        let failed = |source| Unreached::Port {
            address: address.clone(),
            source,
        };
        let deadline = Instant::now() + REACH_TIMEOUT;
        let (host, places) = timeout_at(deadline, places(&mut self.look_ups, address))
            .await
            .map_err(|_| failed(late()))?
            .map_err(failed)?;
        let mut last = io::Error::other("the name has no address");
        for place in places {
            let until = deadline.min(Instant::now() + ADDRESS_TIMEOUT);
            let reached = timeout_at(until, async {
                let stream = open(place, poller).await?;
                tls.connect(stream, &host).await
            });
            match reached.await.unwrap_or_else(|_| Err(late())) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(failed(last))
    }
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "it does not answer")
}

/// What must be in the certificate, and the addresses.
async fn places(
    look_ups: &mut LookUps,
    address: &Address,
) -> io::Result<(String, Vec<SocketAddr>)> {
    match address {
        Address::Tcp(place) => Ok((place.ip().to_string(), vec![*place])),
        Address::Host { name, port } => {
            let places = look_ups.places(name, *port).await?;
            Ok((name.clone(), places))
        }
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// Opens a connection.
async fn open(place: SocketAddr, poller: &PollerHandle) -> io::Result<Stream> {
    let family = match place {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    // Listed for a fork before it is anything.
    let stream = Stream::new(socket, poller)?;
    let begun = stream.with_socket(|socket| {
        set_tcp_nodelay(socket, true)?;
        match connect(socket, &place) {
            Err(Errno::INPROGRESS | Errno::INTR) => Ok(false),
            connected => Ok(connected.map(|()| true)?),
        }
    })?;
    if !begun {
        stream.writable().await;
        stream.with_socket(|socket| Ok(socket_error(socket)??))?;
    }
    Ok(stream)
}
