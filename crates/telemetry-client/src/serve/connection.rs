//! The life of one connection on which this worker serves, whoever opened it.
//!
//! Every resource a peer can take has a limit that is set here by name: time until the handshake and the
//! first stream, streams, resets, headers; `paced` has those for frames and for who does not read.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use telemetry_proto::STREAM_TELEMETRY_PATH;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::sleep;
use tower_service::Service;

use super::authority::Frames;
use super::handshake::{Handshake, HandshakeFlag};
use super::meter::Meter;
use super::paced::Paced;
use super::seat::Seat;
use super::server::ServeLimits;
use super::service::TelemetryService;
use super::threads::{Stop, stopped};
use super::watched::Watched;
use crate::deadline::LONGEST;

/// Most bytes that HTTP/2 buffers for one stream; what a cut stream loses is bounded by it.
const SEND_BUFFER_BYTES: usize = 128 * 1024;
/// Flow-control window for one stream of controls.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// Flow-control window for all streams of a connection.
const CONNECTION_WINDOW_BYTES: u32 = 256 * 1024;

/// What a connection does when the worker stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AtStop {
    /// Takes no further stream, and ends with those that are open.
    Leave,
    /// Waits for the stream that is about to be opened, and leaves when that has ended: somebody was
    /// asked to open it.
    AwaitStream,
}

/// How a connection ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// Whether a stream was opened on it.
    pub(super) had_stream: bool,
    /// Why, unless it was closed in order.
    pub(super) error: Option<String>,
    /// Whether the peer spoke TLS, which is not spoken here.
    pub(super) began_tls: bool,
}

#[cfg(feature = "tls")]
impl Ended {
    /// Of one on which nothing was asked.
    pub(super) fn unused(error: String) -> Self {
        Self {
            had_stream: false,
            error: Some(error),
            began_tls: false,
        }
    }
}

/// Serves one connection until it ends, the handshake is late, or the worker stops and it has left.
pub(super) async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    service: TelemetryService,
    limits: ServeLimits,
    mut stop: Stop,
    at_stop: AtStop,
    seat: Seat,
) -> Ended {
    let handshake = HandshakeFlag::default();
    let meter = Meter::default();
    let stream = Paced::new(stream, limits.write_timeout);
    let io = Watched::new(stream, Handshake::new(handshake.clone()));
    let io = Watched::new(io, Frames::default());
    let io = TokioIo::new(Watched::new(io, meter.clone()));
    let opened = Arc::new(AtomicBool::new(false));
    let answer = service_fn({
        let (service, opened, seat) = (service.clone(), Arc::clone(&opened), seat.clone());
        move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(meter.clone());
            request.extensions_mut().insert(seat.clone());
            seat.count_call();
            if request.uri().path() == STREAM_TELEMETRY_PATH {
                opened.store(true, Ordering::Relaxed);
            }
            call(&service, request)
        }
    });
    let mut connection = pin!(builder(&limits).serve_connection(io, answer));
    let mut late = pin!(sleep(limits.handshake_timeout));
    let mut watch_handshake = true;
    // Who was connected to is asked for a stream in a moment, or nobody is there.
    let mut unused = pin!(sleep(limits.stream_wait.min(LONGEST)));
    let mut watch_use = at_stop == AtStop::Leave;
    let mut calls = 0;
    let mut stopping = false;
    let mut awaits_stream = false;
    let ended = |error: Option<String>| Ended {
        had_stream: opened.load(Ordering::Relaxed),
        error,
        began_tls: handshake.is_tls(),
    };
    loop {
        // A stream ends in a task of its own; its last bytes go out here.
        let next = poll_fn(|cx| {
            if let Poll::Ready(result) = connection.as_mut().poll(cx) {
                return Poll::Ready(Some(result));
            }
            let is_done = opened.load(Ordering::Relaxed) && service.streams() == 0;
            if awaits_stream && is_done {
                return Poll::Ready(None);
            }
            Poll::Pending
        });
        tokio::select! {
            next = next => match next {
                Some(Ok(())) => return ended(None),
                Some(Err(error)) => {
                    tracing::debug!(%error, "a connection ended");
                    return ended(Some(error.to_string()));
                }
                None => {
                    awaits_stream = false;
                    connection.as_mut().graceful_shutdown();
                }
            },
            () = late.as_mut(), if watch_handshake => {
                if !handshake.is_complete() {
                    tracing::debug!("a connection was closed: its handshake did not arrive");
                    return ended(Some("the peer did not begin HTTP/2 in time".to_owned()));
                }
                watch_handshake = false;
            }
            () = unused.as_mut(), if watch_use => {
                let until = seat.calls();
                if !seat.had_stream() && until == calls {
                    tracing::debug!("a connection was closed: nobody opened a stream on it");
                    return ended(Some("the peer opened no stream in time".to_owned()));
                }
                watch_use = !seat.had_stream();
                calls = until;
                unused.set(sleep(limits.stream_wait.min(LONGEST)));
            }
            _ = stopped(&mut stop), if !stopping => {
                stopping = true;
                match at_stop {
                    AtStop::Leave => connection.as_mut().graceful_shutdown(),
                    AtStop::AwaitStream => awaits_stream = true,
                }
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
