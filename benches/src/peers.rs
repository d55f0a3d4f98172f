//! What ours is compared with, each as its own documentation would have one use it.
//!
//! Everything here does what ours does as far as it can: two values, two attributes, something that
//! takes the results away between two batches, and a panic if any of them was lost. Those with a
//! thread of their own start it when they are made, so they are made before the measuring thread is
//! pinned.

mod fast_trace;
mod metric;
mod naive;
mod otel;
mod traced;

pub(crate) use fast_trace::FastTrace;
pub(crate) use metric::{MetricsHistogram, PrometheusHistogram};
pub(crate) use naive::Naive;
pub(crate) use otel::{OtelHistogram, OtelLog, OtelSpan};
pub(crate) use traced::{DisabledTracing, TracingEvent, TracingSpan, subscribe};

/// Rotated so that nothing about an event is a constant of the loop.
pub(crate) const TOOLS: [&str; 4] = ["parse", "hash", "search", "compress"];
/// A correlation id as they are in practice.
pub(crate) const ID: &str = "0123456789abcdef0123456789abcdef";
/// The crates whose versions belong to the figures.
pub(crate) const CRATES: [&str; 10] = [
    "crossbeam-queue",
    "fastrace",
    "metrics",
    "metrics-exporter-prometheus",
    "opentelemetry",
    "opentelemetry_sdk",
    "prometheus-client",
    "prost",
    "tracing",
    "tracing-subscriber",
];
