//! What one writes without us: the generated message, its encoding, a bounded queue.

use std::collections::HashMap;
use std::hint::black_box;
use std::ops::Range;
use std::time::{SystemTime, UNIX_EPOCH};

use crossbeam_queue::ArrayQueue;
use prost::Message;
use telemetry_proto::telemetry_value::Value;
use telemetry_proto::{TelemetryEvent, TelemetryValue};

use super::{ID, TOOLS};
use crate::measure::Batches;

/// A queue of encoded messages.
pub(crate) struct Naive {
    queue: ArrayQueue<Vec<u8>>,
}

impl Naive {
    /// With an empty queue as long as ours.
    pub(crate) fn new() -> Self {
        Self::with_capacity(1_024)
    }

    /// With an empty queue of `capacity` events.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self {
            queue: ArrayQueue::new(capacity),
        }
    }

    /// Puts one event into the queue; whoever calls it has seen to it that there is room.
    pub(crate) fn emit(&self, run: usize) {
        let pushed = self.queue.push(message(run).encode_to_vec());
        assert!(pushed.is_ok(), "the queue is large enough");
    }

    /// Empties the queue; how many events there were.
    pub(crate) fn take(&self) -> usize {
        std::iter::from_fn(|| self.queue.pop()).count()
    }
}

impl Batches for Naive {
    fn run(&mut self, numbers: Range<usize>) {
        for run in numbers {
            self.emit(black_box(run));
        }
    }

    fn drain(&mut self) {
        self.take();
    }
}

/// The event of every comparison, as the generated type.
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
