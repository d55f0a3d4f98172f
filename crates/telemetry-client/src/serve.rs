//! Serving the telemetry stream: the gRPC service of a worker and the server that listens for it.
//!
//! [`TelemetryService`] is the service alone, to be mounted in a gRPC server that a program has
//! already. [`Server`] is the whole: a socket, a thread, limits on every resource a peer can take.
//! This room moves bytes between a [`Recorder`](telemetry_core::emit::Recorder) and HTTP/2; what an event
//! is and which are kept is decided in `telemetry-core`.

mod accept;
mod authority;
mod bind;
mod body;
mod config;
mod connect;
mod connection;
mod control;
mod dial_in;
mod door;
mod ends;
mod handshake;
mod heard;
mod host;
mod introduce;
mod listener;
#[cfg(feature = "tls")]
mod look_up;
mod managers;
mod meter;
mod own_file;
mod paced;
mod pass;
mod poller;
#[cfg(feature = "tls")]
mod port;
mod program;
mod pump;
mod recipients;
mod rejected;
mod road;
mod seat;
mod server;
mod service;
mod session;
mod sessions;
#[cfg(feature = "simulation")]
#[doc(hidden)]
pub mod simulated;
mod spawn;
mod stream;
mod threads;
mod unary;
mod users;
mod watched;

pub use bind::BindError;
pub use config::{
    DEFAULT_BATCH_DELAY, DEFAULT_FIRST_CONTROL_WAIT, DEFAULT_HELLO_WAIT, DEFAULT_REPORT_INTERVAL,
    Identity, StreamConfig,
};
pub use connect::{ConnectConfig, ConnectError, Connection, MAX_LABEL_BYTES};
pub use host::{HostedStream, HostedStreams, Next};
pub use rejected::RejectedNames;
pub use server::{
    DEFAULT_CLOSE_TIMEOUT, DEFAULT_HANDSHAKE_TIMEOUT, DEFAULT_KEEP_ALIVE_INTERVAL,
    DEFAULT_KEEP_ALIVE_TIMEOUT, DEFAULT_MAX_CONNECTIONS, DEFAULT_MAX_HEADER_LIST_BYTES,
    DEFAULT_MAX_RESETS, DEFAULT_MAX_STREAMS, DEFAULT_STREAM_WAIT, DEFAULT_WRITE_TIMEOUT,
    ServeConfig, ServeError, ServeLimits, Server,
};
pub use service::TelemetryService;

pub use crate::own_fd::{OpenFd, open_fds};
#[doc(no_inline)]
pub use {http, tonic, tower_service};
