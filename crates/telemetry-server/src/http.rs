//! HTTP for scrapers and operators: `/metrics`, `/healthz` and `/api/v1`.
//!
//! A server is reached over a port, over a unix socket, or over both. Who comes over the socket is known by
//! its user and sees everything; over a port everything needs the operators' token but what is
//! [public](HttpConfig::public). With the feature `tls` a port may speak TLS.
//!
//! Binding and the list of paths; what a path answers is in the files below, who may ask
//! in `guard`. Nothing here changes anything in the manager but `policy`, the live rules.

mod access;
mod answer;
mod api;
mod arrival;
mod door;
mod guard;
mod hosts;
mod metrics;
#[cfg(all(test, feature = "openapi"))]
mod openapi;
mod patience;
mod policy;
mod query;
mod refused;
mod reserve;
mod routes;
mod tap;
#[cfg(feature = "tls")]
mod tls;
mod v1;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, Uri};
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::bound::Bound;
use crate::dispatch::Dispatcher;
use crate::export::prometheus::PrometheusExporter;

pub use crate::bound::BindError;
pub use crate::secret_file::SecretFileError;
pub use crate::token::TokenFileError;
pub use access::{HttpRoute, HttpRouteError, TokenFile};

pub use crate::api::{ApiResource, ApiSource};
pub use hosts::{HostRule, HostRuleError};
pub use patience::{HTTP_SLOWEST_RATE, HTTP_WRITE_TIMEOUT};
pub use tap::{MAX_TAPS, TAP_QUEUE};

use access::Access;
use arrival::SocketDoor;
use door::Keeper;
use guard::Guard;
use metrics::Renderings;
use refused::Refusals;
use reserve::Reserve;

/// Most connections at once over the port, and as many over the unix socket. For one more the one goes that has
/// waited longest for its client.
pub const MAX_HTTP_CONNECTIONS: usize = 128;

/// How long a connection may take to send a request's head, and how long it may be idle before.
pub const HTTP_HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Largest request head, in bytes.
pub const MAX_HTTP_HEAD_BYTES: usize = 16 * 1_024;

/// The paths, for whoever asks for one that is not there.
const PATHS: &str = "/metrics, /healthz, /api/workers, /api/pools, /api/handlers, /api/catalog, \
                     /api/quarantine, /api/discover, /api/tap?match=GLOB, /api/v1";

/// Where a server listens, and who may reach it.
///
/// Without further ado it listens nowhere, and only `/metrics` and `/healthz` are open over a port.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct HttpConfig {
    /// A port; 0 takes any free one.
    pub listen: Option<SocketAddr>,
    /// A unix socket, of mode 0600. Its directory is made 0700 when it is absent, and refused when others may
    /// write to it. Everything is served there, to our own user, root and [`accepted_uids`](Self::accepted_uids).
    pub socket: Option<PathBuf>,
    /// What a `Host` header may give besides loopback names and [`listen`](Self::listen), without ports.
    pub allowed_hosts: Vec<HostRule>,
    /// Whether the server may listen without TLS on an address that other machines reach: only behind something
    /// that encrypts. With `tls` this is not needed.
    pub allow_remote: bool,
    /// TLS of [`listen`](Self::listen); absent: plain HTTP. It needs `cert` and `key`; with `client_ca` a client
    /// needs a certificate as well, beside the token. The unix socket stays plain.
    #[cfg(feature = "tls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
    pub tls: Option<telemetry_tls::TlsConfig>,
    /// What needs no token over a port: `/metrics` and `/healthz` unless it says otherwise.
    pub public: Vec<HttpRoute>,
    /// The operators' token, which opens everything else over a port. Without one that is refused there.
    pub token: Option<TokenFile>,
    /// Users whose processes may use the unix socket, besides our own and root.
    pub accepted_uids: Vec<u32>,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: None,
            socket: None,
            allowed_hosts: Vec::new(),
            allow_remote: false,
            #[cfg(feature = "tls")]
            tls: None,
            public: vec![HttpRoute::Metrics, HttpRoute::Healthz],
            token: None,
            accepted_uids: Vec::new(),
        }
    }
}

