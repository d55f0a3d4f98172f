//! The pipeline from bytes to handler.

mod observing;

use prost::Message;
use std::sync::Arc;
use telemetry_core::{
    Source, SystemClock, ValueRef,
    catalog::{Catalog, REDACTED},
    ledger::{Note, Reason},
};
use telemetry_proto::telemetry_value::Value;
use telemetry_proto::{TelemetryEvent, TelemetryValue, WorkerHello};

use super::*;
use crate::dispatch::MemoryHandler;

struct Rig {
    pipeline: Pipeline,
    seen: MemoryHandler,
    quarantine: Arc<Quarantine>,
}

fn rig() -> Rig {
    let source = Source {
        pool_name: Some("default".into()),
        worker_id: Some("w1".into()),
        ..Source::of_node("n1")
    };
    let catalog = Arc::clone(Catalog::builtin());
    let clock = Arc::new(SystemClock::new());
    let dispatcher = Dispatcher::new(catalog, Source::of_node("n1"), clock);
    let seen = MemoryHandler::new(100);
    dispatcher
        .attach("seen", "**", seen.clone())
        .expect("first of its id");
    let quarantine = Arc::new(Quarantine::default());
    let pipeline = Pipeline::new(dispatcher, source, Arc::clone(&quarantine));
    Rig {
        pipeline,
        seen,
        quarantine,
    }
}

fn event(name: &str) -> TelemetryEvent {
    TelemetryEvent {
        event_parts: name.split('.').map(str::to_owned).collect(),
        timestamp_ns: 42,
        ..TelemetryEvent::default()
    }
}

fn float(value: f64) -> TelemetryValue {
    TelemetryValue {
        value: Some(Value::FloatValue(value)),
    }
}

fn int(value: i64) -> TelemetryValue {
    TelemetryValue {
        value: Some(Value::IntValue(value)),
    }
}

#[test]
fn a_known_event_arrives_enriched() {
    let mut rig = rig();
    let mut event = event("tool.execution.stop");
    event.measurements.insert("duration".into(), int(7));
    event.metadata.insert("tool".into(), "search".into());
    event.metadata.insert("worker_id".into(), "liar".into());
    event.metadata.insert("own_key".into(), "x".into());
    assert_eq!(
        rig.pipeline.process(&event.encode_to_vec()),
        Frame::Dispatched
    );
    let seen = rig.seen.events().remove(0);
    assert_eq!(seen.name(), "snakepit.python.tool.execution.stop");
    assert_eq!(seen.measurement("duration"), Some(ValueRef::Int(7)));
    for (key, text) in [
        ("node", "n1"),
        ("pool_name", "default"),
        ("worker_id", "w1"),
    ] {
        assert_eq!(seen.metadata(key), Some(text), "{key}");
    }
    assert_eq!(seen.metadata("own_key"), Some("x"));
    assert_eq!(seen.metadata("timestamp_ns"), Some("42"));
    assert_eq!(rig.pipeline.snapshot().check(), Ok(()));
}

#[test]
fn an_unknown_event_is_rejected_and_quarantined_with_a_suggestion() {
    let mut rig = rig();
    let bytes = event("tool.execution.stopp").encode_to_vec();
    assert_eq!(
        rig.pipeline.process(&bytes),
        Frame::Rejected(Reason::UnknownEvent)
    );
    let entry = rig.quarantine.list().remove(0);
    assert_eq!(entry.suggestion.as_deref(), Some("tool.execution.stop"));
    assert_eq!(
        rig.pipeline.snapshot().rejected.get(Reason::UnknownEvent),
        1
    );
}

#[test]
fn an_event_that_only_a_manager_may_emit_is_unknown() {
    let mut rig = rig();
    let bytes = event("pool.status").encode_to_vec();
    assert_eq!(
        rig.pipeline.process(&bytes),
        Frame::Rejected(Reason::UnknownEvent)
    );
    assert_eq!(rig.seen.seen(), 0);
}

