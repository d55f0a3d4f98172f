//! Snakepit's worker with our manager: its events arrive, and what it cannot do is said.

use telemetry_core::ledger::Reason;
use telemetry_server::{Target, stream::StreamState};
use telemetry_tests::{RawWorker, StockWorker, TestManager, eventually};

const START: &str = "tool.execution.start";

/// A stock worker under our manager, from the first event to the last control.
async fn check_stock_worker(stock: StockWorker) {
    stock.emit(START, &[("count", 1)]);
    let manager = TestManager::start();
    let id = manager.register(stock.address(), "stock");

    let event = manager
        .witness()
        .until_named("snakepit.python.tool.execution.start")
        .await;
    assert_eq!(event.measurement("count"), Some(1_i64.into()));
    assert_eq!(event.metadata("worker_id"), Some("stock"));
    assert_eq!(event.timestamp_ns, 1_700_000_000_000_000_000);
    let info = manager
        .until("the worker to be known as stock", &id, |info| info.legacy)
        .await;
    assert_eq!(info.state, StreamState::Streaming);
    assert_eq!(info.report, None, "a stock worker reports nothing");

    manager
        .update_sampling(Target::All, 0.0, &[])
        .expect("a valid control");
    eventually("the rate", || (stock.policy() == (true, 0.0)).then_some(())).await;
    let receipt = manager
        .update_sampling(Target::All, 1.0, &[])
        .expect("a valid control");
    eventually("the rate", || (stock.policy() == (true, 1.0)).then_some(())).await;
    assert_eq!(
        receipt.legacy,
        std::slice::from_ref(&id),
        "the caller learns whom patterns do not reach"
    );
    // It would apply the rate to everything: so it is not told, and the operator is.
    manager
        .update_sampling(Target::All, 0.0, &["python.*".to_owned()])
        .expect("a valid control");
    let info = manager
        .until("the rule that cannot be told", &id, |info| {
            !info.unsupported_rules.is_empty()
        })
        .await;
    assert_eq!(info.unsupported_rules[0].patterns, ["python.*"]);
    assert_eq!(stock.policy(), (true, 1.0));
    manager.toggle(Target::All, false).expect("a valid control");
    eventually("the mute", || (!stock.policy().0).then_some(())).await;
    assert!(!stock.emit(START, &[]));

    let info = manager.received(&id, 1).await;
    assert_eq!(
        (info.ledger.highest_sequence, info.ledger.gaps),
        (0, 0),
        "it numbers nothing"
    );
    assert_eq!(stock.streams(), 1, "two streams would split its events");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stock_worker_on_a_unix_socket_works_and_is_shown_as_legacy() {
    let dir = tempfile::tempdir().unwrap();
    check_stock_worker(StockWorker::on_unix(dir.path())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stock_worker_on_tcp_works_and_is_shown_as_legacy() {
    check_stock_worker(StockWorker::on_tcp().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stock_worker_that_buffered_a_thousand_events_loses_none() {
    let dir = tempfile::tempdir().unwrap();
    let stock = StockWorker::on_unix(dir.path());
    for _ in 0..1_000 {
        assert!(stock.emit(START, &[("count", 1)]));
    }
    let manager = TestManager::start();
    let id = manager.register(stock.address(), "stock");
    manager.received(&id, 1_000).await;
    manager.witness().until_count(1_000).await;
    assert_eq!(stock.dropped(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_denied_event_that_a_stock_worker_held_reaches_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let stock = StockWorker::on_unix(dir.path());
    let manager = TestManager::start();
    let denied = ["python.*".to_owned()];
    manager
        .update_filter(Target::All, &[], &denied)
        .expect("a valid control");
    // Nobody has told it yet: it holds all of them for the first stream, as it does for the next one after a cut.
    for name in ["python.call.start", START, "python.call.start", START] {
        assert!(stock.emit(name, &[("count", 1)]));
    }
    let id = manager.register(stock.address(), "stock");
    let info = manager.received(&id, 4).await;
    assert_eq!(info.ledger.rejected.get(Reason::Policy), 2);
    assert_eq!(info.ledger.dispatched, 2);
    info.ledger.check().expect("M1 closes");
    manager.witness().until_count(2).await;
    let names = manager.witness().events();
    let is_start = |event: &telemetry_server::Event| event.name().ends_with(START);
    assert!(names.iter().all(is_start), "{names:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stock_worker_that_stands_still_is_asked_for_no_stream_until_it_answers() {
    let dir = tempfile::tempdir().unwrap();
    let worker = RawWorker::start(dir.path());
    let manager = TestManager::start();
    let id = manager.register(&worker.address(), "stock");
    let stream = worker.stream().await;
    stream.event(START, 0);
    manager
        .until("the worker to be known as stock", &id, |info| info.legacy)
        .await;
    let pings = worker.pings();
    worker.withhold_pongs(true);
    drop(stream);
    let again = format!("2 pings behind {pings}");
    eventually(&again, || (worker.pings() >= pings + 2).then_some(())).await;
    assert!(worker.opened().is_none(), "it would lie there unread");
    let error = manager.info(&id).last_error.expect("one of the attempt");
    assert!(error.contains("did not answer Ping"), "{error}");
    worker.withhold_pongs(false);
    let stream = worker.stream().await;
    // One that has nothing to say sends no headers either; this one does.
    let info = manager.streaming(&id).await;
    assert_eq!((info.legacy, info.streams), (true, 2));
    drop(stream);
}
