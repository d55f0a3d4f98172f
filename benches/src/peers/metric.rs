//! A histogram with two labels: `metrics` with the Prometheus recorder, and `prometheus-client`.

use std::hint::black_box;
use std::ops::Range;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

use super::TOOLS;
use crate::measure::Batches;

/// Upper bounds of the buckets, in nanoseconds.
const BUCKETS: [f64; 8] = [1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10];

/// `metrics::histogram!` with two labels.
pub(crate) struct MetricsHistogram {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
}

impl MetricsHistogram {
    /// With a recorder of its own.
    pub(crate) fn new() -> Self {
        let builder = PrometheusBuilder::new();
        let recorder = builder
            .set_buckets(&BUCKETS)
            .expect("there are buckets")
            .build_recorder();
        let handle = recorder.handle();
        Self { recorder, handle }
    }
}

impl Batches for MetricsHistogram {
    fn run(&mut self, numbers: Range<usize>) {
        metrics::with_local_recorder(&self.recorder, || {
            for run in numbers {
                let run = black_box(run);
                let tool = TOOLS[run % 4];
                metrics::histogram!("duration", "tool" => tool, "operation" => "read")
                    .record(run as f64);
            }
        });
    }

    /// Without upkeep its samples would pile up.
    fn drain(&mut self) {
        self.handle.run_upkeep();
    }
}

/// A family of `prometheus-client` with two labels.
pub(crate) struct PrometheusHistogram {
    family: Family<Labels, Histogram>,
}

/// The labels of a series.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    tool: &'static str,
    operation: &'static str,
}

impl PrometheusHistogram {
    /// An empty family.
    pub(crate) fn new() -> Self {
        Self {
            family: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
        }
    }
}

impl Batches for PrometheusHistogram {
    fn run(&mut self, numbers: Range<usize>) {
        for run in numbers {
            let run = black_box(run);
            let labels = Labels {
                tool: TOOLS[run % 4],
                operation: "read",
            };
            self.family.get_or_create(&labels).observe(run as f64);
        }
    }

    fn drain(&mut self) {}
}