#[test]
fn an_unknown_or_empty_measurement_is_left_out_and_the_event_lives() {
    let mut rig = rig();
    let mut event = event("tool.execution.stop");
    event.measurements.insert("duration".into(), int(7));
    event.measurements.insert("no_such_key".into(), int(1));
    event
        .measurements
        .insert("bytes".into(), TelemetryValue { value: None });
    assert_eq!(
        rig.pipeline.process(&event.encode_to_vec()),
        Frame::Dispatched
    );
    assert_eq!(rig.seen.events().remove(0).measurements.len(), 1);
    assert_eq!(
        rig.pipeline.snapshot().notes.get(Note::UnknownMeasurement),
        2
    );
}

#[test]
fn a_number_that_is_none_rejects_the_event() {
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let mut rig = rig();
        let mut event = event("tool.execution.stop");
        event.measurements.insert("duration".into(), float(value));
        let bytes = event.encode_to_vec();
        assert_eq!(
            rig.pipeline.process(&bytes),
            Frame::Rejected(Reason::ValueRejected)
        );
        assert_eq!(rig.seen.seen(), 0);
    }
}

#[test]
fn bytes_that_are_no_event_are_counted_and_the_next_one_passes() {
    let mut rig = rig();
    for bytes in [&b"\xff\xff\xff"[..], b"\x0a\x02\xc3\x28", &[0x0a; 70_000]] {
        assert_eq!(
            rig.pipeline.process(bytes),
            Frame::Rejected(Reason::DecodeError)
        );
    }
    let bytes = event("tool.execution.stop").encode_to_vec();
    assert_eq!(rig.pipeline.process(&bytes), Frame::Dispatched);
    let snapshot = rig.pipeline.snapshot();
    assert_eq!(
        (
            snapshot.received,
            snapshot.rejected.get(Reason::DecodeError)
        ),
        (4, 3)
    );
    assert_eq!(snapshot.check(), Ok(()));
}

#[test]
fn long_texts_are_cut_and_secrets_of_a_stock_worker_hidden() {
    let mut rig = rig();
    let mut event = event("tool.execution.stop");
    event.metadata.insert("tool".into(), "x".repeat(5_000));
    event.metadata.insert("api_key".into(), "canary".into());
    event.correlation_id = "é".repeat(100);
    assert_eq!(
        rig.pipeline.process(&event.encode_to_vec()),
        Frame::Dispatched
    );
    let seen = rig.seen.events().remove(0);
    assert_eq!(seen.metadata("tool").map(str::len), Some(1_024));
    assert_eq!(seen.metadata("api_key"), Some(REDACTED));
    assert_eq!(seen.correlation_id.len(), 128);
    let notes = rig.pipeline.snapshot().notes;
    assert_eq!(
        (notes.get(Note::Truncated), notes.get(Note::Redacted)),
        (2, 1)
    );
}

#[test]
fn a_hello_is_handed_back_and_not_counted() {
    let mut rig = rig();
    let hello = WorkerHello {
        pid: 7,
        ..WorkerHello::default()
    };
    let frame = TelemetryEvent {
        hello: Some(hello.clone()),
        ..TelemetryEvent::default()
    };
    let bytes = frame.encode_to_vec();
    assert_eq!(
        rig.pipeline.process(&bytes),
        Frame::Hello(&hello.encode_to_vec())
    );
    assert_eq!(rig.pipeline.snapshot().received, 0);
}

#[test]
fn a_duplicate_is_noted_and_not_dispatched_again() {
    let mut rig = rig();
    let bytes = TelemetryEvent {
        sequence: 1,
        ..event("tool.execution.stop")
    }
    .encode_to_vec();
    assert_eq!(rig.pipeline.process(&bytes), Frame::Dispatched);
    assert_eq!(rig.pipeline.process(&bytes), Frame::Duplicate);
    assert_eq!(rig.seen.seen(), 1);
    assert_eq!(rig.pipeline.snapshot().notes.get(Note::Duplicate), 1);
}

#[test]
fn keys_that_cutting_makes_equal_arrive_once_whichever_comes_first() {
    let long = "k".repeat(65);
    let short = "k".repeat(64);
    for keys in [[&long, &short], [&short, &long]] {
        let mut rig = rig();
        let mut message = event("tool.execution.start").encode_to_vec();
        for key in keys {
            let mut more = TelemetryEvent::default();
            more.metadata.insert(key.clone(), "v".into());
            message.extend(more.encode_to_vec());
        }
        assert_eq!(rig.pipeline.process(&message), Frame::Dispatched);
        let metadata = rig.seen.events().remove(0).metadata;
        let arrived = metadata.iter().filter(|(key, _)| *key == short).count();
        assert_eq!(arrived, 1, "{metadata:?}");
    }
}

