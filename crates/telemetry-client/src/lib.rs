//! The worker role: emit events and serve them to a manager over one gRPC stream.

pub mod backend;
pub mod serve;

mod config;
mod resource;
mod span;
mod telemetry;

pub use config::{
    BackendKind, Config, ConfigError, DEFAULT_EXIT_TIMEOUT, MAX_QUEUE_EVENTS, Worker,
};
pub use resource::{
    DEFAULT_RESOURCE_INTERVAL, MIN_RESOURCE_INTERVAL, ResourceError, ResourceSampler,
};
pub use span::{ERROR_TYPE_CANCELLED, ERROR_TYPE_PANIC, Instrumented, Span, SpanBuilder};
pub use telemetry::{EventHandle, Telemetry, TelemetryBuilder};
