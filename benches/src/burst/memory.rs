//! What memory a queue has, in a process of its own that has done nothing before.

use std::sync::Arc;

use telemetry_client::Telemetry;
use telemetry_client::backend::StreamBackend;
use telemetry_client::serve::StreamConfig;
use telemetry_core::{
    Outcome, SystemClock,
    emit::{QueueLimits, Recorder, RecorderConfig},
};

use crate::stream::{Load, resident, spawn};

/// Resident bytes of a recorder.
#[derive(Debug, Clone, Copy)]
pub(super) struct Memory {
    /// While nothing waits in it.
    pub(super) idle: f64,
    /// Once nothing more fits.
    pub(super) filled: f64,
}

impl Memory {
    /// With these bounds.
    pub(super) fn of(events: usize, bytes: usize) -> Self {
        let found = spawn("burst-memory", &[&events.to_string(), &bytes.to_string()]).hear();
        let figures = found.split(' ').map(|text| text.parse().expect("a number"));
        let figures: Vec<f64> = figures.collect();
        let [idle, filled] = *figures else {
            panic!("two figures instead of {found:?}");
        };
        Self { idle, filled }
    }
}

/// The role: `EVENTS BYTES`. Prints `IDLE FILLED`, bytes.
pub(super) fn play(arguments: &[String]) {
    let [events, bytes] = arguments else { return };
    let queue = QueueLimits::new(
        events.parse().expect("a number"),
        bytes.parse().expect("a number"),
    );
    // What a first emit needs of its thread is no cost of the queue.
    let other = telemetry(QueueLimits::default());
    assert_eq!(Load::new(&other).offer(), Outcome::Accepted);
    let before = resident();
    let telemetry = telemetry(queue);
    let idle = resident() - before;
    // What is to be emitted is not in the figures.
    let mut load = Load::new(&telemetry);
    let before = resident();
    while load.offer() == Outcome::Accepted {}
    println!("{idle} {}", idle + resident() - before);
}

/// Emits, and nobody reads.
fn telemetry(queue: QueueLimits) -> Telemetry {
    let mut config = RecorderConfig::default();
    config.queue = queue;
    let recorder = Recorder::new(config, Arc::new(SystemClock::new())).expect("a policy");
    let (backend, _service) = StreamBackend::mounted(Arc::new(recorder), StreamConfig::default());
    Telemetry::builder().backend(Arc::new(backend)).build()
}
