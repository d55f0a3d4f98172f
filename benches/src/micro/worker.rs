//! Emitting an event with two measurements, two metadata entries and a correlation id.

use std::collections::HashMap;
use std::hint::black_box;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_queue::ArrayQueue;
use prost::Message;
use telemetry_core::{
    Budget, Callsite, Control, Fields, Outcome, Recorder, RecorderConfig, SamplingRule, SystemClock,
};
use telemetry_proto::telemetry_value::Value;
use telemetry_proto::{TelemetryEvent, TelemetryValue};

use crate::measure::Batches;

/// Rotated so that nothing about an event is a constant of the loop.
const TOOLS: [&str; 4] = ["parse", "hash", "search", "compress"];
/// A correlation id as they are in practice.
const ID: &str = "0123456789abcdef0123456789abcdef";

fn recorder() -> Recorder {
    Recorder::new(RecorderConfig::default(), Arc::new(SystemClock::new())).expect("valid policy")
}

fn emit(recorder: &Recorder, site: &Callsite, run: usize) -> Outcome {
    let fields = Fields {
        measurements: &[("duration", run.into()), ("count", 1_i64.into())],
        metadata: &[("tool", TOOLS[run % 4]), ("operation", "read")],
        correlation_id: black_box(ID),
        timestamp_ns: None,
    };
    recorder.record(site, black_box(&fields))
}

/// An event that is kept, under a policy of patterns that do not match it.
pub(super) struct Kept {
    recorder: Recorder,
    site: Arc<Callsite>,
    frames: Vec<u8>,
}

impl Kept {
    /// Under `globs` patterns.
    pub(super) fn new(globs: usize) -> Self {
        let recorder = recorder();
        let patterns: Vec<_> = (0..globs).map(|n| format!("other{n}.*")).collect();
        for patterns in patterns.chunks(64) {
            let rule = SamplingRule {
                rate: 0.5,
                patterns: patterns.to_vec(),
            };
            recorder
                .gate()
                .apply(&Control::Sampling(rule))
                .expect("valid rule");
        }
        let site = recorder
            .callsite("tool.execution.stop")
            .expect("valid name");
        Self {
            recorder,
            site,
            frames: Vec::new(),
        }
    }
}

impl Batches for Kept {
    fn run(&mut self, numbers: Range<usize>) {
        for run in numbers {
            assert_eq!(emit(&self.recorder, &self.site, run), Outcome::Accepted);
        }
    }

    fn drain(&mut self) {
        self.frames.clear();
        let all = Budget {
            events: usize::MAX,
            bytes: usize::MAX,
        };
        self.recorder.drain_frames(&mut self.frames, all);
    }
}

/// An event while telemetry is toggled off.
pub(super) fn disabled_emit() -> impl FnMut(usize) -> Duration {
    let recorder = recorder();
    let site = recorder
        .callsite("tool.execution.stop")
        .expect("valid name");
    recorder
        .gate()
        .apply(&Control::Toggle { enabled: false })
        .expect("valid");
    move |runs| {
        let start = Instant::now();
        for run in 0..black_box(runs) {
            black_box(emit(&recorder, &site, run));
        }
        start.elapsed()
    }
}

/// A tracing event with no subscriber.
pub(super) fn disabled_tracing() -> impl FnMut(usize) -> Duration {
    move |runs| {
        let start = Instant::now();
        for run in 0..black_box(runs) {
            tracing::trace!(
                duration = run,
                count = 1,
                tool = TOOLS[run % 4],
                operation = "read",
                id = ID,
                "tool.execution.stop"
            );
        }
        start.elapsed()
    }
}

/// What one writes without us: the generated message, its encoding, a bounded queue.
pub(super) struct Naive {
    queue: ArrayQueue<Vec<u8>>,
}

impl Naive {
    /// With an empty queue as long as ours.
    pub(super) fn new() -> Self {
        Self {
            queue: ArrayQueue::new(1_024),
        }
    }
}

impl Batches for Naive {
    fn run(&mut self, numbers: Range<usize>) {
        for run in numbers {
            let pushed = self.queue.push(message(run).encode_to_vec());
            assert!(pushed.is_ok(), "the queue is large enough");
        }
    }

    fn drain(&mut self) {
        while self.queue.pop().is_some() {}
    }
}

fn message(run: usize) -> TelemetryEvent {
    let int = |value| TelemetryValue {
        value: Some(Value::IntValue(value)),
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    TelemetryEvent {
        event_parts: ["tool", "execution", "stop"].map(String::from).to_vec(),
        measurements: HashMap::from([
            ("duration".to_owned(), int(i64::try_from(run).unwrap_or(0))),
            ("count".to_owned(), int(1)),
        ]),
        metadata: HashMap::from([
            ("tool".to_owned(), TOOLS[run % 4].to_owned()),
            ("operation".to_owned(), "read".to_owned()),
        ]),
        timestamp_ns: now.map_or(0, |now| i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)),
        correlation_id: black_box(ID).to_owned(),
        ..TelemetryEvent::default()
    }
}
