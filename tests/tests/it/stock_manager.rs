//! Snakepit's manager with our worker: it must get what it needs and lose nothing by its habits.

use std::time::Duration;

use telemetry_core::ledger::Reason;
use telemetry_proto::telemetry_control::Control;
use telemetry_proto::{TelemetryControl, TelemetryEventFilter, TelemetrySamplingUpdate};
use telemetry_tests::{PATIENCE, STOCK_TIMEOUT, StockManager, Worker, eventually, toggle, worker};
use tokio::time::Instant;
use tonic::Code;

const START: &str = "tool.execution.start";

/// Time between two heartbeats of the stock application.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// Our worker under a stock manager, well past the stock manager's deadline.
async fn check_stock_manager(worker: Worker) {
    worker.emit(START);
    let manager = StockManager::connect(&worker.address()).await;
    let opened = Instant::now();
    let stream = manager.open().await;
    stream.until_count(1).await;

    // Past the deadline by real time: whether it is ignored shows only once it is over.
    let past = opened + STOCK_TIMEOUT + Duration::from_millis(1_500);
    while Instant::now() < past {
        manager.heartbeat().await;
        let next = Instant::now() + HEARTBEAT;
        tokio::time::sleep_until(next.min(past)).await;
    }
    assert!(
        stream.is_open(),
        "the worker kept to grpc-timeout: {:?}",
        stream.ended().await
    );
    worker.emit("tool.execution.stop");
    let events = stream.until_count(2).await;
    assert_eq!(stream.names(), [START, "tool.execution.stop"]);
    assert!(
        events
            .iter()
            .all(|event| event.hello.is_none() && event.report.is_none())
    );

    let ledger = worker.telemetry().shutdown(PATIENCE);
    let end = stream.ended().await;
    assert!(
        end.trailers,
        "without trailers a stock consumer hangs: {end:?}"
    );
    assert_eq!(end.code, Code::Ok, "{end:?}");
    assert_eq!(
        (ledger.check(), ledger.sent, ledger.dropped.total()),
        (Ok(()), 2, 0)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stock_manager_keeps_its_stream_past_its_deadline_and_gets_trailers() {
    check_stock_manager(worker().start()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stock_manager_over_tcp_keeps_its_stream_past_its_deadline_and_gets_trailers() {
    check_stock_manager(worker().on_tcp().start()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queued_events_survive_a_stream_that_a_stock_manager_cuts() {
    let worker = worker().start();
    let manager = StockManager::connect(&worker.address()).await;
    let first = manager.open().await;
    worker.emit(START);
    first.until_count(1).await;
    assert_eq!(first.cut().await.len(), 1);
    worker.until_streams(0).await;

    for _ in 0..100 {
        worker.emit("tool.execution.stop");
    }
    assert_eq!(
        worker.ledger().queued,
        100,
        "there is no stream to send them on"
    );

    let second = manager.open().await;
    second.until_count(100).await;
    assert!(
        second
            .names()
            .iter()
            .all(|name| name == "tool.execution.stop")
    );
    let ledger = worker.ledger();
    assert_eq!(
        (ledger.check(), ledger.sent, ledger.dropped.total()),
        (Ok(()), 101, 0)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn controls_of_a_stock_manager_work_and_odd_ones_are_survived() {
    let worker = worker().start();
    let manager = StockManager::connect(&worker.address()).await;
    let stream = manager.open().await;
    let sampling = |rate, patterns: &[&str]| TelemetryControl {
        control: Some(Control::Sampling(TelemetrySamplingUpdate {
            sampling_rate: rate,
            event_patterns: patterns.iter().map(|glob| (*glob).to_owned()).collect(),
        })),
    };
    let filter = |deny: &[&str]| TelemetryControl {
        control: Some(Control::Filter(TelemetryEventFilter {
            allow: Vec::new(),
            deny: deny.iter().map(|glob| (*glob).to_owned()).collect(),
        })),
    };

    stream.send(filter(&["tool.[oops"])).await;
    stream.send(sampling(f64::NAN, &[])).await;
    stream.send(TelemetryControl { control: None }).await;
    // The rate is clamped to 1, as a stock worker does it.
    stream.send(sampling(7.0, &[])).await;
    stream.send(filter(&["python.*"])).await;
    eventually("the filter", || {
        let before = worker.ledger().dropped.get(Reason::Filtered);
        worker.emit("python.call.start");
        (worker.ledger().dropped.get(Reason::Filtered) > before).then_some(())
    })
    .await;
    let before = worker.ledger();
    worker.emit_many(START, 100);
    assert_eq!(
        worker.ledger().accepted,
        before.accepted + 100,
        "a rate of 7 keeps everything"
    );

    stream.send(toggle(false)).await;
    eventually("the mute", || {
        let before = worker.ledger().emitted;
        worker.emit(START);
        (worker.ledger().emitted == before).then_some(())
    })
    .await;
    assert!(stream.is_open(), "an odd control ends nothing");
    assert_eq!(worker.ledger().check(), Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_stream_of_a_stock_manager_takes_the_events_from_the_older_one() {
    let worker = worker().start();
    let manager = StockManager::connect(&worker.address()).await;
    let old = manager.open().await;
    worker.emit(START);
    old.until_count(1).await;
    let new = manager.open().await;
    let end = old.ended().await;
    assert!(end.trailers, "the older stream ends in order: {end:?}");

    worker.emit_many("tool.execution.stop", 100);
    new.until_count(100).await;
    assert_eq!(old.events().len(), 1);
    assert_eq!(worker.ledger().sent, 101);
}
