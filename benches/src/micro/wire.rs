//! Reading an event: ours through the pipeline of a session, and prost's decoder.

use std::hint::black_box;
use std::ops::Range;
use std::sync::Arc;

use prost::Message;
use telemetry_core::{
    EventRef, Source, SpanContext, SystemClock, ValueRef,
    catalog::Catalog,
    wire::{DecodeLimits, EventEncoder, append_sequence, decode_event, encode_event_parts},
};
use telemetry_proto::TelemetryEvent;
use telemetry_server::{
    dispatch::Dispatcher,
    pipeline::{Frame, Pipeline, Quarantine},
};

use crate::measure::{BATCH, Batches};
use crate::peers::{ID, TOOLS};

/// Different events, so that no branch predictor learns one by heart.
const DIFFERENT: usize = 64;
/// The first sequence: large, so that all have the same length.
const FIRST_SEQUENCE: u64 = 1 << 21;

/// Encoded events as a worker sends them, each with the next sequence.
struct Messages {
    /// Without a sequence.
    templates: Vec<Vec<u8>>,
    /// With one; what a batch reads.
    stamped: Vec<Vec<u8>>,
    next: u64,
}

impl Messages {
    fn new() -> Self {
        let names = [
            "tool.execution.stop",
            "python.call.stop",
            "tool.execution.exception",
        ];
        let template = |n: usize| {
            let mut encoder = EventEncoder::new();
            encoder.start(&encode_event_parts(names[n % names.len()]));
            encoder.measurement("duration", ValueRef::from(n * 7_919 + 1_000));
            encoder.measurement("count", 1_i64.into());
            encoder.metadata("tool", TOOLS[n % 4]);
            encoder.metadata("operation", "read");
            encoder.finish(1_700_000_000_000_000_000, ID, 1.0);
            encoder.span(&SpanContext::root(ID));
            encoder.bytes().to_vec()
        };
        let mut messages = Self {
            templates: (0..DIFFERENT).map(template).collect(),
            stamped: vec![Vec::new(); BATCH],
            next: FIRST_SEQUENCE,
        };
        messages.renew();
        messages
    }

    /// The next batch, as long as any may be.
    fn renew(&mut self) {
        let templates = self.templates.iter().cycle();
        for (stamped, template) in self.stamped.iter_mut().zip(templates) {
            stamped.clone_from(template);
            append_sequence(stamped, self.next);
            self.next += 1;
        }
    }

    /// The messages of a batch.
    fn batch(&self, numbers: Range<usize>) -> impl Iterator<Item = &[u8]> {
        let messages = self.stamped.iter().take(numbers.len());
        messages.map(|message| black_box(message.as_slice()))
    }
}

/// Decode, validate, enrich, dispatch to a handler.
pub(crate) struct Process {
    messages: Messages,
    pipeline: Pipeline,
}

impl Process {
    /// With a handler that looks at what an exporter of metrics does.
    pub(crate) fn new() -> Self {
        Self::with(look)
    }

    /// With a handler that reads every entry, as a log does.
    pub(crate) fn reading_all() -> Self {
        Self::with(read)
    }

    /// The pipeline of one session of a manager.
    fn with(handler: fn(&EventRef<'_>)) -> Self {
        let source = Source {
            pool_name: Some("tools".into()),
            worker_id: Some("tools-1".into()),
            python_pid: Some(4_242),
            ..Source::of_node("node-1")
        };
        let catalog = Arc::clone(Catalog::builtin());
        let clock = Arc::new(SystemClock::new());
        let dispatcher = Dispatcher::new(catalog, Source::of_node("node-1"), clock);
        dispatcher
            .attach("handler", "*", handler)
            .expect("the first of that name");
        let quarantine = Arc::new(Quarantine::default());
        Self {
            messages: Messages::new(),
            pipeline: Pipeline::new(dispatcher, source, quarantine),
        }
    }
}

/// What happened, when, and where: its measurements, and the node, pool, worker and process that the
/// manager knows.
fn look(event: &EventRef<'_>) {
    for (key, value) in event.measurements() {
        black_box((key, value));
    }
    let source = event.source();
    black_box((&source.node, &source.pool_name, &source.worker_id));
    black_box((source.python_pid, event.id(), event.timestamp_ns()));
    black_box((event.correlation_id(), event.span()));
}

/// All of it, the numbers among the metadata as text.
fn read(event: &EventRef<'_>) {
    for (key, value) in event.measurements() {
        black_box((key, value));
    }
    for (key, value) in event.metadata_iter() {
        black_box((key, value.as_str()));
    }
    black_box((event.name(), event.timestamp_ns(), event.correlation_id()));
}

impl Batches for Process {
    fn run(&mut self, numbers: Range<usize>) {
        let mut batch = self.pipeline.batch();
        for message in self.messages.batch(numbers) {
            let frame = batch.process(message);
            assert_eq!(frame, Frame::Dispatched, "nothing is refused");
        }
    }

    fn drain(&mut self) {
        self.messages.renew();
    }
}

/// Our decoder alone.
pub(crate) struct Decode {
    messages: Messages,
    limits: DecodeLimits,
}

impl Decode {
    /// With the default limits.
    pub(crate) fn new() -> Self {
        Self {
            messages: Messages::new(),
            limits: DecodeLimits::default(),
        }
    }
}

impl Batches for Decode {
    fn run(&mut self, numbers: Range<usize>) {
        for message in self.messages.batch(numbers) {
            let event = decode_event(message, &self.limits).expect("valid");
            black_box(&event);
        }
    }

    fn drain(&mut self) {
        self.messages.renew();
    }
}

/// prost's decoder alone.
pub(crate) struct ProstDecode(Messages);

impl ProstDecode {
    /// Of the same messages.
    pub(crate) fn new() -> Self {
        Self(Messages::new())
    }
}

impl Batches for ProstDecode {
    fn run(&mut self, numbers: Range<usize>) {
        for message in self.0.batch(numbers) {
            let event = TelemetryEvent::decode(message).expect("valid");
            black_box(&event);
        }
    }

    fn drain(&mut self) {
        self.0.renew();
    }
}
