//! HTTP for scrapers and operators: `/metrics`, `/healthz` and a read-only `/api`.
//!
//! Binding, accepting and the list of paths; what a path answers is in the files below, who may ask
//! in `guard`. Nothing here changes anything in the manager.

mod api;
mod guard;
mod metrics;
mod reserve;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, Uri};
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use crate::dispatch::Dispatcher;
use crate::export::prometheus::PrometheusExporter;

pub use api::{ApiResource, ApiSource, MAX_TAPS, TAP_QUEUE};

use guard::Guard;
use reserve::Reserve;

/// Most connections at once; further ones wait to be accepted.
pub const MAX_HTTP_CONNECTIONS: usize = 128;

/// How long a connection may take to send a request's head.
pub const HTTP_HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Largest request head, in bytes.
pub const MAX_HTTP_HEAD_BYTES: usize = 16 * 1_024;

/// How long to wait after the system refused a connection, as it does when descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The paths, for whoever asks for one that is not there.
const PATHS: &str = "/metrics, /healthz, /api/workers, /api/pools, /api/handlers, /api/quarantine, /api/tap?match=GLOB";

/// Who may reach the server.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct HttpConfig {
    /// Names and addresses, without ports, that a `Host` header may give besides loopback ones.
    pub allowed_hosts: Vec<String>,
    /// Whether the server may listen on an address that other machines reach. There is no
    /// encryption and no login: only behind something that has them.
    pub allow_remote: bool,
}

/// What the server shows.
#[derive(Clone)]
pub struct HttpState {
    dispatcher: Dispatcher,
    prometheus: PrometheusExporter,
    source: Arc<dyn ApiSource>,
    /// One bit for each live viewer.
    taps: Arc<AtomicU32>,
    /// Turns for rendering a scrape.
    rendering: Arc<Semaphore>,
}

impl HttpState {
    /// `dispatcher` gives the handlers and the live view, `prometheus` the metrics, `source` the
    /// rest; `()` is a source that knows nobody.
    #[must_use]
    pub fn new(
        dispatcher: Dispatcher,
        prometheus: PrometheusExporter,
        source: impl ApiSource + 'static,
    ) -> Self {
        Self {
            dispatcher,
            prometheus,
            source: Arc::new(source),
            taps: Arc::default(),
            rendering: Arc::new(Semaphore::new(metrics::MAX_RENDERING)),
        }
    }
}

impl fmt::Debug for HttpState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpState")
            .field("dispatcher", &self.dispatcher)
            .field("prometheus", &self.prometheus)
            .finish_non_exhaustive()
    }
}

/// Why the server does not listen.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HttpError {
    /// Other machines would reach the address, and that was not asked for.
    #[error(
        "HTTP at {address} would be open to other machines without encryption or login; use a \
         loopback address such as 127.0.0.1:{}, or set `allow_remote` behind a proxy that has both",
        address.port()
    )]
    NotLoopback {
        /// The address.
        address: SocketAddr,
    },
    /// Somebody else listens there.
    #[error(
        "HTTP at {address}: the address is in use; stop who listens there, or choose another port \
         (0 takes any free one)"
    )]
    InUse {
        /// The address.
        address: SocketAddr,
    },
    /// The system refused for another reason.
    #[error("HTTP at {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// A server that listens. Dropping it stops it.
#[derive(Debug)]
pub struct HttpServer {
    address: SocketAddr,
    /// Told to stop by being dropped or set.
    stop: watch::Sender<bool>,
    /// Accepts connections; ends when all are closed.
    accepting: Option<JoinHandle<()>>,
    /// What live views are attached to.
    dispatcher: Dispatcher,
}

impl HttpServer {
    /// Listens on `address` (port 0 takes any free one) and serves from tasks of the present tokio
    /// runtime, for loopback callers only.
    ///
    /// # Errors
    ///
    /// [`HttpError`]; nothing listens then.
    pub async fn bind(address: SocketAddr, state: HttpState) -> Result<Self, HttpError> {
        Self::bind_with(address, state, HttpConfig::default()).await
    }

