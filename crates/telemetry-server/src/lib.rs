//! The manager role: collect, check, enrich and dispatch the telemetry of worker processes.
//!
//! # Floors
//!
//! From the ground up; a module uses only modules of floors below its own, which a test checks.
//!
//! 1. `deadline`, `descriptors`, `dir_events`, `identity`, `lossy`, `orphans`, `region`, `simulated`,
//!    `socket_dir`
//! 2. `accounts`, `desired`, `dispatch`
//! 3. `export`, `host`, `pipeline`, `run_dir`
//! 4. `capture`, `http`, `session`
//! 5. `manager`
//! 6. `accept`, `pool`, `watch_dir`
//! 7. `config`

#![cfg_attr(docsrs, feature(doc_cfg))]

mod accept;
mod accounts;
#[cfg(feature = "pool")]
mod capture;
#[cfg(feature = "config")]
mod config;
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
mod dispatch;
mod export;
mod host;
#[cfg(feature = "http")]
mod http;
mod identity;
mod lossy;
mod manager;
#[cfg(feature = "pool")]
mod orphans;
mod pipeline;
#[cfg(feature = "pool")]
mod pool;
mod region;
#[cfg(feature = "pool")]
mod run_dir;
mod session;
#[cfg(feature = "simulation")]
#[doc(hidden)]
pub mod simulated;
mod socket_dir;
#[cfg(feature = "pool")]
mod watch_dir;

#[cfg(feature = "http")]
pub use self::http::{
    ApiResource, ApiSource, HTTP_HEAD_TIMEOUT, HttpConfig, HttpError, HttpServer, HttpState,
    MAX_HTTP_CONNECTIONS, MAX_HTTP_HEAD_BYTES, MAX_TAPS, TAP_QUEUE,
};
#[cfg(feature = "simulation")]
#[doc(hidden)]
pub use accept::SimulatedDoor;
pub use accept::{AcceptConfig, AcceptError, Acceptor, INTRODUCTION_TIMEOUT, MAX_UNINTRODUCED};
pub use accounts::{IncarnationInfo, LostSpan};
#[cfg(feature = "pool")]
pub use capture::{MAX_LINE_BYTES as MAX_STDERR_LINE_BYTES, StderrCapture};
#[cfg(feature = "config")]
pub use config::{
    AcceptSection, Config, ConfigError, DEFAULT_LISTEN, EndpointSection, HttpSection, LogFilter,
    LogFilterError, LogFormat, LogSection, OwnLogSection, Place, WatchSection,
};
pub use descriptors::{OpenDescriptors, raise_descriptor_limit};
pub use desired::{ControlReceipt, ControlRefused, Target};
pub use dispatch::{
    AttachError, DEFAULT_HANDLER_DRAIN, DEFAULT_HANDLER_QUEUE, DEFAULT_HANDLER_QUEUE_BYTES,
    Discard, Dispatcher, EmitError, Handler, HandlerError, HandlerInfo, HandlerLedger,
    MAX_DISPATCH_DEPTH, MAX_HANDLER_QUEUE, MemoryHandler, QueuedConfig, fallible,
};
pub use export::LogHandler;
#[cfg(feature = "prometheus")]
pub use export::{
    DEFAULT_SERIES_LIMIT, DURATION_BUCKETS, ExpositionFormat, HandlerMetrics, MAX_LABEL_BYTES,
    MAX_LABELS, MAX_SHARDS, MetricSource, ProcessMetrics, PrometheusConfig, PrometheusExporter,
    SIZE_BUCKETS,
};
pub use host::{
    Buffer, CircuitBreakerEvents, GrpcCall, HardwareEvents, HardwareStep, HeartbeatEvents, Host,
    ObservedBody, ObservedGrpc, PythonException, PythonExceptionEvents, QueueContext, QueueEvents,
    RetryEvents, ScriptShutdown, SessionEvents, SessionStoreEvents, ZeroCopyEvents,
};
pub use identity::{MAX_IDENTITY_BYTES, WorkerContext, WorkerId};
pub use lossy::{LOG_QUEUE_BYTES, LossyWriter};
pub use manager::{
    DEFAULT_AWAY_GRACE, MAX_WORKERS, Manager, ManagerConfig, PoolInfo, RegisterError, Totals,
    UNREGISTER_DRAIN,
};
#[cfg(feature = "pool")]
pub use orphans::OrphanReaper;
pub use pipeline::{Batch, Frame, MAX_QUARANTINED_NAMES, Pipeline, Quarantine, QuarantinedName};
#[cfg(feature = "pool")]
pub use pool::{
    DEFAULT_GRACE, DEFAULT_HEALTHY_AFTER, DEFAULT_RESTART_BASE, DEFAULT_RESTART_CAP, DEFAULT_SIZE,
    DEFAULT_STATUS_INTERVAL, MAX_LAST_LINE_BYTES, MAX_POOL_NAME_BYTES, MAX_POOL_SIZE,
    OnManagerExit, Pool, PoolConfig, PoolError, PoolLoad, PoolStatus, RestartDelays, StderrTarget,
    Transport, WorkerState, WorkerStatus, WorkerTelemetry, end_strangers,
};
#[cfg(feature = "pool")]
pub use run_dir::{RunDir, RunDirError};
pub use session::{
    BACKOFF_BASE, BACKOFF_CAP, BACKOFF_RESET_AFTER, CONNECTION_WINDOW, DialError, FIRST_DIALS,
    HANDSHAKE_TIMEOUT, HELLO_TIMEOUT, KEEP_ALIVE_INTERVAL, KEEP_ALIVE_TIMEOUT, LinkKind,
    MAX_ACK_BYTES, MAX_ACK_DELAY, MAX_DIALS_PER_SECOND, MAX_FRAME, MAX_HEADER_LIST,
    MAX_LOCAL_RESETS, MAX_MESSAGE_BYTES, MIN_REDIAL, Peer, REFUSED_CAP, REPLACED_BACKOFF,
    RegionStore, STREAM_WINDOW, StreamInfo, StreamState,
};
pub use socket_dir::SocketDirError;
pub use telemetry_core::{Address, AddressError};
#[cfg(feature = "pool")]
pub use watch_dir::{MAX_WATCHED, VANISHED_AFTER, WatchDir};

/// The README's example is a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
