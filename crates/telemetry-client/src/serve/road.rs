//! The ways to managers: a unix socket, whose owner is looked at and who is handed the region; a port, with TLS.

use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use rustix::io::Errno;
use rustix::net::sockopt::socket_peercred;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use telemetry_core::{Address, wire::Introduction};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::config::capabilities;
use super::introduce::{Opened, Road, Unreached};
use super::poller::PollerHandle;
use super::stream::Stream;
use super::users::is_hidden;
use crate::region::{RegionKind, SharedRegion};

/// A connection to a manager.
#[derive(Debug)]
pub(super) enum Carried {
    /// At a unix socket.
    Unix(Stream),
    /// At a port.
    #[cfg(feature = "tls")]
    Tls(Box<telemetry_tls::ClientStream<Stream>>),
}

/// The way over unix sockets, and to ports with TLS.
#[derive(Debug)]
pub(super) struct Ways {
    /// Where sockets are waited for.
    poller: PollerHandle,
    /// What each manager is handed, if anything is.
    region: Option<Arc<SharedRegion>>,
    /// A user whose manager is connected to, besides our own and root.
    manager_uid: Option<u32>,
    /// The first connection, on which it has been said who we are.
    first: Option<Stream>,
    /// The way to ports.
    #[cfg(feature = "tls")]
    port: Option<super::port::Port>,
}

impl Ways {
    /// A road on which nobody was met yet.
    pub(super) fn new(
        poller: PollerHandle,
        region: Option<Arc<SharedRegion>>,
        manager_uid: Option<u32>,
        #[cfg(feature = "tls")] port: Option<super::port::Port>,
    ) -> Self {
        if let Some(region) = &region {
            poller.watch(Arc::clone(region));
        }
        Self {
            poller,
            region,
            manager_uid,
            first: None,
            #[cfg(feature = "tls")]
            port,
        }
    }

    /// Connects and says who we are, if that can be done without waiting: then the manager holds the region
    /// whatever becomes of this process.
    pub(super) fn begin(
        &mut self,
        address: &Address,
        allowed_uid: u32,
        introduction: &Introduction,
    ) {
        let Ok(mut stream) = self.reach_socket(address, allowed_uid) else {
            return;
        };
        let said = {
            let mut saying = pin!(say(&mut stream, introduction, self.region.as_deref()));
            saying
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
        };
        // One that was said in part is of no use any more.
        if matches!(said, Poll::Ready(Ok(()))) {
            self.first = Some(stream);
        }
    }

    /// Connects to a manager's socket, if the manager is of one of the users that are allowed.
    fn reach_socket(&self, address: &Address, allowed_uid: u32) -> Result<Stream, Unreached> {
        let Address::Unix(path) = address else {
            return Err(Unreached::NoTls {
                address: address.clone(),
            });
        };
        let absent = |source: io::Error| Unreached::Absent {
            path: path.clone(),
            source,
        };
        let stream = open(path, &self.poller).map_err(absent)?;
        let found = stream.with_socket(|socket| Ok(socket_peercred(socket)?));
        let found = found.map_err(absent)?.uid.as_raw();
        let is_known = [Some(allowed_uid), Some(0), self.manager_uid].contains(&Some(found));
        if is_hidden(found) {
            return Err(Unreached::Hidden { path: path.clone() });
        }
        if !is_known {
            return Err(Unreached::Foreign {
                path: path.clone(),
                found,
                own: allowed_uid,
            });
        }
        Ok(stream)
    }

    /// Has the memory of the region made ready, when nothing else is to be done.
    pub(super) fn populate(&self) {
        if let Some(region) = &self.region {
            let region = Arc::clone(region);
            // Runs when the first attempt waits for an answer.
            tokio::spawn(async move { region.populate() });
        }
    }
}

impl Road for Ways {
    type Stream = Carried;

    async fn reach(
        &mut self,
        address: &Address,
        allowed_uid: u32,
    ) -> Result<Opened<Carried>, Unreached> {
        if let Some(stream) = self.first.take() {
            return Ok(Opened {
                stream: Carried::Unix(stream),
                is_said: true,
            });
        }
        if address.socket_path().is_some() {
            let stream = self.reach_socket(address, allowed_uid)?;
            return Ok(Opened::silent(Carried::Unix(stream)));
        }
        #[cfg(feature = "tls")]
        if let Some(port) = &mut self.port {
            let stream = port.reach(address, &self.poller).await?;
            return Ok(Opened::silent(Carried::Tls(Box::new(stream))));
        }
        Err(Unreached::NoTls {
            address: address.clone(),
        })
    }

    async fn say(&self, stream: &mut Carried, introduction: &Introduction) -> io::Result<()> {
        match stream {
            Carried::Unix(stream) => say(stream, introduction, self.region.as_deref()).await,
            #[cfg(feature = "tls")]
            Carried::Tls(stream) => {
                let mut introduction = introduction.clone();
                introduction.token = self.port.as_ref().and_then(|port| port.token.clone());
                introduction.capabilities = capabilities(RegionKind::Heap);
                stream.write_all(&introduction.to_frame()).await?;
                stream.flush().await
            }
        }
    }
}

/// Opens a connection. A unix socket connects at once or not at all: EAGAIN says that whoever listens is
/// too busy.
fn open(path: &Path, poller: &PollerHandle) -> io::Result<Stream> {
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
        None,
    )?;
    // Listed for a fork before it is anything.
    let stream = Stream::new(socket, poller)?;
    let place = SocketAddrUnix::new(path)?;
    stream.with_socket(|socket| {
        loop {
            match connect(socket, &place) {
                Err(Errno::INTR) => {}
                connected => return Ok(connected?),
            }
        }
    })?;
    Ok(stream)
}

/// Says who we are. A region that cannot be handed over is left out.
async fn say(
    stream: &mut Stream,
    introduction: &Introduction,
    region: Option<&SharedRegion>,
) -> io::Result<()> {
    let frame = |region| {
        let capabilities = capabilities(region);
        let mut introduction = introduction.clone();
        introduction.capabilities = capabilities;
        introduction.to_frame()
    };
    if let Some(region) = region {
        region.set_handed(false);
        let frame = frame(RegionKind::Shared);
        // The descriptor is asked for right before each attempt: it may become another file's meanwhile.
        match stream.send_with(&frame, || region.file()).await {
            Ok(sent) => {
                region.set_handed(true);
                return stream.write_all(&frame[sent..]).await;
            }
            Err(error) => tracing::debug!(%error, "the region cannot be handed to the manager"),
        }
    }
    stream.write_all(&frame(RegionKind::Heap)).await
}

/// Does the same on whatever carries the connection.
macro_rules! carried {
    ($self:ident, $stream:ident => $does:expr) => {
        match $self.get_mut() {
            Carried::Unix($stream) => {
                let $stream = Pin::new($stream);
                $does
            }
            #[cfg(feature = "tls")]
            Carried::Tls($stream) => {
                let $stream = Pin::new(&mut **$stream);
                $does
            }
        }
    };
}

impl AsyncRead for Carried {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        carried!(self, stream => stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Carried {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        carried!(self, stream => stream.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        carried!(self, stream => stream.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Unix(stream) => stream.is_write_vectored(),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        carried!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        carried!(self, stream => stream.poll_shutdown(cx))
    }
}
