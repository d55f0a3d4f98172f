//! The end of a process that a manager announces: what an emit counted is out before it returns.

use std::sync::Arc;
use std::time::{Duration, Instant};

use telemetry_core::{
    Outcome,
    emit::{PolicySpec, Recorder, SamplingRule, WRITE_THROUGH_WAIT},
    ledger::Reason,
    wire::{Control, PROTOCOL_REVISION},
};
use telemetry_proto::WorkerReport;

use crate::gated::Gate;
use crate::manager::{Manager, Stream, count_of};
use crate::settle::{emit_large, gated_stream};
use crate::{PATIENCE, Worker, stream_config};

/// A worker that is to write through; what has gathered before would gather for ever.
fn worker() -> Worker {
    let mut stream = stream_config();
    stream.batch_delay = Duration::from_secs(3_600);
    stream.report_interval = Duration::from_secs(3_600);

    Worker::streaming(stream)
}

/// A stream whose manager has said hello and what it wants.
async fn greeted(worker: &Worker) -> (Manager, Stream, Gate) {
    let (manager, mut stream, gate) = gated_stream(worker).await;
    stream.hello_of(PROTOCOL_REVISION);
    stream.policy(PolicySpec::default());
    stream.next_report().await;
    (manager, stream, gate)
}

/// A stream on which write-through was announced.
async fn drained(worker: &Worker) -> (Manager, Stream, Gate) {
    let (manager, mut stream, gate) = greeted(worker).await;
    stream.control(&Control::Drain);
    promise(&mut stream).await;
    (manager, stream, gate)
}

/// The next report that makes the promise.
async fn promise(stream: &mut Stream) -> WorkerReport {
    loop {
        let report = stream.next_report().await;
        if report.written_through {
            return report;
        }
    }
}

/// Emits from a thread that may wait.
async fn emit(worker: &Worker, name: &'static str) -> Outcome {
    let recorder = Arc::clone(&worker.recorder);
    let emit = move || match recorder.callsite(name) {
        Ok(site) => recorder.record(&site, &telemetry_core::emit::Fields::default()),
        Err(_) => Outcome::Dropped(Reason::InvalidName),
    };
    tokio::task::spawn_blocking(emit).await.expect("no panic")
}

