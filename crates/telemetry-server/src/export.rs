//! Handlers that ship events to another system.
//!
//! They know dispatching and `telemetry-core` and nothing else of this crate: what the manager wants
//! exported it hands in.

mod log;
#[cfg(feature = "prometheus")]
pub(crate) mod prometheus;

pub use log::LogHandler;
#[cfg(feature = "prometheus")]
pub use prometheus::{
    DEFAULT_SERIES_LIMIT, DURATION_BUCKETS, ExpositionFormat, HandlerMetrics, MAX_LABEL_BYTES,
    MAX_LABELS, MAX_SHARDS, MetricSource, ProcessMetrics, PrometheusConfig, PrometheusExporter,
    SIZE_BUCKETS,
};
#[cfg(feature = "prometheus")]
#[doc(no_inline)]
pub use prometheus_client;
