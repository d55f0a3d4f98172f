//! What the manager's process found, on its way to the report.

use serde::{Deserialize, Serialize};

/// Everything.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Found {
    /// Bytes of the manager, for one idle stream that was never used.
    pub(super) resident_per_stream: f64,
    /// Bytes of the workers' process, for the same.
    pub(super) worker_resident_per_stream: f64,
    /// Bytes of the manager for one stream, a while after the load, metrics included.
    pub(super) resident_per_stream_after_load: f64,
    /// Cores that the manager took while nothing was sent.
    pub(super) idle_share: f64,
    /// Events that nobody can account for.
    pub(super) unaccounted: u64,
    /// How the cost grows.
    pub(super) levels: Vec<Level>,
}

/// One number of streams, each with a thousand events per second.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Level {
    /// Streams with load; all are open.
    pub(super) streams: usize,
    /// Events per second that were reached.
    pub(super) rate: f64,
    /// CPU of the manager per event, nanoseconds.
    pub(super) cpu_ns: f64,
    /// Bytes of the manager at the end.
    pub(super) resident: u64,
}
