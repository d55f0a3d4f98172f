//! The harness itself: peers that are not ours meet each other, and faults really happen.
//!
//! A rig that does nothing would make every story green; these tests are why we believe it.

use std::path::Path;

use telemetry_tests::{Proxy, RawWorker, StockManager, StockWorker, eventually, toggle};

fn dir() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory for the sockets")
}

fn unix(path: &Path) -> String {
    format!("unix:{}", path.display())
}

async fn check_stock_peers(worker: &StockWorker) {
    worker.emit("tool.execution.start", &[("count", 1)]);
    let manager = StockManager::connect(worker.address()).await;
    let stream = manager.open().await;
    stream.until_count(1).await;
    stream.send(toggle(false)).await;
    eventually("the mute", || (!worker.policy().0).then_some(())).await;
    assert!(
        !worker.emit("tool.execution.stop", &[]),
        "a muted worker keeps nothing"
    );
    assert_eq!(stream.names(), ["tool.execution.start"]);
    assert!(stream.is_open());
}

#[tokio::test]
async fn stock_peers_understand_each_other_on_a_unix_socket() {
    let dir = dir();
    check_stock_peers(&StockWorker::on_unix(dir.path())).await;
}

#[tokio::test]
async fn stock_peers_understand_each_other_on_tcp() {
    check_stock_peers(&StockWorker::on_tcp().await).await;
}

#[tokio::test]
async fn a_cut_proxy_ends_the_stream_and_the_next_one_gets_what_is_buffered() {
    let dir = dir();
    let worker = StockWorker::on_unix(dir.path());
    let proxy = Proxy::start(
        dir.path().join("proxy.sock"),
        &worker.address()["unix:".len()..],
    );
    let proxy = proxy.unwrap();
    let first = StockManager::connect(&unix(proxy.path()))
        .await
        .open()
        .await;
    worker.emit("tool.execution.start", &[]);
    first.until_count(1).await;

    assert_eq!(proxy.cut(), 1);
    let end = first.ended().await;
    assert!(!end.trailers, "a cut is no orderly end: {end:?}");
    // What it takes for the stream that was cut is lost.
    eventually("the worker to notice", || {
        (worker.open_streams() == 0).then_some(())
    })
    .await;
    worker.emit("tool.execution.stop", &[]);
    let second = StockManager::connect(&unix(proxy.path()))
        .await
        .open()
        .await;
    second.until_count(1).await;
    assert_eq!(
        (proxy.cuts(), proxy.accepted(), worker.streams()),
        (1, 2, 2)
    );
}

#[tokio::test]
async fn a_raw_worker_sends_trailers_or_none_and_sees_controls() {
    let dir = dir();
    let worker = RawWorker::start(dir.path());
    // A raw worker knows no ping: dial without the test of the connection.
    let channel = tonic::transport::Endpoint::from_shared(worker.address()).unwrap();
    let channel = channel.connect().await.unwrap();
    let manager = StockManager::over(channel);

    for (with_trailers, expected) in [(true, true), (false, false)] {
        let stream = manager.open().await;
        let raw = worker.stream().await;
        assert_eq!(raw.controls(1).await, [toggle(true)]);
        raw.event("tool.execution.start", 1);
        stream.until_count(1).await;
        if with_trailers {
            raw.end(0);
        } else {
            drop(raw);
        }
        assert_eq!(stream.ended().await.trailers, expected);
    }
}
