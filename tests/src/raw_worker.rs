//! A worker that sends whatever bytes a test wants, down to broken frames and missing headers.
//!
//! It speaks HTTP/2 through hyper and gRPC by hand, so that nothing keeps a test from being wrong on
//! the wire. Cutting a connection after so many bytes is the [`Proxy`](crate::Proxy)'s work.

use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use telemetry_core::wire::{FrameSplitter, frame_header};
use telemetry_proto::{PING_PATH, TelemetryControl, TelemetryEvent, WorkerHello, WorkerReport};
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::patience::{eventually, within};

/// Largest control that is read.
const MAX_CONTROL_BYTES: usize = 1 << 20;

/// A listening raw worker. Dropping it stops listening.
#[derive(Debug)]
pub struct RawWorker {
    path: PathBuf,
    streams: tokio::sync::Mutex<mpsc::UnboundedReceiver<RawStream>>,
    withhold: Arc<AtomicBool>,
    pings: Arc<Pings>,
    accepting: AbortHandle,
}

/// One stream that a manager opened. Dropping it resets it.
#[derive(Debug)]
pub struct RawStream {
    frames: mpsc::UnboundedSender<Piece>,
    controls: Arc<Mutex<Vec<TelemetryControl>>>,
}

/// Calls for a sign of life.
#[derive(Debug, Default)]
struct Pings {
    asked: AtomicU64,
    withhold: AtomicBool,
}

/// What the body is made of.
#[derive(Debug)]
enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
    /// An end without trailers.
    Nothing,
}

impl RawWorker {
    /// Listens on a socket in `dir`. Must be called within a runtime.
    ///
    /// # Panics
    ///
    /// When the socket cannot be bound.
    #[must_use]
    pub fn start(dir: &Path) -> Self {
        let path = dir.join("raw.sock");
        let listener = UnixListener::bind(&path).expect("a free socket path");
        let (opened, streams) = mpsc::unbounded_channel();
        let withhold = Arc::new(AtomicBool::new(false));
        let pings = Arc::default();
        let service = accept(listener, opened, Arc::clone(&withhold), Arc::clone(&pings));
        let accepting = tokio::spawn(service);
        let streams = tokio::sync::Mutex::new(streams);
        Self {
            path,
            streams,
            withhold,
            pings,
            accepting: accepting.abort_handle(),
        }
    }

    /// Where to dial: `unix:/path`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("unix:{}", self.path.display())
    }

    /// From now on, whether response headers are kept back, those of calls for a sign of life too.
    pub fn withhold_headers(&self, withhold: bool) {
        self.withhold.store(withhold, Ordering::SeqCst);
    }

    /// From now on, whether calls for a sign of life are not answered.
    pub fn withhold_pongs(&self, withhold: bool) {
        self.pings.withhold.store(withhold, Ordering::SeqCst);
    }

    /// Calls for a sign of life so far.
    #[must_use]
    pub fn pings(&self) -> u64 {
        self.pings.asked.load(Ordering::SeqCst)
    }

    /// The next stream, if one was opened already.
    #[must_use]
    pub fn opened(&self) -> Option<RawStream> {
        self.streams.try_lock().ok()?.try_recv().ok()
    }

    /// The next stream that a manager opens.
    ///
    /// # Panics
    ///
    /// When none comes.
    pub async fn stream(&self) -> RawStream {
        let mut streams = self.streams.lock().await;
        within("a stream to a raw worker", streams.recv())
            .await
            .expect("it is listening")
    }
}

impl Drop for RawWorker {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl RawStream {
    /// Sends bytes as they are, in one DATA frame where they fit.
    pub fn raw(&self, bytes: impl Into<Bytes>) {
        // The manager may be gone already, which is its right.
        let _gone = self.frames.send(Piece::Data(bytes.into()));
    }

    /// Sends bytes as one well-framed message, whatever they are.
    pub fn message(&self, bytes: &[u8]) {
        self.raw([&frame_header(bytes.len()), bytes].concat());
    }

    /// Sends an event of this name with one measurement.
    pub fn event(&self, name: &str, sequence: u64) {
        self.message(&event(name, sequence).encode_to_vec());
    }

    /// Says that it is no stock worker.
    pub fn hello(&self) {
        self.hello_of("raw");
    }

    /// Says that it is this incarnation of no stock worker.
    pub fn hello_of(&self, incarnation: &str) {
        let hello = WorkerHello {
            protocol_revision: 1,
            incarnation_id: incarnation.to_owned(),
            ..WorkerHello::default()
        };
        let hello = TelemetryEvent {
            hello: Some(hello),
            ..TelemetryEvent::default()
        };
        self.message(&hello.encode_to_vec());
    }

    /// Reports that it emitted and sent so many events, and nothing else.
    pub fn report(&self, sent: u64) {
        let report = WorkerReport {
            emitted: sent,
            accepted: sent,
            sent,
            settled: true,
            ..WorkerReport::default()
        };
        let report = TelemetryEvent {
            report: Some(report),
            ..TelemetryEvent::default()
        };
        self.message(&report.encode_to_vec());
    }

