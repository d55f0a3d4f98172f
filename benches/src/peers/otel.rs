//! `opentelemetry_sdk`: span and log record through a batch processor to an exporter that counts,
//! and a histogram.

use std::hint::black_box;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::logs::{LogRecord, Logger, LoggerProvider, Severity};
use opentelemetry::metrics::{Histogram, MeterProvider};
use opentelemetry::trace::{Span, Tracer, TracerProvider};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogBatch, LogExporter, SdkLogger, SdkLoggerProvider};
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{SdkMeterProvider, Temporality};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, SpanData, SpanExporter};

use super::TOOLS;
use crate::measure::Batches;

/// An exporter that counts what it gets and lets it go.
#[derive(Debug, Clone, Default)]
struct Count(Arc<AtomicUsize>);

impl Count {
    fn add(&self, count: usize) -> OTelSdkResult {
        self.0.fetch_add(count, Ordering::Relaxed);
        Ok(())
    }

    fn check(&self, made: usize) {
        assert_eq!(self.0.load(Ordering::Relaxed), made, "nothing is dropped");
    }
}

impl SpanExporter for Count {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.add(batch.len())
    }
}

impl LogExporter for Count {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        self.add(batch.iter().count())
    }
}

impl PushMetricExporter for Count {
    async fn export(&self, _metrics: &ResourceMetrics) -> OTelSdkResult {
        self.add(1)
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }

    fn temporality(&self) -> Temporality {
        Temporality::Cumulative
    }
}

/// A span with two attributes.
pub(crate) struct OtelSpan {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    exported: Count,
    made: usize,
}

impl OtelSpan {
    /// With the batch processor as it is by default.
    pub(crate) fn new() -> Self {
        let exported = Count::default();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exported.clone())
            .build();
        Self {
            tracer: provider.tracer("benches"),
            provider,
            exported,
            made: 0,
        }
    }
}

impl Batches for OtelSpan {
    fn run(&mut self, numbers: Range<usize>) {
        self.made += numbers.len();
        for run in numbers {
            let run = black_box(run);
            let mut span = self.tracer.start("tool.execution");
            span.set_attribute(KeyValue::new("tool", TOOLS[run % 4]));
            span.set_attribute(KeyValue::new("operation", "read"));
            span.end();
        }
    }

    fn drain(&mut self) {
        self.provider.force_flush().expect("the processor runs");
        self.exported.check(self.made);
    }
}

/// A log record with two attributes.
pub(crate) struct OtelLog {
    provider: SdkLoggerProvider,
    logger: SdkLogger,
    exported: Count,
    made: usize,
}

impl OtelLog {
    /// With the batch processor as it is by default.
    pub(crate) fn new() -> Self {
        let exported = Count::default();
        let provider = SdkLoggerProvider::builder()
            .with_batch_exporter(exported.clone())
            .build();
        Self {
            logger: provider.logger("benches"),
            provider,
            exported,
            made: 0,
        }
    }
}

impl Batches for OtelLog {
    fn run(&mut self, numbers: Range<usize>) {
        self.made += numbers.len();
        for run in numbers {
            let run = black_box(run);
            let mut record = self.logger.create_log_record();
            record.set_severity_number(Severity::Info);
            record.set_body("tool.execution.stop".into());
            record.add_attribute("tool", TOOLS[run % 4]);
            record.add_attribute("operation", "read");
            self.logger.emit(record);
        }
    }

    fn drain(&mut self) {
        self.provider.force_flush().expect("the processor runs");
        self.exported.check(self.made);
    }
}

/// A histogram with two attributes.
pub(crate) struct OtelHistogram {
    /// Keeps the instrument alive.
    _provider: SdkMeterProvider,
    histogram: Histogram<f64>,
}

impl OtelHistogram {
    /// Read once a minute, as by default.
    pub(crate) fn new() -> Self {
        let provider = SdkMeterProvider::builder()
            .with_periodic_exporter(Count::default())
            .build();
        let histogram = provider.meter("benches").f64_histogram("duration").build();
        Self {
            _provider: provider,
            histogram,
        }
    }
}

impl Batches for OtelHistogram {
    fn run(&mut self, numbers: Range<usize>) {
        for run in numbers {
            let run = black_box(run);
            let attributes = [
                KeyValue::new("tool", TOOLS[run % 4]),
                KeyValue::new("operation", "read"),
            ];
            self.histogram.record(run as f64, &attributes);
        }
    }

    fn drain(&mut self) {}
}
