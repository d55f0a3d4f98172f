//! The emit path as a whole: what goes in comes out as frames, and what does not is counted.

mod event;
mod history;
mod policy;
mod queue;
mod report;
mod settled;

use prost::Message;
use std::sync::Arc;
use telemetry_core::{
    ManualClock, Outcome,
    emit::{Budget, Fields, Overflow, QueueLimits, Recorder, RecorderConfig},
    wire::FrameSplitter,
};
use telemetry_proto::TelemetryEvent;

const ALL: Budget = Budget {
    events: usize::MAX,
    bytes: usize::MAX,
};

fn recorder(config: RecorderConfig) -> Recorder {
    Recorder::new(
        config,
        Arc::new(ManualClock::new(1_700_000_000_000_000_000)),
    )
    .expect("a valid policy")
}

fn small_queue(events: usize, overflow: Overflow) -> Recorder {
    let mut queue = QueueLimits::default();
    queue.events = events;
    let mut config = RecorderConfig::default();
    config.queue = queue;
    config.overflow = overflow;

    recorder(config)
}

fn emit(recorder: &Recorder, name: &str) -> Outcome {
    let site = recorder.callsite(name).expect("a valid name");
    recorder.record(&site, &Fields::default())
}

fn drain(recorder: &Recorder) -> Vec<TelemetryEvent> {
    let (mut bytes, mut events) = (Vec::new(), Vec::new());
    recorder.drain_frames(&mut bytes, ALL);
    FrameSplitter::new(1 << 20)
        .feed(&bytes, |frame| {
            events.push(TelemetryEvent::decode(frame).expect("prost reads it"));
        })
        .expect("whole frames");
    events
}
