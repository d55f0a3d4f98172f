//! The gRPC service: routes a request to the stream, the connection test or the sign of life.
//!
//! It is an ordinary tower service over HTTP bodies, so it runs in our own [`Server`](super::Server)
//! and in any tonic server. It touches no socket.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use prost::Message;
use telemetry_core::{Token, emit::Recorder, wire::REVISION_HEADER};
use telemetry_proto::{HEARTBEAT_PATH, PING_PATH, SERVICE_NAME, STREAM_TELEMETRY_PATH};
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tower_service::Service;

use super::body::{CHUNK, StreamBody};
use super::config::StreamConfig;
use super::control::spawn_reader;
use super::meter::{Meter, Outbox};
use super::pass::Pass;
use super::pump::Pump;
use super::seat::Seat;
use super::sessions::Sessions;
use super::unary::{alive, answered, pong};

/// The only content type that is served.
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// The future of every response.
type ResponseFuture = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// `snakepit.bridge.BridgeService` as far as telemetry goes: `StreamTelemetry`, `Ping` and
/// `Heartbeat`. Every other method is answered with UNIMPLEMENTED.
///
/// Clones are the same service: whichever of them a stream arrives at, the newest stream wins.
///
/// ```no_run
/// # use std::sync::Arc;
/// # use telemetry_client::serve::{StreamConfig, TelemetryService};
/// # use telemetry_core::{SystemClock, emit::{Recorder, RecorderConfig}};
/// let clock = Arc::new(SystemClock::new());
/// let recorder = Arc::new(Recorder::new(RecorderConfig::default(), clock)?);
/// let service = TelemetryService::new(recorder, StreamConfig::default());
/// // tonic::transport::Server::builder().add_service(service)
/// # Ok::<(), telemetry_core::wire::ControlError>(())
/// ```
#[derive(Debug, Clone)]
pub struct TelemetryService {
    /// The streams of this worker.
    sessions: Arc<Sessions>,
    /// What whoever opens a stream has to show, if anything.
    pass: Option<Arc<Pass>>,
}

impl TelemetryService {
    /// A service that sends what `recorder` records. One recorder belongs to one service.
    #[must_use]
    pub fn new(recorder: Arc<Recorder>, config: StreamConfig) -> Self {
        Self {
            sessions: Arc::new(Sessions::new(recorder, config)),
            pass: None,
        }
    }

    /// The same, but a stream is opened only by who shows this token, as the header
    /// `authorization: Bearer TOKEN`. Others are told UNAUTHENTICATED before anything is read, and change
    /// nothing. The connection test and the sign of life, which tell nothing, are answered to everybody.
    #[must_use]
    pub fn with_token(mut self, token: Token) -> Self {
        self.pass = Some(Arc::new(Pass::new(token)));
        self
    }

    /// Streams that were refused because they did not show the token.
    #[must_use]
    pub fn unauthenticated(&self) -> u64 {
        self.pass.as_ref().map_or(0, |pass| pass.refused())
    }

    /// Streams that are open now.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.sessions.open()
    }

    /// Asks open streams to end once the queue is empty: events, a last report, trailers. Streams
    /// that begin later end the same way.
    pub fn end_streams(&self) {
        self.sessions.end();
    }

    /// The streams of this worker.
    pub(super) fn sessions(&self) -> &Arc<Sessions> {
        &self.sessions
    }

    /// Opens a stream. Its response headers go out at once.
    fn open_stream<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
    {
        let (mut head, body) = request.into_parts();
        let expects_hello = head.headers.contains_key(REVISION_HEADER);
        let outbox = Outbox::new(head.extensions.remove::<Meter>());
        let session = self.sessions.begin(expects_hello);
        if let Some(seat) = head.extensions.remove::<Seat>() {
            seat.open(&session);
        }
        let reader = spawn_reader(body, Arc::clone(&self.sessions), Arc::clone(&session));
        let now = tokio::time::Instant::now().into_std();
        let pump = Pump::new(Arc::clone(&self.sessions), session, outbox, CHUNK, now);
        let mut response = Response::new(Body::new(StreamBody::new(pump, reader)));
        response.headers_mut().insert(CONTENT_TYPE, GRPC);
        response
    }

    /// Answers a call of one message each way; `make` is told the time of the answer.
    fn answer<B, Q, A>(&self, request: Request<B>, make: fn(Q, i64) -> A) -> ResponseFuture
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        Q: Message + Default + 'static,
        A: Message + 'static,
    {
        let recorder = Arc::clone(self.sessions.recorder());
        Box::pin(async move {
            let make = |question| make(question, recorder.clock().unix_nanos());
            Ok(answered(request.into_body(), make).await)
        })
    }
}

impl<B> Service<Request<B>> for TelemetryService
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> ResponseFuture {
        if let Some(refusal) = refuse(&request) {
            return Box::pin(std::future::ready(Ok(refusal)));
        }
        match request.uri().path() {
            STREAM_TELEMETRY_PATH => {
                let pass = self.pass.as_ref();
                if let Some(status) = pass.and_then(|pass| pass.refuse(request.headers())) {
                    return Box::pin(std::future::ready(Ok(status.into_http())));
                }
                let response = self.open_stream(request);
                Box::pin(std::future::ready(Ok(response)))
            }
            PING_PATH => self.answer(request, pong),
            HEARTBEAT_PATH => self.answer(request, alive),
            path => {
                let status = Status::unimplemented(format!(
                    "{path} is not served here; this worker serves telemetry only"
                ));
                Box::pin(std::future::ready(Ok(status.into_http())))
            }
        }
    }
}

impl NamedService for TelemetryService {
    const NAME: &'static str = SERVICE_NAME;
}

/// The answer to a request that is no gRPC call of the kind served here.
fn refuse<B>(request: &Request<B>) -> Option<Response<Body>> {
    let content_type = request
        .headers()
        .get(CONTENT_TYPE)
        .map_or(&b""[..], HeaderValue::as_bytes);
    if request.method() != Method::POST || !content_type.starts_with(GRPC.as_bytes()) {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return Some(response);
    }
    let encoding = request.headers().get("grpc-encoding")?;
    (encoding != "identity").then(|| {
        let mut response = Status::unimplemented(
            "compressed requests are not accepted; only grpc-encoding identity is",
        )
        .into_http();
        let accepted = HeaderValue::from_static("identity");
        response
            .headers_mut()
            .insert("grpc-accept-encoding", accepted);
        response
    })
}
