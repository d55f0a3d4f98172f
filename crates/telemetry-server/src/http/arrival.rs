//! Where a connection came from: over a port or over the unix socket, and who is at its other end.

use std::fmt;
use std::future::ready;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::body::Bytes;
use rustix::net::sockopt::set_socket_send_buffer_size;
use telemetry_core::catalog::escape;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixStream};

use super::access::Access;
use super::patience::{Patient, Seat};
use crate::bound::Bound;
use crate::peer_user;

/// What the system keeps of what a client has not read, at most and in bytes; it takes it twice.
const SEND_BUFFER: usize = 128 * 1_024;

/// Where a request came from; whoever serves it finds it among its extensions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Arrival {
    /// Over a port: anybody.
    Port {
        /// Who.
        peer: SocketAddr,
        /// The address of ours that it came to.
        own: Option<IpAddr>,
    },
    /// Over the unix socket: a user that may.
    Socket {
        /// Its process; none of a namespace that is not ours to see.
        pid: Option<i32>,
    },
}

impl fmt::Display for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port { peer, .. } => write!(f, "{peer}"),
            Self::Socket { pid: Some(pid) } => write!(f, "process {pid}"),
            Self::Socket { pid: None } => f.write_str("a process that cannot be seen"),
        }
    }
}

/// Somewhere clients come to.
pub(super) trait Door: Send + Sync + 'static {
    /// A connection.
    type Stream: Send + 'static;

    /// The same, as HTTP is spoken over it.
    type Served: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// The next one. Can be dropped at any time and loses none.
    fn accept(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// Sees to it that clients still find it; to be called now and then.
    fn look_after(&mut self) -> impl Future<Output = ()> + Send {
        ready(())
    }

    /// Where it came from; the error says why it may not ask, and has been told so as far as it listens.
    fn look_at(&self, stream: &Self::Stream) -> Result<Arrival, String>;

    /// Makes it ready for HTTP, once it has a place; none if it was refused, which was told then.
    fn open(
        &self,
        stream: Self::Stream,
        arrival: Arrival,
        seat: Seat,
    ) -> impl Future<Output = Option<Self::Served>> + Send + 'static;
}

impl Door for TcpListener {
    type Stream = TcpStream;
    type Served = Patient<TcpStream>;

    async fn accept(&self) -> io::Result<TcpStream> {
        let (stream, _) = Self::accept(self).await?;
        // The system would let it grow to megabytes for each. Where it does not listen, it does that.
        let _best_effort = set_socket_send_buffer_size(&stream, SEND_BUFFER);
        Ok(stream)
    }

    fn look_at(&self, stream: &TcpStream) -> Result<Arrival, String> {
        let peer = stream.peer_addr();
        let own = stream.local_addr().ok().map(|it| it.ip().to_canonical());
        match peer {
            Ok(peer) => Ok(Arrival::Port { peer, own }),
            Err(error) => Err(error.to_string()),
        }
    }

    fn open(
        &self,
        stream: TcpStream,
        _arrival: Arrival,
        seat: Seat,
    ) -> impl Future<Output = Option<Self::Served>> + Send + 'static {
        ready(Some(Patient::new(stream, seat)))
    }
}

/// The unix socket, and whose processes may use it besides our own user's and root's.
#[derive(Debug)]
pub(super) struct SocketDoor {
    bound: Bound,
    accepted_uids: Vec<u32>,
    /// What the directory of the socket mostly holds as well.
    access: Arc<Access>,
    /// Whether the last try to listen again failed.
    is_lost: bool,
}

impl SocketDoor {
    pub(super) fn new(bound: Bound, accepted_uids: Vec<u32>, access: Arc<Access>) -> Self {
        Self {
            bound,
            accepted_uids,
            access,
            is_lost: false,
        }
    }
}

impl Door for SocketDoor {
    type Stream = UnixStream;
    type Served = Patient<UnixStream>;

    async fn look_after(&mut self) {
        if self.bound.is_found() {
            return;
        }
        let path = escape(&self.bound.path().to_string_lossy()).into_owned();
        match self.bound.again().await {
            Ok(again) => {
                tracing::warn!(path, "somebody removed the HTTP socket; it is there again");
                self.bound = again;
                self.is_lost = false;
                if let Err(error) = self.access.restore() {
                    tracing::warn!(%error, "the operators' token is not in its file any more");
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut self.is_lost, true) {
                    tracing::warn!(path, %error, "somebody removed the HTTP socket");
                }
            }
        }
    }

    async fn accept(&self) -> io::Result<UnixStream> {
        Ok(self.bound.listener.accept().await?.0)
    }

    fn look_at(&self, stream: &UnixStream) -> Result<Arrival, String> {
        let credentials = stream.peer_cred();
        let pid = credentials.as_ref().ok().and_then(|it| it.pid());
        let checked = peer_user::check(credentials.map(|it| it.uid()), &self.accepted_uids);
        match checked {
            Ok(_user) => Ok(Arrival::Socket {
                pid: pid.filter(|pid| *pid != 0),
            }),
            Err(error) => {
                let why = error.to_string();
                // There is room in a new socket; nothing is read from it.
                let _told = stream.try_write(&last_word("403 Forbidden", &why));
                Err(why)
            }
        }
    }

    fn open(
        &self,
        stream: UnixStream,
        _arrival: Arrival,
        seat: Seat,
    ) -> impl Future<Output = Option<Self::Served>> + Send + 'static {
        ready(Some(Patient::new(stream, seat)))
    }
}

/// An answer to whatever would have been asked.
pub(super) fn last_word(status: &str, why: &str) -> Bytes {
    let body = serde_json::json!({ "error": escape(why) }).to_string();
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{body}"
    )
    .into()
}