#[test]
fn handlers_come_and_go_between_two_messages_of_a_batch() {
    let Rig {
        mut pipeline, seen, ..
    } = rig();
    let dispatcher = pipeline.lane.dispatcher().clone();
    let bytes = event("tool.execution.stop").encode_to_vec();
    let late = MemoryHandler::new(10);
    let mut batch = pipeline.batch();
    batch.process(&bytes);
    dispatcher.attach("late", "*", late.clone()).expect("free");
    batch.process(&bytes);
    let info = dispatcher.list_handlers("").remove(0);
    assert_eq!((info.ledger.delivered, seen.seen()), (2, 2));
    assert!(dispatcher.detach("seen"));
    batch.process(&bytes);
    assert_eq!((seen.seen(), late.seen()), (2, 2));
    drop(batch);
    pipeline.process(&bytes);
    let info = dispatcher.list_handlers("").remove(0);
    assert_eq!((info.ledger.delivered, late.seen()), (3, 3));
    assert_eq!(pipeline.snapshot().dispatched, 4);
}

#[test]
fn a_pipeline_at_rest_keeps_no_handler_alive() {
    let mut rig = rig();
    let bytes = event("tool.execution.stop").encode_to_vec();
    let dispatcher = rig.pipeline.lane.dispatcher().clone();
    let held = Arc::new(());
    let inside = Arc::clone(&held);
    let handler = move |_: &EventRef<'_>| assert_eq!(Arc::strong_count(&inside), 2);
    dispatcher.attach("held", "*", handler).expect("free");
    rig.pipeline.process(&bytes);
    assert!(dispatcher.detach("held"));
    assert_eq!(Arc::strong_count(&held), 1);
}

#[test]
fn many_pipelines_count_into_one_handler_and_nothing_is_lost_when_they_end() {
    let Rig { pipeline, .. } = rig();
    let dispatcher = pipeline.lane.dispatcher().clone();
    let bytes = event("tool.execution.stop").encode_to_vec();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let source = Source::of_node("n1");
                    let mut one = Pipeline::new(dispatcher.clone(), source, Arc::default());
                    let mut batch = one.batch();
                    for _ in 0..10 {
                        assert_eq!(batch.process(&bytes), Frame::Dispatched);
                    }
                }
            });
        }
    });
    let info = dispatcher.list_handlers("").remove(0);
    assert_eq!(info.ledger.delivered, 800);
    info.ledger.check().expect("balanced");
}

#[test]
fn what_toggle_and_filter_do_not_want_is_counted_and_not_dispatched() {
    use telemetry_core::{emit::PolicySpec, rules::RuleTable};

    use crate::policy::{Enforcer, Told};
    let mut rig = rig();
    let call = event("python.call.start").encode_to_vec();
    let tool = event("tool.execution.start").encode_to_vec();
    let mut spec = PolicySpec::default();
    spec.deny = vec!["python.*".into()];
    let refused = Frame::Rejected(Reason::Policy);
    let enforcer = |spec: &PolicySpec| {
        let (table, problems) = RuleTable::compile(&spec.to_rules(1));
        assert_eq!(problems, []);
        Some(Enforcer::new(table, Told::Rate(1.0)))
    };
    rig.pipeline.enforce(enforcer(&spec));
    assert_eq!(rig.pipeline.process(&call), refused);
    assert_eq!(rig.pipeline.process(&tool), Frame::Dispatched);
    spec.enabled = false;
    rig.pipeline.enforce(enforcer(&spec));
    assert_eq!(rig.pipeline.process(&tool), refused);
    let unknown = event("no.such.event").encode_to_vec();
    let as_ever = Frame::Rejected(Reason::UnknownEvent);
    assert_eq!(rig.pipeline.process(&unknown), as_ever);
    rig.pipeline.enforce(None);
    assert_eq!(rig.pipeline.process(&call), Frame::Dispatched);
    let snapshot = rig.pipeline.snapshot();
    assert_eq!(snapshot.rejected.get(Reason::Policy), 2);
    snapshot.check().expect("M1 closes");
    assert_eq!(rig.seen.events().len(), 2);
}
