//! How a worker ends: what still goes out, what is counted, what is left on disk.

use std::os::unix::fs::symlink;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use telemetry_client::Telemetry;
use telemetry_client::backend::StreamBackend;
use telemetry_client::serve::{ServeConfig, Server};
use telemetry_core::{Address, Outcome, emit::PolicySpec, ledger::Reason};

use crate::manager::{Manager, count_of};
use crate::settle::{emit_large, gated_stream};
use crate::streams::until;
use crate::{PATIENCE, Worker, private_directory, recorder};

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_worker_is_events_a_final_report_and_trailers() {
    let worker = Worker::start();
    let manager = Manager::dial(&worker.socket()).await;
    let mut stream = manager.stream().await;
    stream.hello();
    stream.policy(PolicySpec::default());
    // From here on the worker knows whom it talks to.
    assert!(stream.next().await.expect("a frame").hello.is_some());
    worker.emit_many(0..200);
    worker.recorder.close();
    let reader = tokio::spawn(async move { stream.rest().await });
    assert!(worker.server.close(PATIENCE));
    let (events, status) = reader.await.expect("the reader");
    assert_eq!(status, "0");
    assert_eq!(events.iter().filter_map(count_of).count(), 200);
    let last = events
        .last()
        .and_then(|event| event.report.as_ref())
        .expect("a report at the end");
    assert!(last.r#final);
    assert_eq!((last.sent, last.queued, last.emitted), (200, 0, 200));
    assert!(!worker.socket().exists(), "the socket file is gone");
    assert!(
        worker.server.close(PATIENCE),
        "a second close has nothing to do"
    );
    // What comes later than the last report still ends under a reason.
    assert_eq!(
        worker.emit("tool.result_size", 1),
        Outcome::Dropped(Reason::NotRunning)
    );
    let ledger = worker.recorder.snapshot();
    ledger.check().expect("balance");
    assert_eq!((ledger.emitted, ledger.sent), (201, 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_that_takes_nothing_does_not_delay_the_end() {
    let worker = Worker::start();
    let io = tokio::net::UnixStream::connect(worker.socket())
        .await
        .expect("a socket");
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(0);
    let manager = Manager::with(builder, io).await;
    let mut stream = manager.stream().await;
    stream.toggle(true);
    // The pump has one chunk in hand; what comes after it stays queued.
    worker.emit("tool.result_size", 0);
    while worker.recorder.snapshot().sent == 0 {
        tokio::task::yield_now().await;
    }
    worker.emit_many(0..1_000);
    worker.recorder.close();
    let begun = Instant::now();
    assert!(
        !worker.server.close(Duration::from_millis(100)),
        "it was not in time"
    );
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    let snapshot = worker.recorder.snapshot();
    assert_eq!(snapshot.queued, 0);
    assert!(snapshot.dropped.get(Reason::ShutdownDeadline) > 0);
    snapshot.check().expect("balance");
}

#[test]
fn a_server_that_closes_alone_keeps_what_is_queued() {
    let worker = Worker::start();
    worker.emit_many(0..5);
    assert!(worker.server.close(PATIENCE));
    assert_eq!(worker.recorder.queued(), 5);
    assert_eq!(worker.emit("tool.result_size", 5), Outcome::Accepted);
}

#[test]
fn the_ready_file_names_the_address_while_the_server_listens() {
    let directory = private_directory();
    let ready_file = directory.path().join("ready");
    let mut config = ServeConfig::default();
    config.ready_file = Some(ready_file.clone());
    let worker = Worker::with(config);
    let text = std::fs::read_to_string(&ready_file).expect("a ready file");
    let address: Address = text.trim_end().parse().expect("an address");
    assert_eq!(&address, worker.server.address());
    assert!(worker.server.close(PATIENCE));
    assert!(!ready_file.exists());
    let left = std::fs::read_dir(directory.path())
        .expect("a directory")
        .count();
    assert_eq!(left, 0, "no temporary file stays behind");
}

#[test]
fn a_socket_that_somebody_else_put_there_stays() {
    let worker = Worker::start();
    std::fs::remove_file(worker.socket()).expect("our socket");
    let _other = std::os::unix::net::UnixListener::bind(worker.socket()).expect("a new socket");
    assert!(worker.server.close(PATIENCE));
    assert!(worker.socket().exists());
}

#[test]
fn a_close_without_a_deadline_ends_when_all_is_done() {
    let worker = Worker::start();
    assert!(worker.server.close(Duration::MAX));
}

#[test]
fn a_ready_file_that_is_another_servers_by_now_stays() {
    let directory = private_directory();
    let ready_file = directory.path().join("ready");
    let start = |name: &str| {
        let address = Address::Unix(directory.path().join(name));
        let mut config = ServeConfig::default();
        config.ready_file = Some(ready_file.clone());
        Server::start(&address, recorder(), config).expect("a free socket")
    };
    let before = start("before.sock");
    let after = start("after.sock");
    assert!(before.close(PATIENCE));
    let found = std::fs::read_to_string(&ready_file).expect("the ready file");
    assert_eq!(found, format!("{}\n", after.address()));
    assert!(after.close(PATIENCE));
    assert!(!ready_file.exists());
}

#[test]
fn what_lies_at_the_place_of_the_unfinished_ready_file_is_not_followed() {
    let directory = private_directory();
    let victim = directory.path().join("victim");
    std::fs::write(&victim, "precious").expect("our directory");
    let unfinished = format!("ready.{}.tmp", std::process::id());
    symlink(&victim, directory.path().join(unfinished)).expect("a link");
    let ready_file = directory.path().join("ready");
    let address = Address::Unix(directory.path().join("worker.sock"));
    let mut config = ServeConfig::default();
    config.ready_file = Some(ready_file.clone());
    let _server = Server::start(&address, recorder(), config).expect("a free socket");
    assert!(ready_file.exists());
    let found = std::fs::read_to_string(&victim).expect("the victim");
    assert_eq!(found, "precious");
}

#[tokio::test]
async fn a_close_is_no_success_if_the_manager_is_gone_before_it_was_given_everything() {
    let worker = Worker::start();
    let (manager, mut stream, gate) = gated_stream(&worker).await;
    stream.toggle(true);
    worker.emit_many(0..1);
    assert_eq!(stream.next_count().await, 0);
    gate.close();
    while worker.recorder.queued() < 10 {
        emit_large(&worker.recorder, 1);
    }
    worker.recorder.close();
    let socket = worker.socket();
    let closing = tokio::task::spawn_blocking(move || {
        let ended = worker.server.close(PATIENCE);
        (ended, worker.recorder.snapshot())
    });
    // The end is begun when nobody can connect any more.
    let socket = socket.as_path();
    until("it stopped listening", || !socket.exists()).await;
    manager.connection.abort();
    drop((manager, stream, gate));
    let (ended, snapshot) = closing.await.expect("no panic");
    assert!(!ended, "{snapshot:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_ends_a_worker_a_second_time_takes_nothing_from_the_first() {
    let directory = private_directory();
    let address = Address::Unix(directory.path().join("worker.sock"));
    let backend = StreamBackend::serve(&address, recorder(), ServeConfig::default());
    let telemetry = Telemetry::builder()
        .backend(Arc::new(backend.expect("a free socket")))
        .build();
    let manager = Manager::dial(&directory.path().join("worker.sock")).await;
    let mut stream = manager.stream().await;
    stream.hello();
    stream.policy(PolicySpec::default());
    assert!(stream.next().await.expect("a frame").hello.is_some());
    for count in 0..900_i64 {
        telemetry.emit("tool.result_size", &[("count", count.into())], &[], "");
    }
    let reader = tokio::spawn(async move { stream.rest().await });
    let barrier = Barrier::new(4);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                barrier.wait();
                let ledger = telemetry.shutdown(PATIENCE);
                ledger.check().expect("balance");
                assert_eq!((ledger.sent, ledger.dropped.total()), (900, 0));
            });
        }
    });
    let (events, status) = reader.await.expect("the reader");
    assert_eq!(status, "0");
    assert_eq!(events.iter().filter_map(count_of).count(), 900);
}