    /// Ends the stream with trailers of this status.
    ///
    /// # Panics
    ///
    /// When the status is no number.
    pub fn end(&self, status: u32) {
        let mut trailers = HeaderMap::new();
        let status = HeaderValue::from_str(&status.to_string()).expect("a number");
        trailers.insert("grpc-status", status);
        let _gone = self.frames.send(Piece::Trailers(trailers));
    }

    /// Ends the stream without trailers.
    pub fn end_without_trailers(&self) {
        let _gone = self.frames.send(Piece::Nothing);
    }

    /// Waits until the manager let go of this stream.
    pub async fn abandoned(&self) {
        within("the manager to let go of a stream", self.frames.closed()).await;
    }

    /// The controls of this stream once there are `count`, oldest first.
    pub async fn controls(&self, count: usize) -> Vec<TelemetryControl> {
        let enough = || {
            let controls = self.controls.lock().unwrap_or_else(PoisonError::into_inner);
            (controls.len() >= count).then(|| controls.clone())
        };
        eventually(&format!("{count} controls"), enough).await
    }
}

/// An event with a sequence (0 = none) and one measurement.
#[must_use]
pub fn event(name: &str, sequence: u64) -> TelemetryEvent {
    use telemetry_proto::{TelemetryValue, telemetry_value::Value};
    TelemetryEvent {
        event_parts: name.split('.').map(str::to_owned).collect(),
        measurements: [(
            "count".to_owned(),
            TelemetryValue {
                value: Some(Value::IntValue(1)),
            },
        )]
        .into(),
        timestamp_ns: 1_700_000_000_000_000_000,
        sequence,
        ..TelemetryEvent::default()
    }
}

async fn accept(
    listener: UnixListener,
    opened: mpsc::UnboundedSender<RawStream>,
    withhold: Arc<AtomicBool>,
    pings: Arc<Pings>,
) {
    while let Ok((connection, _)) = listener.accept().await {
        let opened = opened.clone();
        let withhold = Arc::clone(&withhold);
        let pings = Arc::clone(&pings);
        let service = service_fn(move |request: Request<Incoming>| {
            let opened = opened.clone();
            let withhold = withhold.load(Ordering::SeqCst);
            let pings = Arc::clone(&pings);
            async move {
                Ok::<_, Infallible>(match request.uri().path() {
                    PING_PATH => pong(&pings, withhold).await,
                    _ => respond(request, &opened, withhold).await,
                })
            }
        });
        tokio::spawn(
            hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(connection), service),
        );
    }
}

async fn respond(
    request: Request<Incoming>,
    opened: &mpsc::UnboundedSender<RawStream>,
    withhold: bool,
) -> Response<Pieces> {
    let (frames, pieces) = mpsc::unbounded_channel();
    let controls = Arc::default();
    tokio::spawn(read_controls(request.into_body(), Arc::clone(&controls)));
    // Fails when the test has seen enough.
    let _over = opened.send(RawStream { frames, controls });
    if withhold {
        std::future::pending::<()>().await;
    }
    let mut response = Response::new(Pieces(pieces));
    let grpc = HeaderValue::from_static("application/grpc");
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, grpc);
    response
}

/// A sign of life: an answer without a message.
async fn pong(pings: &Pings, withhold: bool) -> Response<Pieces> {
    pings.asked.fetch_add(1, Ordering::SeqCst);
    if withhold || pings.withhold.load(Ordering::SeqCst) {
        std::future::pending::<()>().await;
    }
    let (frames, pieces) = mpsc::unbounded_channel();
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    // Its other end is in the answer.
    let _there = frames.send(Piece::Trailers(trailers));
    let mut response = Response::new(Pieces(pieces));
    let grpc = HeaderValue::from_static("application/grpc");
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, grpc);
    response
}

async fn read_controls(mut body: Incoming, controls: Arc<Mutex<Vec<TelemetryControl>>>) {
    let mut splitter = FrameSplitter::new(MAX_CONTROL_BYTES);
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(data) = frame.into_data() else {
            continue;
        };
        let whole = splitter.feed(&data, |message| {
            if let Ok(control) = TelemetryControl::decode(message) {
                controls
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(control);
            }
        });
        if whole.is_err() {
            return;
        }
    }
}

/// The response body. Its end without trailers or an order to end is a reset.
#[derive(Debug)]
struct Pieces(mpsc::UnboundedReceiver<Piece>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.0.poll_recv(cx).map(|piece| match piece {
            Some(Piece::Data(data)) => Some(Ok(Frame::data(data))),
            Some(Piece::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
            Some(Piece::Nothing) => None,
            None => Some(Err(io::Error::other("the test dropped the stream"))),
        })
    }
}
