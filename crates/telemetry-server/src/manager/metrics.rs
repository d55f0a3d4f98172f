//! The manager's own numbers on `/metrics`.
//!
//! Counters are by pool and include workers that are gone, so they never fall. Gauges are by worker
//! and vanish with it. Labels are the names that the embedding program registered, never a worker's
//! own words.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;
use telemetry_core::ledger::{Counts, Reason, Stage};

use super::{Manager, PoolInfo, Totals};
use crate::export::prometheus::{MetricSource, encode_counters, encode_gauges};
use crate::session::{StreamInfo, StreamState};

impl MetricSource for Manager {
    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let pools = self.pools();
        for (name, help, count) in COUNTERS {
            let rows: Vec<_> = pools
                .iter()
                .map(|pool| (vec![pool_label(pool)], count(&pool.totals)))
                .collect();
            encode_counters(encoder, name, help, &rows)?;
        }
        let help = "Events that did not reach a handler, by where and why.";
        encode_counters(encoder, "telemetry_dropped", help, &dropped(&pools))?;
        let help = "What happened to events on their way, by note.";
        encode_counters(encoder, "telemetry_notes", help, &notes(&pools))?;
        let help = "Events that the catalog does not have and that passed, by name.";
        let learned = self.learned().counts().into_iter();
        let learned: Vec<_> = learned
            .map(|(pool, name, count)| {
                let pool = pool.as_deref().unwrap_or_default().to_owned();
                (vec![("pool", pool), ("event", name.to_string())], count)
            })
            .collect();
        encode_counters(encoder, "telemetry_learned_events", help, &learned)?;
        let help = "Connections of workers that dialled in and were not taken, by why.";
        let refused: Vec<_> = self
            .refused_connections()
            .into_iter()
            .map(|(why, count)| (vec![("reason", why.to_owned())], count))
            .collect();
        encode_counters(encoder, "telemetry_connections_refused", help, &refused)?;
        let streams = self.list_streams();
        for (name, help, level) in GAUGES {
            let rows: Vec<_> = streams
                .iter()
                .filter_map(|info| {
                    let pool = info.pool_name.clone().unwrap_or_default();
                    let worker = info.worker_id.to_string();
                    Some((vec![("pool", pool), ("worker", worker)], level(info)?))
                })
                .collect();
            encode_gauges(encoder, name, help, &rows)?;
        }
        Ok(())
    }
}

/// A family of counters: name, help, value.
type Counter = (&'static str, &'static str, fn(&Totals) -> u64);

const COUNTERS: [Counter; 5] = [
    (
        "telemetry_emitted",
        "Events emitted by workers that have come to an end: dispatched, rejected, dropped or lost.",
        |totals| totals.reported.emitted,
    ),
    (
        "telemetry_received",
        "Events received from workers.",
        |totals| totals.ledger.received,
    ),
    (
        "telemetry_dispatched",
        "Events handed to the handlers.",
        |totals| totals.ledger.dispatched,
    ),
    (
        "telemetry_unaccounted_incarnations",
        "Worker processes that ended without a last word, so that some of their events are unknown.",
        |totals| totals.unaccounted_incarnations,
    ),
    (
        "telemetry_reconnects",
        "Streams opened after a worker's first one.",
        |totals| totals.reconnects,
    ),
];

/// A family of gauges: name, help, and the value where there is one.
type Gauge = (&'static str, &'static str, fn(&StreamInfo) -> Option<f64>);

const GAUGES: [Gauge; 4] = [
    (
        "telemetry_stream_up",
        "1 while the worker's stream is open.",
        |info| Some(f64::from(u8::from(info.state == StreamState::Streaming))),
    ),
    (
        "telemetry_worker_queued",
        "Events waiting in the worker, as it reports.",
        |info| told(info, info.report.as_ref().map_or(0, |report| report.queued)),
    ),
    (
        "telemetry_worker_away",
        "Events that the worker says it sent and that have not arrived so far.",
        |info| told(info, info.away),
    ),
    (
        "telemetry_ledger_difference",
        "Events by which the worker's ledger does not balance; anything but 0 is a defect.",
        |info| told(info, info.ledger_difference()),
    ),
];

