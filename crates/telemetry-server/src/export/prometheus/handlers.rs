//! The ledgers of the attached handlers as metrics.
//!
//! Reads the dispatcher at scrape time; counts nothing itself.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;

use super::{MetricSource, encode_counters, encode_gauges};
use crate::dispatch::{Dispatcher, HandlerInfo};

/// Shows what became of the events of each attached handler, as `telemetry_handler_*` with the label
/// `handler`. The series of a handler vanish when it is detached.
#[derive(Clone, Debug)]
pub struct HandlerMetrics(
    /// Whose handlers.
    pub Dispatcher,
);

impl MetricSource for HandlerMetrics {
    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let handlers = self.0.list_handlers("");
        let of = |info: &HandlerInfo| vec![("handler", info.id.clone())];
        let counts = |count: fn(&HandlerInfo) -> u64| -> Vec<_> {
            handlers
                .iter()
                .map(|info| (of(info), count(info)))
                .collect()
        };
        let name = "telemetry_handler_dispatched";
        let help = "Events dispatched to the handler.";
        encode_counters(encoder, name, help, &counts(|info| info.ledger.dispatched))?;
        let name = "telemetry_handler_delivered";
        let help = "Events the handler took.";
        encode_counters(encoder, name, help, &counts(|info| info.ledger.delivered))?;

        let mut dropped = Vec::new();
        for info in &handlers {
            for (reason, count) in info.ledger.dropped.iter() {
                let mut labels = of(info);
                labels.push(("reason", reason.as_str().to_owned()));
                dropped.push((labels, count));
            }
        }
        let help = "Events the handler never got or failed on.";
        encode_counters(encoder, "telemetry_handler_dropped", help, &dropped)?;

        let levels = |level: fn(&HandlerInfo) -> f64| -> Vec<_> {
            let queued = handlers.iter().filter(|info| info.queued);
            queued.map(|info| (of(info), level(info))).collect()
        };
        let name = "telemetry_handler_queued";
        let help = "Events waiting in the handler's queue.";
        encode_gauges(
            encoder,
            name,
            help,
            &levels(|info| info.ledger.queued as f64),
        )?;
        let name = "telemetry_handler_in_flight";
        let help = "Events inside the handler.";
        encode_gauges(
            encoder,
            name,
            help,
            &levels(|info| info.ledger.in_flight as f64),
        )?;
        let name = "telemetry_dispatch_too_deep";
        let help = "Events dropped because handlers dispatched them too deep inside one another.";
        let none = Vec::<(&str, &str)>::new();
        encode_counters(encoder, name, help, &[(none, self.0.dropped_too_deep())])
    }
}
