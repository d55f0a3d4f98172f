//! What the demo wants to show, collected by one handler from the events themselves.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hdrhistogram::Histogram;
use telemetry_core::{EventRef, ValueRef};

/// Longest duration that is told apart: one minute, in nanoseconds.
const LONGEST_NS: u64 = 60_000_000_000;

/// Figures that grow while the demo runs. A clone shows the same ones.
#[derive(Debug, Clone, Default)]
pub(crate) struct Figures(Arc<Mutex<Collected>>);

/// The figures themselves.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    /// Events that arrived.
    pub(crate) events: u64,
    /// Durations by tool.
    pub(crate) tools: BTreeMap<String, Tool>,
    /// Exceptions by type of error.
    pub(crate) errors: BTreeMap<String, u64>,
    /// What is known of each worker.
    pub(crate) workers: BTreeMap<String, Worker>,
}

/// One tool.
#[derive(Debug)]
pub(crate) struct Tool {
    /// Durations of calls that succeeded, nanoseconds.
    pub(crate) durations: Histogram<u64>,
    /// Calls that failed.
    pub(crate) failures: u64,
}

impl Default for Tool {
    fn default() -> Self {
        let durations = Histogram::new_with_max(LONGEST_NS, 3).expect("valid bounds");
        Self {
            durations,
            failures: 0,
        }
    }
}

/// One worker.
#[derive(Debug, Default, Clone)]
pub(crate) struct Worker {
    /// Resident memory in bytes, as last sampled.
    pub(crate) rss_bytes: i64,
    /// Percent of one core, as last sampled.
    pub(crate) cpu_percent: f64,
    /// Events of `tool.execution.*`.
    pub(crate) executions: u64,
    /// Events of `python.memory.*`.
    pub(crate) memory_samples: u64,
}

impl Figures {
    /// The figures as they stand.
    pub(crate) fn read(&self) -> MutexGuard<'_, Collected> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of one worker.
    pub(crate) fn worker(&self, worker_id: &str) -> Worker {
        self.read()
            .workers
            .get(worker_id)
            .cloned()
            .unwrap_or_default()
    }

    /// Events of `python.memory.*` from all workers.
    pub(crate) fn memory_samples(&self) -> u64 {
        self.read()
            .workers
            .values()
            .map(|worker| worker.memory_samples)
            .sum()
    }

    /// Takes in one event; short enough to run inline.
    pub(crate) fn record(&self, event: &EventRef<'_>) {
        let Some(worker_id) = event.source().worker_id.as_deref() else {
            return;
        };
        let mut collected = self.read();
        collected.events += 1;
        if !collected.workers.contains_key(worker_id) {
            collected
                .workers
                .insert(worker_id.to_owned(), Worker::default());
        }
        let worker = collected.workers.entry(worker_id.to_owned()).or_default();
        match event.name().trim_start_matches("snakepit.python.") {
            "tool.execution.start" => worker.executions += 1,
            "tool.execution.stop" => {
                worker.executions += 1;
                if let Some(ValueRef::Int(duration)) = event.measurement("duration") {
                    let nanos = duration.unsigned_abs().clamp(1, LONGEST_NS);
                    collected.tool(event).durations.saturating_record(nanos);
                }
            }
            "tool.execution.exception" => {
                worker.executions += 1;
                collected.tool(event).failures += 1;
                let error = text(event, "error_type");
                *collected.errors.entry(error).or_default() += 1;
            }
            "memory.sampled" => {
                worker.memory_samples += 1;
                if let Some(ValueRef::Int(bytes)) = event.measurement("rss_bytes") {
                    worker.rss_bytes = bytes;
                }
            }
            "cpu.sampled" => {
                let percent = event
                    .measurement("cpu_percent")
                    .and_then(|value| value.as_f64());
                worker.cpu_percent = percent.unwrap_or_default();
            }
            _ => {}
        }
    }
}

impl Collected {
    /// The tool that an event is about.
    fn tool(&mut self, event: &EventRef<'_>) -> &mut Tool {
        self.tools.entry(text(event, "tool")).or_default()
    }
}

/// A metadata entry of an event, fit for a terminal.
fn text(event: &EventRef<'_>, key: &str) -> String {
    let value = event.metadata(key);
    telemetry_core::catalog::escape(value.as_deref().unwrap_or("?")).into_owned()
}