/// Labels and value of a counter.
type Row = (Vec<(&'static str, String)>, u64);

fn dropped(pools: &[PoolInfo]) -> Vec<Row> {
    let mut rows = Vec::new();
    for pool in pools {
        let totals = &pool.totals;
        let mut transport = Counts::default();
        transport.add(Reason::Gap, totals.ledger.gaps);
        transport.add(Reason::LostAtCrash, totals.lost_at_crash);
        for counts in [
            &totals.reported.dropped,
            &transport,
            &totals.ledger.rejected,
        ] {
            for (reason, count) in counts.iter() {
                let stage: Stage = reason.stage();
                let labels = vec![
                    pool_label(pool),
                    ("stage", stage.as_str().to_owned()),
                    ("reason", reason.as_str().to_owned()),
                ];
                rows.push((labels, count));
            }
        }
    }
    rows
}

fn notes(pools: &[PoolInfo]) -> Vec<Row> {
    let mut rows = Vec::new();
    for pool in pools {
        let sides = [
            ("worker", &pool.totals.reported.notes),
            ("manager", &pool.totals.ledger.notes),
        ];
        for (side, notes) in sides {
            for (note, count) in notes.iter() {
                let labels = vec![
                    pool_label(pool),
                    ("stage", side.to_owned()),
                    ("note", note.as_str().to_owned()),
                ];
                rows.push((labels, count));
            }
        }
    }
    rows
}

fn pool_label(pool: &PoolInfo) -> (&'static str, String) {
    ("pool", pool.pool_name.clone().unwrap_or_default())
}

/// What a worker that reports has told; of a stock one it cannot be known.
fn told(info: &StreamInfo, count: u64) -> Option<f64> {
    (!info.legacy).then(|| level(count))
}

/// A count as a gauge; beyond 2⁵³ it loses its last digits.
fn level(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::{PrometheusConfig, PrometheusExporter};
    use crate::{ManagerConfig, WorkerContext};

    #[tokio::test]
    async fn a_worker_that_never_came_is_down_and_balanced() {
        let manager = Manager::start(ManagerConfig::new("n1")).expect("valid");
        let endpoint = "unix:/nonexistent/w.sock".parse().expect("an endpoint");
        let context = WorkerContext::new("w1").in_pool("default");
        manager.register_worker(endpoint, context).expect("usable");
        let catalog = std::sync::Arc::clone(manager.catalog());
        let exporter = PrometheusExporter::new(catalog, PrometheusConfig::default());
        exporter.add_source(manager);
        let text = exporter.render();
        for line in [
            "telemetry_stream_up{pool=\"default\",worker=\"w1\"} 0",
            "telemetry_ledger_difference{pool=\"default\",worker=\"w1\"} 0",
            "telemetry_received_total{pool=\"default\"} 0",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    #[tokio::test]
    async fn what_was_learned_is_one_counter_by_name_and_no_label() {
        use prost::Message;
        let manager = Manager::start(ManagerConfig::new("n1")).expect("valid");
        let catalog = std::sync::Arc::clone(manager.catalog());
        let exporter = PrometheusExporter::new(catalog, PrometheusConfig::default());
        let dispatcher = manager.dispatcher();
        dispatcher.attach("p", "*", exporter.clone()).expect("free");
        exporter.add_source(manager.clone());
        let mut worker = manager.capture_pipeline(&WorkerContext::new("w1").in_pool("default"));
        for n in 0..600 {
            let event = telemetry_proto::TelemetryEvent {
                event_parts: vec!["own".to_owned(), format!("e{}", n % 300)],
                metadata: [("tenant".to_owned(), format!("t{n}"))].into(),
                ..Default::default()
            };
            worker.process(&event.encode_to_vec());
        }
        let text = exporter.render();
        let line =
            "telemetry_learned_events_total{pool=\"default\",event=\"snakepit.python.own.e7\"} 2";
        assert!(text.lines().any(|it| it == line), "{text}");
        let learned = text
            .lines()
            .filter(|it| it.starts_with("telemetry_learned_events_total"));
        assert_eq!(learned.count(), crate::pipeline::MAX_LEARNED_NAMES);
        assert!(
            !text.contains("tenant") && !text.contains("snakepit_python_own"),
            "{text}"
        );
        let unknown = "telemetry_prometheus_unknown_events_total 0";
        assert!(text.lines().any(|it| it == unknown), "{text}");
    }
}
