//! The accept loop and the life of one connection, on the telemetry thread.
//!
//! Every resource a peer can take has a limit that is set here by name: connections, time until the
//! handshake, streams, resets, headers.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};
use tower_service::Service;

use super::bind::Bound;
use super::handshake::{HandshakeFlag, Handshaking};
use super::meter::{Meter, Metered};
use super::open_fds::Listed;
use super::server::ServeLimits;
use super::service::TelemetryService;
use super::unix_stream::QuietUnixStream;
use crate::deadline::LONGEST;

/// Most bytes that HTTP/2 buffers for one stream; what a cut stream loses is bounded by it.
const SEND_BUFFER_BYTES: usize = 128 * 1024;
/// Flow-control window for one stream of controls.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// Flow-control window for all streams of a connection.
const CONNECTION_WINDOW_BYTES: u32 = 256 * 1024;
/// First pause after a failed accept, as when there is no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
/// Longest such pause.
const MAX_ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// Time for last reports and trailers once the deadline has passed.
const GOODBYE: Duration = Duration::from_millis(200);

/// A listener on the runtime.
enum Listener {
    /// A unix socket, and the uid that may connect.
    Unix(UnixListener, u32),
    /// A port.
    Tcp(TcpListener),
}

/// A connection of either kind.
trait Connection: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Connection for T {}

/// A new connection and the places of its handles in the table of open sockets, which go first.
struct Accepted {
    /// Their places.
    listed: [Option<Listed>; 2],
    /// The connection.
    io: Box<dyn Connection>,
}

impl Listener {
    /// Puts it into the table of open sockets.
    fn list(&self) -> Listed {
        match self {
            Self::Unix(listener, _) => Listed::new(listener),
            Self::Tcp(listener) => Listed::new(listener),
        }
    }

    /// The next connection; `None` if its peer may not connect.
    async fn accept(&self) -> io::Result<Option<Accepted>> {
        match self {
            Self::Unix(listener, uid) => {
                let (stream, _) = listener.accept().await?;
                // A peer that is gone already has no credentials either.
                let Ok(peer) = stream.peer_cred() else {
                    return Ok(None);
                };
                if peer.uid() != *uid {
                    tracing::warn!(
                        peer = peer.uid(),
                        "a process of another user was turned away"
                    );
                    return Ok(None);
                }
                let stream = QuietUnixStream::new(stream)?;
                Ok(Some(Accepted {
                    listed: [
                        Some(Listed::new(&stream)),
                        stream.second_handle().map(Listed::new),
                    ],
                    io: Box::new(stream),
                }))
            }
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // Events must not wait for an acknowledgement of those before them.
                stream.set_nodelay(true)?;
                Ok(Some(Accepted {
                    listed: [Some(Listed::new(&stream)), None],
                    io: Box::new(stream),
                }))
            }
        }
    }
}

/// Accepts until told to stop, then lets open streams end in order until the deadline.
pub(super) async fn serve(
    bound: Bound,
    service: TelemetryService,
    limits: ServeLimits,
    mut stop: watch::Receiver<Option<Instant>>,
) -> io::Result<()> {
    let (listener, file) = match bound {
        Bound::Unix(listener, file) => {
            let listener = UnixListener::from_std(listener)?;
            (Listener::Unix(listener, limits.allowed_uid), Some(file))
        }
        Bound::Tcp(listener, _) => (Listener::Tcp(TcpListener::from_std(listener)?), None),
    };
    let listed = listener.list();
    let mut connections = JoinSet::new();
    let mut pause = ACCEPT_PAUSE;
    loop {
        let accepted = tokio::select! {
            biased;
            stopped = stop.wait_for(Option::is_some) => {
                drop(stopped);
                break;
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(Some(accepted)) if connections.len() < limits.max_connections => {
                pause = ACCEPT_PAUSE;
                connections.spawn(connection(
                    accepted,
                    service.clone(),
                    limits.clone(),
                    stop.clone(),
                ));
            }
            Ok(Some(_)) => tracing::warn!(
                limit = limits.max_connections,
                "a connection was closed at once: there are too many"
            ),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(pause).await;
                pause = (pause * 2).min(MAX_ACCEPT_PAUSE);
            }
        }
    }
    drop(listed);
    drop(listener);
    drop(file);
    let deadline = (*stop.borrow()).unwrap_or_else(Instant::now);
    end_connections(connections, &service, deadline).await;
    Ok(())
}

/// Lets streams end in order, then in haste, then not at all.
async fn end_connections(
    mut connections: JoinSet<()>,
    service: &TelemetryService,
    deadline: Instant,
) {
    service.end_streams();
    let all = async { while connections.join_next().await.is_some() {} };
    if timeout_at(deadline, all).await.is_ok() {
        return;
    }
    service.sessions().give_up_queued();
    let all = async { while connections.join_next().await.is_some() {} };
    if timeout_at(Instant::now() + GOODBYE, all).await.is_err() {
        connections.shutdown().await;
    }
}

/// Serves one connection until it ends, the handshake is late, or the server stops.
async fn connection(
    accepted: Accepted,
    service: TelemetryService,
    limits: ServeLimits,
    mut stop: watch::Receiver<Option<Instant>>,
) {
    let handshake = HandshakeFlag::default();
    let meter = Meter::default();
    let io = Handshaking::new(accepted.io, handshake.clone());
    let io = TokioIo::new(Metered::new(io, meter.clone()));
    let answer = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(meter.clone());
        call(&service, request)
    });
    let mut connection = pin!(builder(&limits).serve_connection(io, answer));
    // Declared after the connection, so dropped before it.
    let _listed = accepted.listed;
    let mut late = pin!(sleep(limits.handshake_timeout));
    let mut watch_handshake = true;
    let mut watch_stop = true;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended");
                }
                return;
            }
            () = late.as_mut(), if watch_handshake => {
                if !handshake.is_complete() {
                    tracing::debug!("a connection was closed: its handshake did not arrive");
                    return;
                }
                watch_handshake = false;
            }
            stopped = stop.wait_for(Option::is_some), if watch_stop => {
                drop(stopped);
                watch_stop = false;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// Answers one request.
fn call(
    service: &TelemetryService,
    request: hyper::Request<Incoming>,
) -> impl Future<Output = Result<http::Response<tonic::body::Body>, Infallible>> + use<> {
    service.clone().call(request)
}

/// HTTP/2 with every limit set by name.
fn builder(limits: &ServeLimits) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .adaptive_window(false)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(limits.max_streams)
        .max_pending_accept_reset_streams(limits.max_resets)
        .max_local_error_reset_streams(limits.max_resets)
        .max_header_list_size(limits.max_header_list_bytes)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .keep_alive_interval(limits.keep_alive_interval.min(LONGEST))
        .keep_alive_timeout(limits.keep_alive_timeout.min(LONGEST));
    builder
}
