//! When a flush may say that everything left: once it is in the socket, and not before.

use std::sync::Arc;
use std::time::{Duration, Instant};

use telemetry_client::backend::{Backend, StreamBackend};
use telemetry_client::serve::ServeConfig;
use telemetry_core::{
    Address, Outcome,
    emit::{Fields, Recorder},
};

use crate::gated::{Gate, Gated};
use crate::manager::{Manager, Stream};
use crate::streams::until;
use crate::{PATIENCE, Worker, private_directory, recorder};

/// What a manager with such a window takes at once; more than a socket holds.
const WIDE: u32 = 16 * 1024 * 1024;

/// A stream without limits whose connection can be told not to read.
pub(crate) async fn gated_stream(worker: &Worker) -> (Manager, Stream, Gate) {
    let (io, gate) = Gated::connect(&worker.socket()).await;
    let mut builder = h2::client::Builder::new();
    builder
        .initial_window_size(WIDE)
        .initial_connection_window_size(WIDE);
    let manager = Manager::with(builder, io).await;
    let stream = manager.stream().await;
    (manager, stream, gate)
}

/// Emits events of 32 KB each.
pub(crate) fn emit_large(recorder: &Recorder, count: usize) {
    let site = recorder.callsite("tool.result_size").expect("valid");
    let text = "x".repeat(1_000);
    let keys: Vec<_> = (0..32).map(|n| format!("k{n}")).collect();
    let metadata: Vec<_> = keys.iter().map(|key| (&**key, &*text)).collect();
    let fields = Fields {
        metadata: &metadata,
        ..Fields::default()
    };
    for _ in 0..count {
        assert_eq!(recorder.record(&site, &fields), Outcome::Accepted);
    }
}

async fn settle(recorder: &Arc<Recorder>, timeout: Duration) -> bool {
    let recorder = Arc::clone(recorder);
    tokio::task::spawn_blocking(move || recorder.settle(timeout))
        .await
        .expect("no panic")
}

#[tokio::test]
async fn a_flush_waits_until_a_manager_reads_what_does_not_fit_the_socket() {
    let worker = Worker::start();
    let (_manager, mut stream, gate) = gated_stream(&worker).await;
    stream.toggle(true);
    worker.emit_many(0..1);
    assert_eq!(stream.next_count().await, 0);
    gate.close();
    let begun = Instant::now();
    while settle(&worker.recorder, Duration::from_millis(50)).await {
        assert!(begun.elapsed() < PATIENCE, "the socket takes everything");
        emit_large(&worker.recorder, 1);
    }
    // HTTP/2 has it, the socket does not.
    assert_eq!(worker.recorder.queued(), 0);
    gate.open();
    assert!(settle(&worker.recorder, PATIENCE).await);
    worker.emit_many(7..8);
    assert_eq!(stream.next_count().await, 7);
    worker.recorder.snapshot().check().expect("balance");
}

#[tokio::test]
async fn what_was_flushed_is_in_the_socket_of_a_manager_that_reads_nothing() {
    let worker = Worker::start();
    let (_manager, mut stream, gate) = gated_stream(&worker).await;
    stream.toggle(true);
    worker.emit_many(0..1);
    assert_eq!(stream.next_count().await, 0);
    gate.close();
    for round in 0..20_i64 {
        let before = gate.unread();
        worker.emit_many(round * 10..round * 10 + 10);
        assert!(settle(&worker.recorder, PATIENCE).await);
        // Each event has its name and a number.
        assert!(gate.unread() >= before + 10 * 30, "round {round}");
    }
    gate.open();
    for expected in 0..200 {
        assert_eq!(stream.next_count().await, expected);
    }
}

#[tokio::test]
async fn a_flush_with_no_stream_fails_at_once_if_there_is_anything_to_send() {
    let worker = Worker::start();
    assert!(worker.recorder.settle(Duration::MAX));
    worker.emit_many(0..1);
    assert!(!worker.recorder.settle(Duration::MAX));
}

#[tokio::test]
async fn a_flush_ends_with_the_stream_it_waits_for() {
    let worker = Worker::start();
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(0);
    let io = tokio::net::UnixStream::connect(worker.socket())
        .await
        .expect("a socket");
    let manager = Manager::with(builder, io).await;
    let mut stream = manager.stream().await;
    stream.toggle(true);
    worker.emit_many(0..1);
    until("it is handed over", || worker.recorder.queued() == 0).await;
    let recorder = Arc::clone(&worker.recorder);
    let flush = tokio::task::spawn_blocking(move || recorder.settle(Duration::MAX));
    until("somebody waits", || worker.recorder.asked() > 0).await;
    manager.connection.abort();
    drop((manager, stream));
    assert!(!flush.await.expect("no panic"));
    assert!(
        !worker.recorder.settle(Duration::MAX),
        "what was cut off was never written"
    );
}

#[tokio::test]
async fn a_flush_of_nothing_new_is_answered_and_sends_nothing() {
    let worker = Worker::start();
    let (_manager, mut stream, gate) = gated_stream(&worker).await;
    stream.hello();
    stream.toggle(true);
    assert!(stream.next().await.expect("a frame").hello.is_some());
    assert!(settle(&worker.recorder, PATIENCE).await);
    gate.close();
    let unread = gate.unread();
    for _ in 0..10 {
        assert!(settle(&worker.recorder, PATIENCE).await);
    }
    assert_eq!(gate.unread(), unread);
}

#[tokio::test]
async fn what_a_flush_counted_is_reported_although_no_event_was_sent() {
    let mut stream = crate::stream_config();
    stream.report_interval = Duration::MAX;
    let worker = Worker::streaming(stream);
    let manager = Manager::dial(&worker.socket()).await;
    let mut stream = manager.stream().await;
    stream.hello();
    stream.toggle(true);
    assert_eq!(stream.next_report().await.emitted, 0);
    worker.recorder.callsite("not a name").expect_err("no name");
    assert!(settle(&worker.recorder, PATIENCE).await);
    assert_eq!(stream.next_report().await.emitted, 1);
}

#[test]
fn no_duration_is_too_long() {
    let directory = private_directory();
    let address = Address::Unix(directory.path().join("worker.sock"));
    let mut config = ServeConfig::default();
    config.stream.first_control_wait = Duration::MAX;
    config.stream.hello_wait = Duration::MAX;
    config.stream.batch_delay = Duration::MAX;
    config.stream.report_interval = Duration::MAX;
    config.limits.handshake_timeout = Duration::MAX;
    config.limits.keep_alive_interval = Duration::MAX;
    config.limits.keep_alive_timeout = Duration::MAX;
    let recorder = recorder();
    let backend =
        StreamBackend::serve(&address, Arc::clone(&recorder), config).expect("a free socket");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let reading = runtime.spawn(async move {
        let manager = Manager::dial(&directory.path().join("worker.sock")).await;
        let mut stream = manager.stream().await;
        stream.hello();
        stream.toggle(true);
        let (events, status) = stream.rest().await;
        (events.len(), status)
    });
    let begun = Instant::now();
    // Without a stream a flush does not wait, and the queue would only fill.
    while !recorder.has_stream() {
        assert!(begun.elapsed() < PATIENCE);
        std::thread::yield_now();
    }
    while !backend.flush(Duration::MAX) || recorder.snapshot().sent < 3 {
        assert!(begun.elapsed() < PATIENCE);
        emit_large(&recorder, 1);
    }
    backend.shutdown(Duration::MAX).check().expect("balance");
    let (messages, status) = runtime.block_on(reading).expect("no panic");
    assert!(messages >= 5, "{messages}");
    assert_eq!(status, "0");
}
