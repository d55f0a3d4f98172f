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
use telemetry_core::Address;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};
use tower_service::Service;

use super::bind::Bound;
use super::handshake::{HandshakeFlag, Handshaking};
use super::listener::Listener;
use super::meter::{Meter, Metered};
use super::poller::PollerHandle;
use super::server::ServeLimits;
use super::service::TelemetryService;
use super::stream::Stream;
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
/// Time that a program gets to open what it closed our listener for, before we open anything: the
/// numbers it is about to use shall not be ours again.
const OUT_OF_THE_WAY: Duration = Duration::from_millis(100);
/// Time for last reports and trailers once the deadline has passed.
const GOODBYE: Duration = Duration::from_millis(200);

/// Accepts until told to stop, then lets open streams end in order until the deadline.
pub(super) async fn serve(
    bound: Bound,
    poller: PollerHandle,
    service: TelemetryService,
    limits: ServeLimits,
    mut stop: watch::Receiver<Option<Instant>>,
) -> io::Result<()> {
    let address = bound.address();
    let mut listener = Listener::new(bound, &poller, limits.allowed_uid)?;
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
            Ok(Some(stream)) if connections.len() < limits.max_connections => {
                pause = ACCEPT_PAUSE;
                connections.spawn(connection(
                    stream,
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
            Err(_) if listener.is_lost() => {
                // Takes its file away, too, or the address would seem to be in use.
                drop(listener);
                let again = tokio::select! {
                    biased;
                    stopped = stop.wait_for(Option::is_some) => {
                        drop(stopped);
                        None
                    }
                    again = listen_again(&address, &poller, limits.allowed_uid) => Some(again),
                };
                let Some(again) = again else {
                    return end_connections(connections, &service, &stop).await;
                };
                listener = again;
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(pause).await;
                pause = (pause * 2).min(MAX_ACCEPT_PAUSE);
            }
        }
    }
    drop(listener);
    end_connections(connections, &service, &stop).await
}

/// Listens where it did before the program closed the listener, as soon as that can be.
async fn listen_again(address: &Address, poller: &PollerHandle, uid: u32) -> Listener {
    let mut pause = OUT_OF_THE_WAY;
    loop {
        sleep(pause).await;
        let bound = Bound::bind(address).map_err(io::Error::other);
        match bound.and_then(|bound| Listener::new(bound, poller, uid)) {
            Ok(listener) => return listener,
            Err(error) if pause == OUT_OF_THE_WAY => {
                tracing::warn!(%error, "the telemetry server cannot listen again for now");
            }
            Err(error) => tracing::debug!(%error, "the telemetry server still cannot listen"),
        }
        pause = (pause * 2).min(MAX_ACCEPT_PAUSE);
    }
}

/// Lets streams end in order, then in haste, then not at all.
async fn end_connections(
    mut connections: JoinSet<()>,
    service: &TelemetryService,
    stop: &watch::Receiver<Option<Instant>>,
) -> io::Result<()> {
    let deadline = stop.borrow().unwrap_or_else(Instant::now);
    service.end_streams();
    let all = async { while connections.join_next().await.is_some() {} };
    if timeout_at(deadline, all).await.is_ok() {
        return Ok(());
    }
    service.sessions().give_up_queued();
    let all = async { while connections.join_next().await.is_some() {} };
    if timeout_at(Instant::now() + GOODBYE, all).await.is_err() {
        connections.shutdown().await;
    }
    Ok(())
}

/// Serves one connection until it ends, the handshake is late, or the server stops.
async fn connection(
    stream: Stream,
    service: TelemetryService,
    limits: ServeLimits,
    mut stop: watch::Receiver<Option<Instant>>,
) {
    let handshake = HandshakeFlag::default();
    let meter = Meter::default();
    let io = Handshaking::new(stream, handshake.clone());
    let io = TokioIo::new(Metered::new(io, meter.clone()));
    let answer = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(meter.clone());
        call(&service, request)
    });
    let mut connection = pin!(builder(&limits).serve_connection(io, answer));
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
