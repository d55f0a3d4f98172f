//! From an endpoint to an open request: connect, check the peer, start HTTP/2, ask for the stream.
//!
//! HTTP/2 is driven directly, without a channel abstraction: the session owns its one connection,
//! and every limit is set here by name.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Version, header};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use telemetry_core::wire::{PROTOCOL_REVISION, REVISION_HEADER};
use telemetry_proto::{PING_PATH, PingRequest, STREAM_TELEMETRY_PATH};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::backoff::Turn;
use super::control::ControlBody;
use super::kin;
use super::peer::Peer;
use super::response::chain;
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
/// Time that a connection no longer needed gets to say goodbye.
const GOODBYE: Duration = Duration::from_millis(250);

/// Why a worker could not be reached or its stream not be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DialError {
    /// There is no socket file; the worker is not up yet, or gone.
    #[error("there is no socket at {}", path.display())]
    NoSocket {
        /// Where it should be.
        path: PathBuf,
    },
    /// There is no socket file any more, of a worker whose process lives as far as is known.
    #[error(
        "there is no socket at {} any more, although process {process} lives: somebody removed it; \
         the worker can be reached again after its restart",
        path.display()
    )]
    SocketTaken {
        /// Where it was.
        path: PathBuf,
        /// The process that made it.
        process: u32,
    },
    /// The process behind the socket is not the worker that was started, nor of its family.
    #[error(
        "the socket at {endpoint} is not the one that the worker made: process {found} is behind it, \
         which process {started} did not start"
    )]
    Impostor {
        /// What was dialled.
        endpoint: Address,
        /// The process behind it.
        found: u32,
        /// The process that was started as the worker.
        started: u32,
    },
    /// The connection was refused or failed.
    #[error("connecting to {endpoint}: {error}")]
    Connect {
        /// What was dialled.
        endpoint: Address,
        /// What the system said.
        error: io::Error,
    },
    /// Nobody accepted the connection in time.
    #[error("connecting to {endpoint} took longer than {HANDSHAKE_TIMEOUT:?}")]
    ConnectTimeout {
        /// What was dialled.
        endpoint: Address,
    },
    /// The process behind the socket runs as a user that is not accepted.
    #[error("the process behind {peer} runs as user {found}, who is not accepted")]
    ForeignPeer {
        /// The other end.
        peer: Peer,
        /// The user id behind it.
        found: u32,
    },
    /// HTTP/2 could not be started, or the peer ended it before it answered.
    #[error("HTTP/2 with {peer}: {}", chain(&**error))]
    Http2 {
        /// The other end.
        peer: Peer,
        /// What went wrong.
        error: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The peer did not answer the request for the stream.
    #[error("no response headers from {peer} within {HANDSHAKE_TIMEOUT:?}")]
    NoHeaders {
        /// The other end.
        peer: Peer,
    },
    /// The peer answered, but not with a stream.
    #[error("{peer} refused the stream: {reason}")]
    Refused {
        /// The other end.
        peer: Peer,
        /// Status and message, escaped.
        reason: String,
    },
}

impl DialError {
    /// Whether nobody is behind a local socket: to find that out cost nothing.
    pub(super) fn is_nobody(&self) -> bool {
        match self {
            Self::NoSocket { .. } => true,
            Self::Connect { endpoint, error } => {
                endpoint.socket_path().is_some() && error.kind() == io::ErrorKind::ConnectionRefused
            }
            _ => false,
        }
    }
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
    /// Ends the connection's tasks with it.
    _tasks: Tasks,
}

/// By what a worker and its manager know each other.
#[derive(Debug)]
pub(super) struct Credentials<'a> {
    /// Users whose processes are accepted behind a unix socket, beside our own and root.
    pub(super) uids: &'a [u32],
    /// What is shown at a port, where no user is seen.
    pub(super) token: Option<Token>,
}

/// Connects and asks for the stream. `opening` is in the request body from the start. The turn is taken
/// unless a local socket is missing or refuses. `started`: the process that was started as the worker,
/// beside whose family nobody is taken for it.
pub(super) async fn dial(
    endpoint: &Address,
    credentials: &Credentials<'_>,
    started: Option<u32>,
    opening: Bytes,
    turn: Turn<'_>,
) -> Result<(Dialled, Answer), DialError> {
    let connecting = async {
        match endpoint.socket_path() {
            // A local socket answers or refuses at once.
            Some(_) => match connect(endpoint).await {
                Err(error) if error.is_nobody() => Err(error),
                connected => {
                    turn.taken();
                    connected
                }
            },
            None => {
                turn.taken();
                connect(endpoint).await
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
            let token = credentials.token.as_ref();
            open(&other(), stream, None, opening, token).await
        }
        #[cfg(feature = "simulation")]
        Stream::Simulated(stream, pid) => open(&other(), stream, pid, opening, None).await,
        Stream::Unix(stream) => {
            let failed = |error| DialError::Connect {
                endpoint: endpoint.clone(),
                error,
            };
            let behind = stream.peer_cred().map_err(failed)?;
            let own = rustix::process::geteuid().as_raw();
            let found = behind.uid();
            if found != own && found != 0 && !credentials.uids.contains(&found) {
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
            open(&other(), stream, pid, opening, None).await
        }
    }
}

enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
    #[cfg(feature = "simulation")]
    Simulated(Box<dyn crate::simulated::Io>, Option<u32>),
}

async fn connect(endpoint: &Address) -> Result<Stream, DialError> {
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
        _ => Err(io::ErrorKind::Unsupported.into()),
    };
    connected.map_err(|error| DialError::Connect {
        endpoint: endpoint.clone(),
        error,
    })
}