/// What the server shows.
#[derive(Clone)]
pub struct HttpState {
    dispatcher: Dispatcher,
    prometheus: PrometheusExporter,
    source: Arc<dyn ApiSource>,
    /// One bit for each live viewer.
    taps: Arc<AtomicU32>,
    /// What scrapes get.
    renderings: Renderings,
    /// How the policy was changed.
    changes: policy::Changes,
    /// Who was not served.
    refusals: Refusals,
}

impl HttpState {
    /// `dispatcher` gives the handlers and the live view, `prometheus` the metrics, `source` the
    /// rest; `()` is a source that knows nobody. The metrics get `telemetry_http_refused_total`.
    #[must_use]
    pub fn new(
        dispatcher: Dispatcher,
        prometheus: PrometheusExporter,
        source: impl ApiSource + 'static,
    ) -> Self {
        let refusals = Refusals::default();
        prometheus.add_source(refusals.clone());
        let renderings = Renderings::of(prometheus.clone());
        Self {
            dispatcher,
            prometheus,
            source: Arc::new(source),
            taps: Arc::default(),
            changes: policy::Changes::default(),
            renderings,
            refusals,
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
        "HTTP at {address} would be open to other machines without encryption; use a \
         loopback address such as 127.0.0.1:{}, encrypt it with [http.tls], or set `allow_remote` behind a \
         proxy that does",
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
    /// There is no unix socket.
    #[error("HTTP: {0}")]
    Socket(#[from] BindError),
    /// There is no token.
    #[error("HTTP: {0}")]
    Token(#[from] TokenFileError),
    /// There can be no TLS.
    #[cfg(feature = "tls")]
    #[error("HTTP: {0}")]
    Tls(#[from] telemetry_tls::TlsError),
    /// Others may read the key of the certificate, or write to it.
    #[cfg(feature = "tls")]
    #[error("HTTP: the key {0}")]
    Key(#[from] SecretFileError),
    /// There is nowhere to listen.
    #[error("HTTP has neither a port nor a unix socket to listen at; give it one of them")]
    Nowhere,
}

/// A server that listens. Dropping it stops it.
#[derive(Debug)]
pub struct HttpServer {
    address: Option<SocketAddr>,
    /// Whether TLS is spoken there.
    is_encrypted: bool,
    socket: Option<PathBuf>,
    /// Told to stop by being dropped or set.
    stop: watch::Sender<bool>,
    /// Those that accept connections; each ends when all of its own are closed.
    doors: JoinSet<()>,
    /// What live views are attached to.
    dispatcher: Dispatcher,
}

impl HttpServer {
    /// Listens on `address` (port 0 takes any free one) and serves from tasks of the present tokio
    /// runtime, for loopback callers only and only what is public.
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
        mut config: HttpConfig,
    ) -> Result<Self, HttpError> {
        config.listen = Some(address);
        Self::start(state, config).await
    }

    /// Listens where `config` says and serves from tasks of the present tokio runtime.
    ///
    /// # Errors
    ///
    /// [`HttpError`]; nothing listens then.
    pub async fn start(state: HttpState, config: HttpConfig) -> Result<Self, HttpError> {
        if config.listen.is_none() && config.socket.is_none() {
            return Err(HttpError::Nowhere);
        }
        let access = Arc::new(Access::new(config.public, config.token.as_ref())?);
        #[cfg(feature = "tls")]
        let tls = config.tls.as_ref().map(tls::read).transpose()?;
        #[cfg(feature = "tls")]
        let is_encrypted = tls.is_some();
        #[cfg(not(feature = "tls"))]
        let is_encrypted = false;
        let listener = match config.listen {
            Some(address) => Some(listen(address, config.allow_remote || is_encrypted).await?),
            None => None,
        };
        let bound = config.socket.as_deref().map(Bound::at).transpose()?;
        let address = listener.as_ref().map(|(_, address)| *address);
        let socket = bound.as_ref().map(|bound| bound.path().to_owned());
        // Who was given the address may use it; the unspecified one is no name of anybody.
        let own = address.filter(|it| !it.ip().is_unspecified());
        let own = own.map(|own| HostRule::from(own.ip()));
        let hosts = config.allowed_hosts.into_iter().chain(own).collect();
        let guard = Guard::new(hosts, Arc::clone(&access), state.refusals.clone());
        let (stop, stopped) = watch::channel(false);
        let dispatcher = state.dispatcher.clone();
        let refusals = state.refusals.clone();
        let router = router(state, guard);
        let keeper = || Keeper {
            router: router.clone(),
            refusals: refusals.clone(),
            // Now, while there are descriptors.
            reserve: Reserve::new(),
            stopped: stopped.clone(),
        };
        let mut doors = JoinSet::new();
        if let Some((listener, _)) = listener {
            #[cfg(feature = "tls")]
            match tls {
                Some(tls) => {
                    let door = tls::TlsDoor::new(listener, tls, refusals.clone());
                    doors.spawn(keeper().keep(door));
                }
                None => {
                    doors.spawn(keeper().keep(listener));
                }
            }
            #[cfg(not(feature = "tls"))]
            doors.spawn(keeper().keep(listener));
        }
        if let Some(bound) = bound {
            let door = SocketDoor::new(bound, config.accepted_uids, access);
            doors.spawn(keeper().keep(door));
        }
        Ok(Self {
            address,
            is_encrypted,
            socket,
            stop,
            doors,
            dispatcher,
        })
    }

    /// The address that it listens at, if it listens at one.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Whether TLS is spoken at [`local_addr`](Self::local_addr).
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.is_encrypted && self.address.is_some()
    }

    /// The unix socket that it listens at, if it has one; absolute.
    #[must_use]
    pub fn socket(&self) -> Option<&Path> {
        self.socket.as_deref()
    }

    /// Stops listening, lets requests in progress finish, and cuts off what lasts longer than
    /// `timeout`. Live views get what they have not read yet and end.
    pub async fn shutdown(mut self, timeout: Duration) {
        self.stop.send_replace(true);
        tap::end_taps(&self.dispatcher);
        let ended = async { while self.doors.join_next().await.is_some() {} };
        if tokio::time::timeout(timeout, ended).await.is_err() {
            // Their connections live in sets of their own and go with them.
            self.doors.shutdown().await;
        }
    }
}

/// Listens at a port, and says which it is.
async fn listen(
    address: SocketAddr,
    may_be_open: bool,
) -> Result<(TcpListener, SocketAddr), HttpError> {
    if !address.ip().is_loopback() && !may_be_open {
        return Err(HttpError::NotLoopback { address });
    }
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => HttpError::InUse { address },
        _ => HttpError::Bind { address, source },
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// The guard stands before the router: what it refuses never gets to a path.
fn router(state: HttpState, guard: Guard) -> Router {
    let paths = Router::new()
        .route("/metrics", get(metrics::metrics))
        .route("/healthz", get(async || "ok\n"))
        .route("/api/workers", get(api::workers))
        .route("/api/pools", get(api::pools))
        .route("/api/handlers", get(api::handlers))
        .route("/api/catalog", get(api::catalog))
        .route("/api/quarantine", get(api::quarantine))
        .route("/api/discover", get(api::discovery))
        .route("/api/tap", get(tap::tap))
        .route(
            "/api/v1/{*path}",
            get(v1::serve).put(v1::serve).post(v1::serve),
        )
        .fallback(async |uri: Uri| {
            let what = format!("{} is not here; there are {PATHS}", uri.path());
            answer::problem(StatusCode::NOT_FOUND, &what)
        })
        .with_state(state);
    Router::new()
        .fallback_service(paths)
        .layer(from_fn_with_state(guard, guard::stand))
}

#[cfg(test)]
mod tests;
