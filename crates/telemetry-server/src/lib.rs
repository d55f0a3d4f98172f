//! The manager role: collect, check, enrich and dispatch the telemetry of worker processes, and control
//! them.
//!
//! A [`Manager`] is given workers by id and address, or they dial in to an [`accept::Acceptor`]. It reads
//! one stream of each; what arrives goes through the [`pipeline`] to the handlers that are attached to its
//! [`dispatch::Dispatcher`].
//!
//! ```no_run
//! use telemetry_server::{Manager, ManagerConfig, WorkerContext};
//! use telemetry_server::{dispatch::QueuedConfig, export::LogHandler};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let manager = Manager::start(ManagerConfig::new("machine-1"))?;
//! manager.dispatcher().attach_queued("log", &["snakepit.*"], LogHandler, QueuedConfig::default())?;
//! let worker = WorkerContext::new("web-1").in_pool("web");
//! manager.register_worker("unix:/run/web/web-1.sock".parse()?, worker)?;
//! manager.shutdown(std::time::Duration::from_secs(5)).await;
//! # Ok(())
//! # }
//! ```
//!
//! The package is named in the README, the library is `telemetry_server`; no other crate of the project is
//! needed beside it.
//!
//! # Doors
//!
//! The root has the manager, events, the names of its workers and what it is told to do with them. What else a
//! program may want is behind a door each:
//!
//! * [`stream`]: what is known of each worker's stream and of each process behind it.
//! * [`catalog`] and [`ledger`]: what is known of events, and what became of each.
//! * [`dispatch`]: handlers, attached to patterns of event names. [`export`]: handlers that are there:
//!   log, and Prometheus (feature `prometheus`). [`host`]: events of the program around the manager.
//! * [`accept`]: workers that dial in. `watch_dir` (feature `pool`): those that somebody else starts here.
//!   `discover` (feature `config`): those that a file or a name lists.
//! * `pool` (feature `pool`): processes of the manager's own.
//! * `api` (feature `http`): all of that as typed rows and answers, which is what a manager says as JSON.
//! * `http` (feature `http`), `config` (feature `config`): what the `telemetry` command is made of, with
//!   [`process`], what a long-lived process needs. `assembly` (feature `config`): all of it in one call.
//! * `telemetry_tls` (feature `tls`): what TLS is made of, for workers that dial in at a port, and for those that
//!   are dialled there.
//! * [`policy`]: rules for what workers send, and how far they are.
//! * [`pipeline`]: the way from bytes to handlers alone.
//!
//! Crates whose types are in signatures are re-exported, here and in [`host`] and [`export`].
//!
//! # Floors
//!
//! From the ground up; a module uses only modules of floors below its own, which a test checks.
//!
//! 1. `deadline`, `descriptors`, `dir_events`, `grpc_message`, `lossy`, `orphans`, `peer_user`, `rarely`, `region`,
//!    `secret_file`, `simulated`
//! 2. `identity`, `listener`, `socket_dir`, `token`
//! 3. `accounts`, `dispatch`, `policy`
//! 4. `bound`, `desired`, `export`, `host`, `pipeline`, `run_dir`
//! 5. `capture`, `session`
//! 6. `manager`
//! 7. `targets`
//! 8. `accept`, `discover`, `pool`, `watch_dir`
//! 9. `api`
//! 10. `http`
//! 11. `config`
//! 12. `assembly`

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod accept;
mod accounts;
#[cfg(feature = "http")]
pub mod api;
#[cfg(feature = "config")]
pub mod assembly;
mod bound;
#[cfg(feature = "pool")]
mod capture;
#[cfg(feature = "config")]
pub mod config;
mod deadline;
mod descriptors;
mod desired;
#[cfg_attr(
    not(any(feature = "pool", test)),
    expect(
        dead_code,
        reason = "whole directories are watched for local workers only"
    )
)]
mod dir_events;
#[cfg(feature = "config")]
pub mod discover;
pub mod dispatch;
pub mod export;
mod grpc_message;
pub mod host;
#[cfg(feature = "http")]
pub mod http;
mod identity;
mod listener;
mod lossy;
mod manager;
#[cfg(feature = "pool")]
mod orphans;
mod peer_user;
pub mod pipeline;
pub mod policy;
#[cfg(feature = "pool")]
pub mod pool;
mod rarely;
mod region;
#[cfg(feature = "pool")]
mod run_dir;
#[cfg(any(feature = "http", feature = "tls"))]
mod secret_file;
mod session;
#[cfg(feature = "simulation")]
#[doc(hidden)]
pub mod simulated;
mod socket_dir;
#[cfg(feature = "pool")]
mod targets;
#[cfg(feature = "http")]
mod token;
#[cfg(feature = "pool")]
pub mod watch_dir;

pub use desired::{ControlReceipt, ControlRefused, Target};
#[cfg(feature = "tls")]
pub use identity::WorkerTls;
pub use identity::{
    Labels, MAX_IDENTITY_BYTES, MAX_LABEL_BYTES, MAX_LABELS, WorkerContext, WorkerId,
};
pub use manager::{
    DEFAULT_AWAY_GRACE, MAX_WORKERS, Manager, ManagerConfig, PoolInfo, RegisterError, StartError,
    Totals, UNREGISTER_DRAIN,
};
pub use telemetry_core::emit::{PolicySpec, SamplingRule};
pub use telemetry_core::{
    Address, AddressError, Clock, Event, EventOrigin, EventRef, Source, SpanContext, SystemClock,
    Token, TokenError, Value, ValueRef, catalog, ledger,
};
#[cfg(feature = "tls")]
#[doc(no_inline)]
pub use telemetry_tls;
#[doc(no_inline)]
pub use {telemetry_core, tokio, tracing};

/// What is known of a worker's stream, and of the processes behind it.
///
/// A worker's stream survives its processes: each life of one is an incarnation. The limits here are those
/// of a connection, whoever opened it.
pub mod stream {
    pub use crate::accounts::{IncarnationInfo, LostSpan};
    pub use crate::session::{
        BACKOFF_BASE, BACKOFF_CAP, BACKOFF_RESET_AFTER, CONNECTION_WINDOW, DialError, FIRST_DIALS,
        HANDSHAKE_TIMEOUT, HELLO_TIMEOUT, KEEP_ALIVE_INTERVAL, KEEP_ALIVE_TIMEOUT, LinkKind,
        MAX_ACK_BYTES, MAX_ACK_DELAY, MAX_DIALS_PER_SECOND, MAX_FRAME, MAX_HEADER_LIST,
        MAX_LOCAL_RESETS, MAX_MESSAGE_BYTES, MIN_REDIAL, Peer, REFUSED_CAP, REPLACED_BACKOFF,
        RegionStore, STOCK_PING_TIMEOUT, STREAM_WINDOW, StreamInfo, StreamState,
    };
}

/// What a process needs that manages for weeks: descriptors, a log that never holds it up, nobody's
/// orphans left, and no secret said to a stranger.
pub mod process {
    pub use crate::descriptors::{OpenDescriptors, raise_descriptor_limit};
    pub use crate::listener::{Stranger, stranger_behind};
    pub use crate::lossy::{LOG_QUEUE_BYTES, LossyWriter};
    #[cfg(feature = "pool")]
    pub use crate::orphans::OrphanReaper;
    pub use crate::peer_user::is_hidden_user;
}

/// The README's example is a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
