//! How events share frames, and that nothing which is asked for waits for more of them.

use std::sync::Arc;
use std::time::Duration;

use telemetry_client::serve::ServeConfig;
use telemetry_core::wire::FrameSplitter;

use crate::manager::{Manager, Stream};
use crate::{PATIENCE, Worker};

/// A worker whose events gather for longer than any test waits, with a stream on which the first
/// event has left: it was alone, so it left at once.
async fn gathering() -> (Worker, Manager, Stream) {
    let mut serve = ServeConfig::default();
    serve.stream.batch_delay = Duration::from_secs(3_600);

    let worker = Worker::with(serve);
    let manager = Manager::dial(&worker.socket()).await;
    let mut stream = manager.stream().await;
    stream.toggle(true);
    worker.emit_many(0..1);
    assert_eq!(stream.next_count().await, 0);
    (worker, manager, stream)
}

/// Messages in the next DATA frame.
async fn next_frame(stream: &mut Stream) -> usize {
    let chunk = tokio::time::timeout(PATIENCE, stream.body.data()).await;
    let chunk = chunk
        .expect("a frame in time")
        .expect("data")
        .expect("no error");
    let mut messages = 0;
    FrameSplitter::new(1 << 20)
        .feed(&chunk, |_| messages += 1)
        .expect("whole messages");
    messages
}

#[tokio::test]
async fn a_flush_sends_what_has_gathered_in_one_frame() {
    let (worker, _manager, mut stream) = gathering().await;
    worker.emit_many(1..4);
    assert_eq!(worker.recorder.queued(), 3);
    let recorder = Arc::clone(&worker.recorder);
    let flushed = tokio::task::spawn_blocking(move || recorder.wait_drained(PATIENCE));
    assert_eq!(next_frame(&mut stream).await, 3);
    assert!(flushed.await.expect("no panic"));
}

#[tokio::test]
async fn a_batch_leaves_without_being_asked_for() {
    let (worker, _manager, mut stream) = gathering().await;
    worker.emit_many(1..900);
    for expected in 1..512 {
        assert_eq!(stream.next_count().await, expected);
    }
    worker.recorder.snapshot().check().expect("balance");
}

#[tokio::test]
async fn an_end_sends_what_has_gathered() {
    let (worker, _manager, mut stream) = gathering().await;
    worker.emit_many(1..4);
    let server = worker.server;
    let closed = tokio::task::spawn_blocking(move || server.close(PATIENCE));
    let (events, status) = stream.rest().await;
    assert_eq!((events.len(), status.as_str()), (3, "0"));
    assert!(closed.await.expect("no panic"));
}

#[tokio::test]
async fn what_has_gathered_is_there_for_a_newer_stream() {
    let (worker, manager, mut stream) = gathering().await;
    worker.emit_many(1..4);
    let mut newer = manager.stream().await;
    newer.toggle(true);
    for expected in 1..4 {
        assert_eq!(newer.next_count().await, expected);
    }
    let (events, status) = stream.rest().await;
    assert_eq!((events.len(), status.as_str()), (0, "10"));
}

#[tokio::test]
async fn events_leave_by_themselves_after_the_delay() {
    let worker = Worker::start();
    let manager = Manager::dial(&worker.socket()).await;
    let mut stream = manager.stream().await;
    stream.toggle(true);
    for count in 0..20 {
        worker.emit_many(count..count + 1);
        assert_eq!(stream.next_count().await, count);
    }
}
