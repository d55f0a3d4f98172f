//! The events that every stream benchmark sends: three names, changing values and ids.
//!
//! Everything that varies is prepared ahead, so that emitting is measured and not making numbers up.

use std::fmt::Write as _;

use telemetry_client::{EventHandle, Telemetry};
use telemetry_core::{Outcome, wire::frame_header};
use telemetry_proto::telemetry_value::Value;
use telemetry_proto::{TelemetryEvent, TelemetryValue};

/// Events before everything but the duration repeats.
pub(crate) const SAMPLES: usize = 1_020;
/// The names; each event of theirs has a histogram of its duration.
pub(crate) const NAMES: [&str; 3] = [
    "tool.execution.stop",
    "python.call.stop",
    "tool.execution.exception",
];
const TOOLS: [&str; 4] = ["parse", "hash", "search", "compress"];
const OPERATIONS: [&str; 5] = ["read", "write", "list", "open", "close"];

/// What varies from one event to the next.
#[derive(Debug)]
pub(crate) struct Sample {
    /// Place of the name in [`NAMES`].
    pub(crate) name: usize,
    /// Added up at both ends; from 1 to 5.
    pub(crate) count: i64,
    /// Two entries.
    pub(crate) metadata: [(&'static str, &'static str); 2],
    /// 32 hexadecimal digits.
    pub(crate) correlation_id: String,
}

/// All samples in their order.
pub(crate) fn samples() -> Vec<Sample> {
    (0..SAMPLES).map(sample).collect()
}

/// The sample of a run.
fn sample(run: usize) -> Sample {
    let name = run % NAMES.len();
    let keys = match NAMES[name] {
        "python.call.stop" => ["command", "result"],
        _ => ["tool", "operation"],
    };
    let mut correlation_id = String::new();
    let scattered = (run as u128).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    let _infallible = write!(correlation_id, "{scattered:032x}");
    Sample {
        name,
        count: 1 + i64::try_from(run % 5).unwrap_or_default(),
        metadata: [
            (keys[0], TOOLS[run % TOOLS.len()]),
            (keys[1], OPERATIONS[run % OPERATIONS.len()]),
        ],
        correlation_id,
    }
}

/// Nanoseconds, never the same twice in a row.
pub(crate) fn duration(run: usize) -> i64 {
    i64::try_from(run.wrapping_mul(7_919) % 50_000_000).unwrap_or_default() + 1_000
}

/// Emits samples in turn and knows what it emitted.
#[derive(Debug)]
pub(crate) struct Load {
    samples: Vec<Sample>,
    handles: Vec<EventHandle>,
    /// Events emitted.
    pub(crate) emitted: u64,
    /// Sum of their `count`.
    pub(crate) sum: u64,
}

impl Load {
    /// Nothing emitted yet.
    pub(crate) fn new(telemetry: &Telemetry) -> Self {
        Self {
            samples: samples(),
            handles: NAMES.iter().map(|name| telemetry.event(name)).collect(),
            emitted: 0,
            sum: 0,
        }
    }

    /// Emits the next event, which must not be lost.
    pub(crate) fn emit(&mut self) {
        assert_eq!(
            self.offer(),
            Outcome::Accepted,
            "an event of the measured run was lost"
        );
    }

    /// Emits the next event; one that is not accepted is not counted here.
    pub(crate) fn offer(&mut self) -> Outcome {
        let run = usize::try_from(self.emitted).unwrap_or_default();
        let sample = &self.samples[run % SAMPLES];
        let measurements = [
            ("duration", duration(run).into()),
            ("count", sample.count.into()),
        ];
        let outcome =
            self.handles[sample.name].emit(&measurements, &sample.metadata, &sample.correlation_id);
        if outcome == Outcome::Accepted {
            self.emitted += 1;
            self.sum += sample.count.unsigned_abs();
        }
        outcome
    }
}

/// An event as one writes it without us.
pub(crate) fn naive_event(sample: &Sample, run: usize, now: i64) -> TelemetryEvent {
    let int = |number| TelemetryValue {
        value: Some(Value::IntValue(number)),
    };
    let measurements = [("duration", duration(run)), ("count", sample.count)];
    TelemetryEvent {
        event_parts: NAMES[sample.name].split('.').map(String::from).collect(),
        measurements: measurements
            .map(|(key, number)| (key.to_owned(), int(number)))
            .into(),
        metadata: sample
            .metadata
            .map(|(key, text)| (key.to_owned(), text.to_owned()))
            .into(),
        timestamp_ns: now,
        correlation_id: sample.correlation_id.clone(),
        ..TelemetryEvent::default()
    }
}

/// One gRPC message.
pub(crate) fn framed(event: &TelemetryEvent) -> Vec<u8> {
    let message = prost::Message::encode_to_vec(event);
    [&frame_header(message.len())[..], &message].concat()
}
