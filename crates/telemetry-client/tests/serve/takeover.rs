//! Who takes the stream of a worker away from whom.

use telemetry_core::wire::REVISION_HEADER;
use telemetry_proto::STREAM_TELEMETRY_PATH;

use crate::manager::{Manager, Stream, request};
use crate::{Worker, stream_config};

/// The stream of a manager that said hello, and has been given an event.
async fn held(worker: &Worker) -> (Manager, Stream) {
    let manager = Manager::dial(&worker.socket()).await;
    let mut stream = manager.stream().await;
    stream.hello();
    stream.toggle(true);
    worker.emit_many(0..1);
    assert_eq!(stream.next_count().await, 0);
    (manager, stream)
}

/// A stream whose request says that a hello will come.
async fn announced(manager: &Manager) -> Stream {
    let mut request = request(STREAM_TELEMETRY_PATH);
    let revision = "2".parse().expect("a header");
    request.headers_mut().insert(REVISION_HEADER, revision);
    manager.stream_with(request).await
}

#[tokio::test]
async fn who_says_no_hello_neither_mutes_nor_takes_what_one_that_did_has() {
    let worker = Worker::start();
    let (_manager, mut own) = held(&worker).await;
    for _ in 0..3 {
        let foreign = Manager::dial(&worker.socket()).await;
        let mut stream = foreign.stream().await;
        stream.toggle(false);
        let (events, status) = stream.rest().await;
        assert_eq!((events.len(), status.as_str()), (0, "6"));
    }
    worker.emit_many(1..100);
    for expected in 1..100 {
        assert_eq!(own.next_count().await, expected);
    }
}

#[tokio::test]
async fn who_says_nothing_is_told_so_and_gets_nothing_meanwhile() {
    let mut config = stream_config();
    config.first_control_wait = std::time::Duration::from_millis(20);
    let worker = Worker::streaming(config);
    let (_manager, mut own) = held(&worker).await;
    let foreign = Manager::dial(&worker.socket()).await;
    let mut stream = foreign.stream().await;
    worker.emit_many(1..10);
    let (events, status) = stream.rest().await;
    assert_eq!((events.len(), status.as_str()), (0, "6"));
    for expected in 1..10 {
        assert_eq!(own.next_count().await, expected);
    }
}

#[tokio::test]
async fn a_hello_that_is_only_announced_takes_nothing_away() {
    let worker = Worker::start();
    let (_manager, mut own) = held(&worker).await;
    let other = Manager::dial(&worker.socket()).await;
    let mut next = announced(&other).await;
    worker.emit_many(1..10);
    for expected in 1..10 {
        assert_eq!(own.next_count().await, expected);
    }
    next.hello();
    next.toggle(true);
    let (_, status) = own.rest().await;
    assert_eq!(status, "10", "the newest one that says hello wins");
    worker.emit_many(10..11);
    assert_eq!(next.next_count().await, 10);
    worker.recorder.snapshot().check().expect("balance");
}

#[tokio::test]
async fn a_stream_that_nobody_holds_is_taken_by_whoever_comes() {
    let worker = Worker::start();
    let stock = Manager::dial(&worker.socket()).await;
    let mut first = stock.stream().await;
    first.toggle(true);
    let (manager, own) = held(&worker).await;
    let (_, status) = first.rest().await;
    assert_eq!(status, "10", "a hello wins over a stock one");
    manager.connection.abort();
    drop(own);
    crate::streams::until("the stream ends", || worker.server.clients() == 0).await;
    let mut again = stock.stream().await;
    again.toggle(true);
    worker.emit_many(1..2);
    assert_eq!(again.next_count().await, 1);
}
