//! From an endpoint to an open request: connect, check the peer, start HTTP/2, ask for the stream.
//!
//! HTTP/2 is driven directly, without a channel abstraction: the session owns its one connection,
//! and every limit is set here by name.

mod error;
mod look_up;
mod reads_on;
mod road;
mod tasks;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Version, header};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use telemetry_core::wire::{PROTOCOL_REVISION, REVISION_HEADER};
use telemetry_proto::{PING_PATH, PingRequest, STREAM_TELEMETRY_PATH};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::peer_user;

use super::backoff::Turn;
use super::control::ControlBody;
use super::kin;
use super::paced::Paced;
use super::peer::Peer;
#[cfg(feature = "tls")]
use crate::identity::WorkerTls;
use crate::listener::{Stranger, stranger_behind};
pub use error::DialError;
pub(super) use look_up::LookUp;
use reads_on::ReadsOn;
use road::{Stream, connect};
use tasks::Tasks;
use telemetry_core::{Address, Token};

/// Bytes a worker may send on the stream before we have read them.
pub const STREAM_WINDOW: u32 = 4 << 20;
/// Bytes a worker may send on the connection before we have read them.
pub const CONNECTION_WINDOW: u32 = 16 << 20;
/// Largest DATA frame we accept.
pub const MAX_FRAME: u32 = 64 << 10;
/// Largest header list we accept.
pub const MAX_HEADER_LIST: u32 = 8 << 10;
/// Local stream resets that a peer may provoke before the connection is closed.
pub const MAX_LOCAL_RESETS: usize = 64;
/// Time between two keep-alive pings while a stream is open.
pub const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// Time for the answer to a keep-alive ping.
pub const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for the connection, and again for the response headers.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Time that a stock worker has, once it answers, for the end of the stream it had before: that takes the events away
/// from whichever stream it then has.
const AFTER_PONG: Duration = Duration::from_millis(200);

/// How a peer is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manners {
    /// As one of ours: HTTP/2 pings it.
    Brisk,
    /// As one that is not known yet: it is not pinged.
    Polite,
    /// As a stock one, or one that was silent: not pinged either, and asked for a sign of life before it is asked for
    /// the stream. One that stands still then has no streams waiting for it that nobody reads any more.
    Careful,
}

/// The response to come.
pub(super) type Answer =
    Pin<Box<dyn Future<Output = hyper::Result<http::Response<Incoming>>> + Send + 'static>>;

/// A connection on which the stream was asked for; the answer may still be on its way.
#[derive(Debug)]
pub(super) struct Dialled {
    /// Takes further requests on the same connection.
    requests: SendRequest<ControlBody>,
    /// Feeds the request body.
    pub(super) controls: mpsc::Sender<Bytes>,
    /// Process id behind a unix socket.
    pub(super) peer_pid: Option<u32>,
    /// To whom the token was not shown.
    pub(super) stranger: Option<Stranger>,
    /// Ends the connection's tasks with it.
    tasks: Tasks,
}

/// By what a worker and its manager know each other.
#[derive(Debug)]
pub(super) struct Credentials {
    /// Users whose processes are accepted behind a unix socket, beside our own and root.
    pub(super) uids: Vec<u32>,
    /// What is shown at a port.
    pub(super) token: Option<Token>,
    /// Whose token that is, if it is not ours.
    pub(super) owner: Option<u32>,
    /// Whether it is shown to whoever is there.
    pub(super) insecure: bool,
    /// Finds the addresses of a name.
    pub(super) look_up: LookUp,
    /// With what TLS is spoken at a port.
    #[cfg(feature = "tls")]
    pub(super) tls: Option<WorkerTls>,
}

impl Credentials {
    /// The token, unless somebody is behind the port whom it is not for.
    async fn token_for(&self, stream: &TcpStream) -> Result<Option<Token>, Stranger> {
        if self.token.is_none() || self.insecure {
            return Ok(self.token.clone());
        }
        let (Ok(local), Ok(peer)) = (stream.local_addr(), stream.peer_addr()) else {
            // It is gone already.
            return Err(Stranger::Unseen);
        };
        let owner = self.owner;
        let asked = spawn_blocking(move || stranger_behind(local, peer, owner)).await;
        match asked {
            Ok(None) => Ok(self.token.clone()),
            Ok(Some(stranger)) => Err(stranger),
            // The runtime is gone.
            Err(_) => Err(Stranger::Unseen),
        }
    }
}