#[tokio::test]
async fn a_drain_sends_what_is_queued_and_promises_although_nothing_is_emitted() {
    let worker = worker();
    let (_manager, mut stream, _gate) = greeted(&worker).await;
    worker.emit_many(0..1);
    assert_eq!(stream.next_count().await, 0);
    worker.emit_many(1..4);
    assert_eq!(worker.recorder.queued(), 3);
    stream.control(&Control::Drain);
    for expected in 1..4 {
        let event = stream.next().await.expect("an event");
        assert_eq!(count_of(&event), Some(expected));
    }
    let report = stream.next_report().await;
    assert!(report.written_through && !report.r#final);
    assert_eq!((report.sent, report.position), (4, Some(4)));
}

#[tokio::test]
async fn an_emit_that_returned_is_in_the_socket_with_its_report() {
    let worker = worker();
    let (_manager, mut stream, gate) = drained(&worker).await;
    gate.close();
    for count in 1..=20 {
        let before = gate.unread();
        assert_eq!(emit(&worker, "tool.result_size").await, Outcome::Accepted);
        // An event and a report.
        assert!(gate.unread() > before + 60, "event {count}");
    }
    gate.open();
    for count in 1..=20 {
        let event = stream.next().await.expect("an event");
        assert_eq!(event.sequence, count);
        let report = stream.next_report().await;
        assert!(report.written_through);
        assert_eq!((report.emitted, report.position), (count, Some(count)));
    }
}

#[tokio::test]
async fn a_drop_that_returned_is_in_a_report() {
    let worker = worker();
    let (_manager, mut stream, gate) = greeted(&worker).await;
    let mut policy = PolicySpec::default();
    policy.deny = vec!["tool.denied".into()];
    policy.sampling = vec![SamplingRule::new(0.0, ["tool.rare"])];

    stream.policy(policy);
    stream.control(&Control::Drain);
    promise(&mut stream).await;
    let drops = [
        ("tool.denied", Reason::Filtered),
        ("tool.rare", Reason::SampledOut),
        ("not a name", Reason::InvalidName),
    ];
    for (emitted, (name, reason)) in (1..).zip(drops) {
        gate.close();
        let before = gate.unread();
        assert_eq!(emit(&worker, name).await, Outcome::Dropped(reason));
        assert!(gate.unread() > before, "{name}");
        gate.open();
        let report = promise(&mut stream).await;
        assert_eq!(report.emitted, emitted);
        let counted = report
            .dropped
            .iter()
            .find(|it| it.reason == reason.number());
        assert_eq!(counted.map(|it| it.count), Some(1), "{name}");
    }
}

/// How long so many emits take.
async fn time(recorder: &Arc<Recorder>, emits: usize) -> Duration {
    let recorder = Arc::clone(recorder);
    let emit = move || {
        let site = recorder.callsite("tool.result_size").expect("valid");
        let begun = Instant::now();
        for _ in 0..emits {
            recorder.record(&site, &telemetry_core::emit::Fields::default());
        }
        begun.elapsed()
    };
    tokio::task::spawn_blocking(emit).await.expect("no panic")
}

#[tokio::test]
async fn a_manager_that_does_not_read_costs_one_wait_and_the_promise() {
    let worker = worker();
    let (_manager, mut stream, gate) = drained(&worker).await;
    gate.close();
    let recorder = Arc::clone(&worker.recorder);
    let fill = move || {
        while recorder.is_written_through() {
            emit_large(&recorder, 1);
        }
    };
    tokio::task::spawn_blocking(fill).await.expect("no panic");
    let emits = 500;
    let took = time(&worker.recorder, emits).await;
    assert!(took < WRITE_THROUGH_WAIT * 100, "{took:?}");
    gate.open();
    // It had to give up, so it said so.
    while stream.next_report().await.written_through {}
    // Once the manager reads, what is emitted next is written in time, and that is noticed. Those who
    // did not wait until then may be behind; one that the promise held for is in the socket.
    let begun = Instant::now();
    loop {
        let was_kept = worker.recorder.is_written_through();
        emit(&worker, "tool.result_size").await;
        if was_kept && worker.recorder.is_written_through() {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "it never recovered");
    }
    let emitted = worker.recorder.report().emitted;
    // A report that was under way may say that it is counted and not yet sent.
    loop {
        let report = promise(&mut stream).await;
        assert!(report.emitted <= emitted);
        if (report.emitted, report.queued) == (emitted, 0) {
            break;
        }
    }
    worker.recorder.snapshot().check().expect("balance");
}

#[tokio::test]
async fn the_mode_ends_with_its_stream() {
    let worker = worker();
    let (manager, stream, _gate) = drained(&worker).await;
    manager.connection.abort();
    drop((manager, stream));
    let (_manager, mut stream, gate) = greeted(&worker).await;
    assert!(!worker.recorder.is_written_through());
    worker.emit_many(0..1);
    assert_eq!(stream.next_count().await, 0);
    gate.close();
    // They gather again, and nobody waits for them.
    worker.emit_many(1..4);
    assert_eq!(worker.recorder.queued(), 3);
}

#[tokio::test]
async fn a_manager_without_a_hello_cannot_ask_for_it() {
    let worker = worker();
    let (_manager, mut stream, _gate) = gated_stream(&worker).await;
    stream.control(&Control::Drain);
    stream.toggle(true);
    worker.emit_many(0..1);
    assert_eq!(stream.next_count().await, 0);
    worker.emit_many(1..4);
    assert!(!worker.recorder.is_written_through());
    assert_eq!(worker.recorder.queued(), 3);
}

#[tokio::test]
async fn a_worker_that_ends_in_the_mode_still_has_its_last_word() {
    let worker = worker();
    let (_manager, mut stream, _gate) = drained(&worker).await;
    emit(&worker, "tool.result_size").await;
    let recorder = Arc::clone(&worker.recorder);
    let ending = tokio::task::spawn_blocking(move || worker.server.close(PATIENCE));
    recorder.close();
    let (events, status) = stream.rest().await;
    assert!(ending.await.expect("no panic"));
    assert_eq!(status, "0");
    let last = events.last().and_then(|event| event.report.as_ref());
    let last = last.expect("a report at the end");
    assert_eq!((last.r#final, last.emitted, last.sent), (true, 1, 1));
}