/// Starts HTTP/2 on a connection, whoever opened it, and asks for the stream.
pub(super) async fn open(
    peer: &Peer,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer_pid: Option<u32>,
    opening: Bytes,
    token: Option<&Token>,
) -> Result<(Dialled, Answer), DialError> {
    let tasks = Tasks::default();
    let (mut requests, connection) = Builder::new(tasks.executor())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_FRAME)
        .max_header_list_size(MAX_HEADER_LIST)
        .max_local_error_reset_streams(MAX_LOCAL_RESETS)
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .handshake(TokioIo::new(stream))
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
    // The channel is empty and its receiver alive: there is room.
    let _ = controls.try_send(opening);
    let mut request = request(STREAM_TELEMETRY_PATH, body);
    if let Some(token) = token {
        show(token, request.headers_mut());
    }
    let answer = Box::pin(requests.send_request(request));
    Ok((
        Dialled {
            requests,
            controls,
            peer_pid,
            _tasks: tasks,
        },
        answer,
    ))
}

impl Dialled {
    /// Ends the request: a worker that knows the word for it sends what is under way, a last report
    /// and trailers, and no event after that. No control can be sent any more.
    pub(super) fn say_goodbye(&mut self) {
        // Of a channel whose other end is gone.
        self.controls = mpsc::channel(1).0;
    }

    /// Asks the worker for a sign of life on the same connection. Any response headers are one, even
    /// those of a worker that does not know the call.
    pub(super) fn ping(&mut self) -> Answer {
        let body = ControlBody::once(&PingRequest {
            message: "telemetry".into(),
        });
        Box::pin(self.requests.send_request(request(PING_PATH, body)))
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

/// The tasks of one connection. Dropped, they get a moment for their goodbye and end then, whatever
/// the peer does.
#[derive(Debug, Default)]
struct Tasks {
    handles: Arc<Mutex<Vec<AbortHandle>>>,
}

/// Spawns for [`Tasks`].
#[derive(Debug, Clone)]
struct TaskExecutor {
    handles: Arc<Mutex<Vec<AbortHandle>>>,
}

impl Tasks {
    fn executor(&self) -> TaskExecutor {
        TaskExecutor {
            handles: Arc::clone(&self.handles),
        }
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        let handles = Arc::clone(&self.handles);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        runtime.spawn(async move {
            tokio::time::sleep(GOODBYE).await;
            for handle in handles
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .drain(..)
            {
                handle.abort();
            }
        });
    }
}

impl<F> Executor<F> for TaskExecutor
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        let handle = tokio::spawn(future).abort_handle();
        let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        handles.retain(|handle| !handle.is_finished());
        handles.push(handle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_name_the_method_and_no_deadline() {
        let (_, body) = ControlBody::channel();
        let request = request(STREAM_TELEMETRY_PATH, body);
        assert_eq!(
            request.uri().path(),
            "/snakepit.bridge.BridgeService/StreamTelemetry"
        );
        assert_eq!(request.headers()["te"], "trailers");
        assert!(!request.headers().contains_key("grpc-timeout"));
    }

    #[test]
    fn a_token_is_shown_as_credentials_of_the_call_and_to_nobody_else() {
        let token: Token = "0123456789abcdef".parse().expect("a token");
        let mut headers = http::HeaderMap::new();
        show(&token, &mut headers);
        assert_eq!(headers["authorization"], "Bearer 0123456789abcdef");
        assert!(!format!("{headers:?}").contains("0123456789abcdef"));
    }

    #[tokio::test]
    async fn a_missing_socket_has_an_error_of_its_own() {
        let endpoint = Address::Unix("/nonexistent/worker.sock".into());
        let limiter = crate::session::DialLimiter::new(1);
        let nobodys = Credentials {
            uids: &[],
            token: None,
        };
        let turn = limiter.turn(true).await;
        let dialled = dial(&endpoint, &nobodys, None, Bytes::new(), turn)
            .await
            .map(drop);
        assert!(
            matches!(dialled, Err(DialError::NoSocket { .. })),
            "{dialled:?}"
        );
    }
}