/// Connects and asks for the stream. `opening` is in the request body from the start. The turn is taken
/// unless a local socket is missing or refuses. `started`: the process that was started as the worker,
/// beside whose family nobody is taken for it.
pub(super) async fn dial(
    endpoint: &Address,
    credentials: &Credentials,
    started: Option<u32>,
    opening: Bytes,
    manners: Manners,
    turn: Turn<'_>,
) -> Result<(Dialled, Answer), DialError> {
    let connecting = async {
        match endpoint.socket_path() {
            // A local socket answers or refuses at once.
            Some(_) => match connect(endpoint, credentials).await {
                Err(error) if error.is_nobody() => Err(error),
                connected => {
                    turn.taken();
                    connected
                }
            },
            None => {
                turn.taken();
                connect(endpoint, credentials).await
            }
        }
    };
    let connected = timeout(HANDSHAKE_TIMEOUT, connecting).await;
    let stream = connected.map_err(|_| DialError::ConnectTimeout {
        endpoint: endpoint.clone(),
    })??;
    let other = || Peer::Endpoint(endpoint.clone());
    match stream {
        Stream::Tcp(stream) => {
            let asked = timeout(HANDSHAKE_TIMEOUT, credentials.token_for(&stream)).await;
            let token = asked.unwrap_or(Err(Stranger::Unseen));
            let shown = token.as_ref().ok().and_then(Option::as_ref);
            let mut opened = open(&other(), stream, None, opening, manners, shown).await?;
            opened.0.stranger = token.err();
            Ok(opened)
        }
        #[cfg(feature = "tls")]
        Stream::Tls(stream) => {
            // It has shown by its certificate who it is.
            let token = credentials.token.as_ref();
            open(&other(), stream, None, opening, manners, token).await
        }
        #[cfg(feature = "simulation")]
        Stream::Simulated(stream, pid) => open(&other(), stream, pid, opening, manners, None).await,
        Stream::Unix(stream) => {
            let failed = |error| DialError::Connect {
                endpoint: endpoint.clone(),
                error,
            };
            let behind = stream.peer_cred().map_err(failed)?;
            let found = behind.uid();
            if peer_user::check(Ok(found), &credentials.uids).is_err() {
                let peer = Peer::Endpoint(endpoint.clone());
                return Err(DialError::ForeignPeer { peer, found });
            }
            let pid = behind.pid().and_then(|pid| u32::try_from(pid).ok());
            if let (Some(found), Some(started)) = (pid, started)
                && !kin::may_be(found, started).await
            {
                return Err(DialError::Impostor {
                    endpoint: endpoint.clone(),
                    found,
                    started,
                });
            }
            open(&other(), stream, pid, opening, manners, None).await
        }
    }
}

/// Starts HTTP/2 on a connection, whoever opened it, and asks for the stream.
pub(super) async fn open(
    peer: &Peer,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer_pid: Option<u32>,
    opening: Bytes,
    manners: Manners,
    token: Option<&Token>,
) -> Result<(Dialled, Answer), DialError> {
    let tasks = Tasks::default();
    let keep_alive = (manners == Manners::Brisk).then_some(KEEP_ALIVE_INTERVAL);
    let (requests, connection) = Builder::new(tasks.executor())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_FRAME)
        .max_header_list_size(MAX_HEADER_LIST)
        .max_local_error_reset_streams(MAX_LOCAL_RESETS)
        .keep_alive_interval(keep_alive)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .handshake(TokioIo::new(Paced::new(ReadsOn::new(stream))))
        .await
        .map_err(|error| DialError::Http2 {
            peer: peer.clone(),
            error: error.into(),
        })?;
    tasks.executor().execute(async move {
        // Whatever ends the connection also ends the stream on it, where it is reported.
        let _ = connection.await;
    });
    let (controls, body) = ControlBody::channel();
    let mut dialled = Dialled {
        requests,
        controls,
        peer_pid,
        stranger: None,
        tasks,
    };
    if manners == Manners::Careful {
        dialled.await_pong(peer).await?;
    }
    // The channel is empty and its receiver alive: there is room.
    let _ = dialled.controls.try_send(opening);
    let mut request = request(STREAM_TELEMETRY_PATH, body);
    if let Some(token) = token {
        show(token, request.headers_mut());
    }
    let answer = dialled.requests.send_request(request);
    Ok((dialled, Box::pin(answer)))
}

impl Dialled {
    /// Waits until the peer answers a call, and a moment longer.
    async fn await_pong(&self, peer: &Peer) -> Result<(), DialError> {
        match timeout(HANDSHAKE_TIMEOUT, self.ping()).await {
            Ok(Ok(_any_answer)) => {
                tokio::time::sleep(AFTER_PONG).await;
                Ok(())
            }
            Ok(Err(error)) => Err(DialError::Http2 {
                peer: peer.clone(),
                error: error.into(),
            }),
            Err(_late) => {
                // Before the next one is opened, and without a goodbye that nobody reads.
                self.tasks.end();
                Err(DialError::NoPong { peer: peer.clone() })
            }
        }
    }

    /// Ends the request: a worker that knows the word for it sends what is under way, a last report
    /// and trailers, and no event after that. No control can be sent any more.
    pub(super) fn say_goodbye(&mut self) {
        // Of a channel whose other end is gone.
        self.controls = mpsc::channel(1).0;
    }

    /// Asks the worker for a sign of life on the same connection. Any response headers are one, even
    /// those of a worker that does not know the call.
    pub(super) fn ping(&self) -> Answer {
        let body = ControlBody::once(&PingRequest {
            message: "telemetry".into(),
        });
        let mut requests = self.requests.clone();
        Box::pin(requests.send_request(request(PING_PATH, body)))
    }
}

/// Shows the token of a worker, as the metadata of a call.
fn show(token: &Token, headers: &mut http::HeaderMap) {
    // All of a token is visible ASCII, which a header can carry.
    if let Ok(mut value) = HeaderValue::try_from(format!("Bearer {}", token.reveal())) {
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
    }
}

fn request(path: &'static str, body: ControlBody) -> Request<ControlBody> {
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(http::uri::Scheme::HTTP);
    uri.authority = Some(http::uri::Authority::from_static("localhost"));
    uri.path_and_query = Some(http::uri::PathAndQuery::from_static(path));
    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    *request.version_mut() = Version::HTTP_2;
    // All three parts are there and valid, as a test shows.
    *request.uri_mut() = http::Uri::from_parts(uri).unwrap_or_default();
    let headers = request.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    let agent = concat!("telemetry-server/", env!("CARGO_PKG_VERSION"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
    headers.insert(
        header::HeaderName::from_static(REVISION_HEADER),
        HeaderValue::from(PROTOCOL_REVISION),
    );
    request
}

#[cfg(test)]
mod tests;