    /// As [`bind`](Self::bind), for the callers that `config` allows.
    ///
    /// # Errors
    ///
    /// [`HttpError`]; nothing listens then.
    pub async fn bind_with(
        address: SocketAddr,
        state: HttpState,
        config: HttpConfig,
    ) -> Result<Self, HttpError> {
        if !address.ip().is_loopback() && !config.allow_remote {
            return Err(HttpError::NotLoopback { address });
        }
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => HttpError::InUse { address },
            _ => HttpError::Bind { address, source },
        };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        // Who was given the address may use it; the unspecified one is no name of anybody.
        let own = (!address.ip().is_unspecified()).then(|| address.ip().to_string());
        let guard = Guard::new(config.allowed_hosts.into_iter().chain(own));
        let (stop, stopped) = watch::channel(false);
        let dispatcher = state.dispatcher.clone();
        // Now, while there are descriptors.
        let reserve = Reserve::new();
        let accepting = tokio::spawn(accept(listener, reserve, router(state, guard), stopped));
        Ok(Self {
            address,
            stop,
            accepting: Some(accepting),
            dispatcher,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Stops listening, lets requests in progress finish, and cuts off what lasts longer than
    /// `timeout`. Live views get what they have not read yet and end.
    pub async fn shutdown(mut self, timeout: Duration) {
        self.stop.send_replace(true);
        api::end_taps(&self.dispatcher);
        if let Some(mut accepting) = self.accepting.take()
            && tokio::time::timeout(timeout, &mut accepting).await.is_err()
        {
            // Its connections live in a set of its own and go with it.
            accepting.abort();
        }
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        if let Some(accepting) = &self.accepting {
            accepting.abort();
        }
    }
}

/// The guard stands before the router: what it refuses never gets to a path.
fn router(state: HttpState, guard: Guard) -> Router {
    let paths = Router::new()
        .route("/metrics", get(metrics::metrics))
        .route("/healthz", get(async || "ok\n"))
        .route("/api/workers", get(api::workers))
        .route("/api/pools", get(api::pools))
        .route("/api/handlers", get(api::handlers))
        .route("/api/quarantine", get(api::quarantine))
        .route("/api/tap", get(api::tap))
        .fallback(async |uri: Uri| {
            let what = format!("{} is not here; there are {PATHS}", uri.path());
            api::problem(StatusCode::NOT_FOUND, &what)
        })
        .with_state(state);
    Router::new()
        .fallback_service(paths)
        .layer(from_fn_with_state(guard, guard::stand))
}

/// Accepts until told to stop, then waits for the connections. Aborting it aborts them.
async fn accept(
    listener: TcpListener,
    mut reserve: Reserve,
    router: Router,
    mut stopped: watch::Receiver<bool>,
) {
    let room = Arc::new(Semaphore::new(MAX_HTTP_CONNECTIONS));
    let mut made_room = false;
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let next = async {
            let place = Arc::clone(&room).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            biased;
            () = stop(&mut stopped) => break,
            next = next => next,
            // Reaps those that have ended, and takes their descriptors before others do.
            Some(_) = connections.join_next(), if !connections.is_empty() => {
                reserve.fill();
                continue;
            }
            // The system misses a descriptor before it looks whether anybody is there to accept.
            () = std::future::ready(()), if made_room => {
                made_room = false;
                reserve.fill();
                continue;
            }
        };
        made_room = false;
        match accepted {
            Ok((stream, _)) => {
                let serving = serve(stream, router.clone(), stopped.clone());
                connections.spawn(async move {
                    serving.await;
                    drop(place);
                });
            }
            Err(error) if reserve.makes_room(&error) => made_room = true,
            Err(error) => {
                tracing::warn!(%error, "no HTTP connection could be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                reserve.fill();
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Returns once the server is told to stop, or is gone.
async fn stop(stopped: &mut watch::Receiver<bool>) {
    // An error is a server that is gone.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// Serves one connection until it ends or the server stops.
async fn serve(stream: TcpStream, router: Router, mut stopped: watch::Receiver<bool>) {
    let service = TowerToHyperService::new(router);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HTTP_HEAD_TIMEOUT)
        .max_buf_size(MAX_HTTP_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = stop(&mut stopped) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an HTTP connection ended early");
    }
}

#[cfg(test)]
mod tests;
