//! The manager role: collect, check, enrich and dispatch the telemetry of worker processes.

mod dispatch;
mod export;
mod host;
#[cfg(feature = "http")]
mod http;

#[cfg(feature = "http")]
pub use self::http::{
    ApiResource, ApiSource, HTTP_HEAD_TIMEOUT, HttpConfig, HttpError, HttpServer, HttpState,
    MAX_HTTP_CONNECTIONS, MAX_HTTP_HEAD_BYTES, MAX_TAPS, TAP_QUEUE,
};
pub use dispatch::{
    AttachError, DEFAULT_HANDLER_DRAIN, DEFAULT_HANDLER_QUEUE, DEFAULT_HANDLER_QUEUE_BYTES,
    Discard, Dispatcher, EmitError, Handler, HandlerError, HandlerInfo, HandlerLedger,
    MAX_DISPATCH_DEPTH, MAX_HANDLER_QUEUE, MemoryHandler, QueuedConfig, fallible,
};
pub use export::LogHandler;
#[cfg(feature = "prometheus")]
pub use export::{
    DEFAULT_SERIES_LIMIT, DURATION_BUCKETS, ExpositionFormat, HandlerMetrics, MAX_LABEL_BYTES,
    MAX_LABELS, MAX_SHARDS, MetricSource, PrometheusConfig, PrometheusExporter, SIZE_BUCKETS,
};
pub use host::{
    Buffer, CircuitBreakerEvents, GrpcCall, HardwareEvents, HardwareStep, HeartbeatEvents, Host,
    ObservedBody, ObservedGrpc, PythonException, PythonExceptionEvents, QueueContext, QueueEvents,
    RetryEvents, ScriptShutdown, SessionEvents, SessionStoreEvents, ZeroCopyEvents,
};
