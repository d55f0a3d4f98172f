//! The backend of tests: events stay in the worker's own queue until somebody asks for them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prost::Message;
use telemetry_core::{
    Clock, Event, Outcome, SpanContext, Value,
    catalog::NameError,
    emit::{Fields, Recorder, RecorderConfig},
    ledger::{Reason, WorkerSnapshot},
    wire::{Control, ControlError},
};
use telemetry_proto::{TelemetryEvent, telemetry_value};

use super::{Backend, Draw, Site, SpanFate, SpanSites, through_recorder};

/// Keeps events for a test to look at, exactly as a manager would receive them.
///
/// An event counts as queued until [`take`](Self::take) returns it, so the queue's limits apply.
#[derive(Debug)]
pub struct MemoryBackend {
    /// The whole emit path.
    recorder: Recorder,
    /// One `take` at a time, or two would share the order between them.
    taking: Mutex<()>,
}

impl MemoryBackend {
    /// A backend with its own queue and ledger.
    ///
    /// # Errors
    ///
    /// [`ControlError`] if the initial policy has an invalid rate or pattern.
    pub fn new(config: RecorderConfig, clock: Arc<dyn Clock>) -> Result<Self, ControlError> {
        Ok(Self {
            recorder: Recorder::new(config, clock)?,
            taking: Mutex::new(()),
        })
    }

    /// Takes every event recorded so far, in order, under its wire name. They count as delivered.
    #[must_use]
    pub fn take(&self) -> Vec<Event> {
        let _order = self.taking.lock().unwrap_or_else(PoisonError::into_inner);
        let mut message = Vec::new();
        let mut events = Vec::new();
        for _ in 0..self.recorder.queued() {
            let Some(handed) = self.recorder.hand_out(&mut message) else {
                break;
            };
            match TelemetryEvent::decode(&*message) {
                Ok(event) => {
                    events.push(read_event(event));
                    handed.delivered();
                }
                Err(error) => {
                    debug_assert!(false, "an event of our own can be read: {error}");
                    handed.dropped(Reason::InternalError);
                }
            }
        }
        events
    }
}

impl Backend for MemoryBackend {
    through_recorder!();

    fn record(&self, site: &Site, draw: Draw<'_>, fields: &Fields<'_>) -> Outcome {
        Backend::record(&self.recorder, site, draw, fields)
    }

    fn flush(&self, _timeout: Duration) -> bool {
        true
    }

    fn shutdown(&self, _timeout: Duration) -> WorkerSnapshot {
        self.recorder.close();
        self.recorder.snapshot()
    }
}

/// The event that a message carries; keys are sorted because the wire has no order of its own.
fn read_event(message: TelemetryEvent) -> Event {
    let mut measurements: Vec<_> = message
        .measurements
        .into_iter()
        .filter_map(|(key, value)| {
            let value = match value.value? {
                telemetry_value::Value::IntValue(int) => Value::Int(int),
                telemetry_value::Value::FloatValue(float) => Value::Float(float),
                telemetry_value::Value::StringValue(text) => Value::Str(text),
            };
            Some((key, value))
        })
        .collect();
    measurements.sort_by(|a, b| a.0.cmp(&b.0));
    let mut metadata: Vec<_> = message.metadata.into_iter().collect();
    metadata.sort();
    let mut event = Event::new(message.event_parts.join("."));
    event.measurements = measurements;
    event.metadata = metadata;
    event.timestamp_ns = message.timestamp_ns;
    event.correlation_id = message.correlation_id;
    event.sampling_rate = message.sampling_rate.unwrap_or(1.0);
    event.span = message.span.as_ref().and_then(SpanContext::from_message);
    event
}
