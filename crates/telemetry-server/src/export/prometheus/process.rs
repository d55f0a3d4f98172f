//! The manager's process as metrics: what its log lost, and its descriptors.
//!
//! Reads at scrape time; counts nothing itself.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;

use super::{MetricSource, encode_counters, encode_gauges};
use crate::descriptors::OpenDescriptors;
use crate::lossy::LossyWriter;

/// Shows the process itself: `telemetry_log_lines_dropped_total`, `telemetry_open_fds` and
/// `telemetry_max_fds`. Without a limit of descriptors there is no `telemetry_max_fds`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ProcessMetrics {
    /// Where the log goes.
    pub log: LossyWriter,
    /// Counts descriptors; none where there is no `/proc`.
    pub descriptors: Option<OpenDescriptors>,
}

impl ProcessMetrics {
    /// Metrics of the log that goes to `log`, and of this process's descriptors where it has them counted.
    #[must_use]
    pub const fn new(log: LossyWriter, descriptors: Option<OpenDescriptors>) -> Self {
        Self { log, descriptors }
    }
}

impl MetricSource for ProcessMetrics {
    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let none = || Vec::<(&str, &str)>::new();
        let name = "telemetry_log_lines_dropped";
        let help = "Lines of the manager's log that nobody read or that could not be written.";
        encode_counters(encoder, name, help, &[(none(), self.log.dropped())])?;
        let Some(descriptors) = &self.descriptors else {
            return Ok(());
        };
        let mut gauge = |name, help, level: Option<u64>| {
            #[expect(
                clippy::cast_precision_loss,
                reason = "descriptors are fewer than 2^53"
            )]
            let rows: Vec<_> = level
                .map(|level| (none(), level as f64))
                .into_iter()
                .collect();
            encode_gauges(encoder, name, help, &rows)
        };
        let help = "File descriptors that the manager has open.";
        gauge("telemetry_open_fds", help, descriptors.count().ok())?;
        let help = "File descriptors that the manager may have open.";
        gauge("telemetry_max_fds", help, descriptors.limit())
    }
}
