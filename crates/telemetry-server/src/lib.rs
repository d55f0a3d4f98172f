//! The manager role: collect, check, enrich and dispatch the telemetry of worker processes.

mod dispatch;
mod host;

pub use dispatch::{
    AttachError, DEFAULT_HANDLER_DRAIN, DEFAULT_HANDLER_QUEUE, DEFAULT_HANDLER_QUEUE_BYTES,
    Discard, Dispatcher, EmitError, Handler, HandlerError, HandlerInfo, HandlerLedger,
    MAX_DISPATCH_DEPTH, MAX_HANDLER_QUEUE, MemoryHandler, QueuedConfig, fallible,
};
pub use host::{
    Buffer, CircuitBreakerEvents, GrpcCall, HardwareEvents, HardwareStep, HeartbeatEvents, Host,
    ObservedBody, ObservedGrpc, PythonException, PythonExceptionEvents, QueueContext, QueueEvents,
    RetryEvents, ScriptShutdown, SessionEvents, SessionStoreEvents, ZeroCopyEvents,
};
