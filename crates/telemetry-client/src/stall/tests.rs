//! A watch on a clock that tests move.

use prost::Message;
use telemetry_core::{
    ManualClock,
    emit::{Budget, Keep, RecorderConfig},
    wire::FRAME_HEADER_BYTES,
};
use telemetry_proto::TelemetryEvent;
use telemetry_proto::telemetry_value::Value;

use super::*;

/// A recorder, its clock, and a heartbeat on both.
struct Patient {
    clock: Arc<ManualClock>,
    recorder: Arc<Recorder>,
    heart: Heartbeat,
}

impl Patient {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::new(1_000));
        clock.advance(Duration::from_secs(1));
        let config = RecorderConfig::default();
        let recorder = Arc::new(Recorder::new(config, Arc::clone(&clock) as _).unwrap());
        let heart = Heartbeat::new(Arc::clone(&recorder), DEFAULT_STALL_LIMIT);
        heart.beat();
        heart.look();
        Self {
            clock,
            recorder,
            heart,
        }
    }

    /// Lets time pass, with a look after each period.
    fn pass(&self, milliseconds: u64) {
        let mut left = milliseconds;
        while left > 0 {
            let step = left.min(125);
            self.clock.advance(Duration::from_millis(step));
            self.heart.look();
            left -= step;
        }
    }

    /// What was emitted since the last time.
    fn emitted(&self) -> Vec<TelemetryEvent> {
        let mut framed = Vec::new();
        let budget = Budget {
            events: 100,
            bytes: 1 << 20,
        };
        self.recorder.frame_out(&mut framed, budget, Keep::Nothing);
        let mut events = Vec::new();
        let mut rest = &framed[..];
        while let Some(length) = rest.get(1..FRAME_HEADER_BYTES) {
            let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
            let (message, after) = rest[FRAME_HEADER_BYTES..].split_at(length);
            events.push(TelemetryEvent::decode(message).unwrap());
            rest = after;
        }
        events
    }

    /// The last part of the names of what was emitted since the last time.
    fn names(&self) -> Vec<String> {
        let last = |event: TelemetryEvent| event.event_parts.last().unwrap().clone();
        self.emitted().into_iter().map(last).collect()
    }

    fn stalled_ms(&self) -> u64 {
        self.recorder.report().stalled_ms
    }
}

fn duration_ms(event: &TelemetryEvent) -> i64 {
    match event.measurements["duration"].value {
        Some(Value::IntValue(nanos)) => nanos / 1_000_000,
        ref other => panic!("{other:?}"),
    }
}

#[test]
fn what_beats_has_not_stalled() {
    let patient = Patient::new();
    for _ in 0..50 {
        patient.pass(100);
        assert!(patient.heart.beat());
    }
    assert!(patient.names().is_empty());
}

#[test]
fn a_stall_is_told_of_while_it_lasts_and_at_its_end() {
    let patient = Patient::new();
    let spans = patient.recorder.open_spans();
    let outer = spans.open("outer", 0, 0, 1);
    let inner = spans.open("inner", 0, 0, 2);
    patient.pass(400);
    assert!(patient.names().is_empty());
    assert_eq!(patient.stalled_ms(), 0);
    patient.pass(2_000);
    let started = patient.emitted();
    assert_eq!(started.len(), 1);
    assert_eq!(started[0].event_parts, ["python", "stall", "started"]);
    assert_eq!(started[0].metadata["operation"], "inner");
    assert_eq!(started[0].metadata["open_spans"], "inner,outer");
    let stalled = patient.stalled_ms();
    assert!((2_000..=2_400).contains(&stalled), "{stalled}");
    assert_eq!(patient.recorder.report().open_spans, 2);

    spans.close(inner);
    spans.close(outer);
    patient.pass(600);
    patient.heart.beat();
    patient.pass(125);
    let ended = patient.emitted();
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0].event_parts, ["python", "stall", "ended"]);
    assert_eq!(ended[0].metadata["operation"], "inner");
    assert_eq!(duration_ms(&ended[0]), 3_000);
    assert_eq!(patient.stalled_ms(), 0);
    assert_eq!(patient.recorder.report().open_spans, 0);
}

#[test]
fn without_spans_a_stall_names_none() {
    let patient = Patient::new();
    patient.pass(700);
    let started = patient.emitted();
    assert_eq!(started.len(), 1);
    assert!(started[0].metadata.is_empty());
}

#[test]
fn sixteen_spans_are_named_at_most_and_their_names_are_bounded() {
    let patient = Patient::new();
    let slots: Vec<_> = (0..20_u64)
        .map(|i| {
            let name = format!("{i:02}{}", "x".repeat(200));
            patient.recorder.open_spans().open(&name, 0, 0, i)
        })
        .collect();
    patient.pass(700);
    let named = patient.emitted()[0].metadata["open_spans"].clone();
    assert!(named.len() <= telemetry_core::catalog::MAX_VALUE_BYTES && named.len() > 900);
    assert!(named.split(',').all(|name| name.len() == 96), "{named}");
    for slot in slots {
        patient.recorder.open_spans().close(slot);
    }
    patient.heart.beat();
    patient.pass(125);
    for i in 0..20 {
        let _slot = patient.recorder.open_spans().open("short", 0, 0, i);
    }
    patient.pass(700);
    let events = patient.emitted();
    let started = events.last().unwrap();
    assert_eq!(started.metadata["open_spans"].split(',').count(), 16);
}

#[test]
fn a_watch_that_was_late_itself_says_nothing() {
    let patient = Patient::new();
    patient.pass(100);
    patient.clock.advance(Duration::from_secs(60));
    patient.heart.look();
    patient.pass(450);
    assert!(patient.names().is_empty(), "it had no time to beat again");
    patient.pass(300);
    let started = patient.names();
    assert_eq!(started, ["started"], "it had, and did not");
}

#[test]
fn a_process_that_is_stopped_right_after_its_first_beat_has_not_stalled() {
    let patient = Patient::new();
    patient.heart.stamped.store(0, Ordering::Relaxed);
    *patient.heart.lock() = Watch::default();
    patient.heart.look();
    patient.heart.beat();
    patient.clock.advance(Duration::from_secs(2));
    patient.heart.look();
    patient.heart.beat();
    patient.pass(400);
    assert!(patient.names().is_empty());
}

#[test]
fn before_the_first_beat_and_after_the_end_nothing_is_watched() {
    let patient = Patient::new();
    patient.heart.stamped.store(0, Ordering::Relaxed);
    patient.pass(5_000);
    assert!(patient.names().is_empty());
    patient.heart.beat();
    patient.heart.end();
    assert!(!patient.heart.beat());
    patient.pass(5_000);
    assert!(patient.names().is_empty());
}

#[test]
fn the_end_is_the_end_of_a_stall() {
    let patient = Patient::new();
    patient.pass(1_000);
    patient.heart.end();
    patient.heart.end();
    assert_eq!(patient.names(), ["started", "ended"]);
    assert_eq!(patient.stalled_ms(), 0);
}

#[test]
fn a_limit_below_the_time_between_beats_is_raised() {
    let recorder = Arc::clone(&Patient::new().recorder);
    let heart = Heartbeat::new(recorder, Duration::from_millis(1));
    assert_eq!(heart.limit, nanos(MIN_STALL_LIMIT));
}
