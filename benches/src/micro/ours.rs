//! Emitting through the handle that a program has: kept, switched off, and as a span.

use std::hint::black_box;
use std::ops::Range;
use std::sync::Arc;

use telemetry_client::backend::{Backend, StreamBackend};
use telemetry_client::serve::StreamConfig;
use telemetry_client::{EventHandle, Operation, Span, Telemetry};
use telemetry_core::{
    Outcome, SystemClock,
    emit::{Budget, QueueLimits, Recorder, RecorderConfig, SamplingRule},
    rules::{WireAction, WireRule, WorkerRules},
    wire::Control,
};

use crate::measure::Batches;
use crate::peers::{ID, TOOLS};

/// A worker's telemetry whose queue is emptied by hand, where a stream would empty it.
pub(crate) struct Worker {
    recorder: Arc<Recorder>,
    telemetry: Telemetry,
    stop: EventHandle,
}

impl Worker {
    /// With the default limits.
    pub(crate) fn new() -> Self {
        Self::with_config(RecorderConfig::default())
    }

    /// With a queue of `events`.
    pub(crate) fn with_queue(events: usize) -> Self {
        let queue = QueueLimits::new(events, events * 1_024);
        let mut config = RecorderConfig::default();
        config.queue = queue;
        Self::with_config(config)
    }

    fn with_config(config: RecorderConfig) -> Self {
        let clock = Arc::new(SystemClock::new());
        let recorder = Arc::new(Recorder::new(config, clock).expect("a valid policy"));
        let (backend, _service) =
            StreamBackend::mounted(Arc::clone(&recorder), StreamConfig::default());
        let telemetry = Telemetry::builder().backend(Arc::new(backend)).build();
        let stop = telemetry.event("tool.execution.stop");
        Self {
            recorder,
            telemetry,
            stop,
        }
    }

    /// Under a policy of `globs` patterns that do not match.
    pub(crate) fn with_globs(globs: usize) -> Self {
        let worker = Self::new();
        let patterns: Vec<_> = (0..globs).map(|n| format!("other{n}.*")).collect();
        for patterns in patterns.chunks(64) {
            let rule = SamplingRule::new(0.5, patterns.to_vec());
            worker.apply(&Control::Sampling(rule));
        }
        worker
    }

    /// Under 256 rules with 1,024 globs, of which one is about the event and says what becomes of it.
    pub(crate) fn with_rules(action: WireAction) -> Self {
        let worker = Self::new();
        let others = (1..256_u32).map(|number| {
            let globs = [
                format!("other{number}.*"),
                format!("tool.other{number}.*"),
                format!("*.other{number}"),
                format!("tool.*.other{number}"),
            ];
            WireRule::new(number, format!("other-{number}"), globs, WireAction::Drop)
        });
        let globs = ["tool.execution.*", "a", "b", "c"];
        let own = WireRule::new(0, "own", globs, action);
        let rules = others.chain([own]).collect();
        worker.apply(&Control::Rules(WorkerRules::new(1, rules)));
        worker
    }

    /// Switched off.
    pub(crate) fn disabled() -> Self {
        let worker = Self::new();
        worker.apply(&Control::Toggle { enabled: false });
        worker
    }

    fn apply(&self, control: &Control) {
        let backend: &Arc<dyn Backend> = self.telemetry.backend();
        backend.apply(control).expect("a valid control");
    }

    /// One event: two measurements, two metadata entries, a correlation id.
    pub(crate) fn emit(&self, run: usize) -> Outcome {
        self.stop.emit(
            &[("duration", run.into()), ("count", 1_i64.into())],
            &[("tool", TOOLS[run % 4]), ("operation", "read")],
            ID,
        )
    }

    /// Takes everything out of the queue, into `frames`; how many events there were.
    pub(crate) fn take(&self, frames: &mut Vec<u8>) -> usize {
        frames.clear();
        let all = Budget {
            events: usize::MAX,
            bytes: usize::MAX,
        };
        self.recorder.drain_frames(frames, all)
    }
}

/// An event that is kept.
pub(crate) struct Kept {
    worker: Worker,
    /// What the program is doing, so that the event has the ids of a span.
    span: Option<Span>,
    frames: Vec<u8>,
}

impl Kept {
    /// Emits to `worker`.
    pub(crate) fn new(worker: Worker) -> Self {
        Self {
            worker,
            span: None,
            frames: room(),
        }
    }

    /// The same within a span.
    pub(crate) fn in_span(worker: Worker) -> Self {
        let span = worker.telemetry.span("tool.execution").start();
        let mut kept = Self {
            span: Some(span),
            ..Self::new(worker)
        };
        kept.drain();
        kept
    }
}

impl Batches for Kept {
    fn run(&mut self, numbers: Range<usize>) {
        let _entered = self.span.as_ref().map(Span::enter);
        for run in numbers {
            let outcome = self.worker.emit(black_box(run));
            assert_eq!(outcome, Outcome::Accepted, "nothing is dropped");
        }
    }

    fn drain(&mut self) {
        self.worker.take(&mut self.frames);
    }
}

/// An event while telemetry is switched off.
pub(crate) struct Disabled(pub(crate) Worker);

impl Batches for Disabled {
    fn run(&mut self, numbers: Range<usize>) {
        for run in numbers {
            telemetry_client::emit!(
                self.0.stop,
                &[("duration", black_box(run).into()), ("count", 1_i64.into())],
                &[("tool", TOOLS[run % 4]), ("operation", "read")],
                ID,
            );
        }
    }

    fn drain(&mut self) {}
}

/// A span with two metadata entries: two events.
pub(crate) struct Spans {
    worker: Worker,
    operation: Operation,
    frames: Vec<u8>,
    /// Spans since the last drain.
    made: usize,
}

impl Spans {
    /// Emits to a worker with room for both events of every span.
    pub(crate) fn new() -> Self {
        let worker = Worker::with_queue(2_048);
        Self {
            operation: worker.telemetry.operation("tool.execution"),
            worker,
            frames: room(),
            made: 0,
        }
    }
}

impl Batches for Spans {
    fn run(&mut self, numbers: Range<usize>) {
        self.made += numbers.len();
        for run in numbers {
            let run = black_box(run);
            let span = self.operation.span();
            span.metadata("tool", TOOLS[run % 4])
                .metadata("operation", "read")
                .start()
                .finish();
        }
    }

    fn drain(&mut self) {
        let events = self.worker.take(&mut self.frames);
        assert_eq!(events, 2 * self.made, "nothing is dropped");
        self.made = 0;
    }
}

/// Room for what a drain takes out, of one size: how large it gets in the end must not depend on the batch,
/// or the allocator's calls would look like those of an emit.
fn room() -> Vec<u8> {
    Vec::with_capacity(4 << 20)
}
