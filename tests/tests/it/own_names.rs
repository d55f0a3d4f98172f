//! Events that no catalog has: what a manager learns of them, and what it tells workers whose events it refuses.

use telemetry_core::ledger::Reason;
use telemetry_proto::telemetry_control::Control as Wire;
use telemetry_server::{ManagerConfig, pipeline::CatalogMode};
use telemetry_tests::{NODE, POOL, StockWorker, TestManager, eventually, worker};

fn manager(mode: CatalogMode) -> TestManager {
    let mut config = ManagerConfig::new(NODE);
    config.catalog_mode = mode;
    TestManager::watched(config)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_is_told_once_which_names_are_not_taken() {
    let manager = manager(CatalogMode::Enforce);
    let worker = worker().start();
    manager.connect(&worker).await;
    for _ in 0..3 {
        worker.emit("tool.execution.stpo");
        worker.emit("entirely.own");
        worker.emit("tool.execution.stop");
    }
    let expected = [
        "'tool.execution.stpo' is not in the manager's catalog; did you mean 'tool.execution.stop'?",
        "'entirely.own' is not in the manager's catalog",
    ];
    eventually("both names", || {
        (worker.rejected().len() == 2).then_some(())
    })
    .await;
    assert_eq!(worker.rejected(), expected);
    // On another stream it is told again, and says it once.
    let id = manager.connect(&worker).await;
    worker.emit("entirely.own");
    let info = manager
        .until("all events", &id, |info| info.ledger.received == 10)
        .await;
    assert_eq!(info.ledger.rejected.get(Reason::UnknownEvent), 7);
    worker.emit("another.one");
    eventually("the third name", || {
        (worker.rejected().len() == 3).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stock_worker_is_told_nothing_that_it_does_not_know() {
    let manager = manager(CatalogMode::Enforce);
    let dir = tempfile::tempdir().unwrap();
    let stock = StockWorker::on_unix(dir.path());
    let id = manager.register(stock.address(), "stock");
    manager.streaming(&id).await;
    assert!(stock.emit("entirely.own", &[]));
    manager
        .until("the refusal", &id, |info| info.ledger.rejected.total() == 1)
        .await;
    assert!(stock.emit("tool.execution.stop", &[("duration", 1)]));
    manager
        .until("the next", &id, |info| info.ledger.received == 2)
        .await;
    let is_ours = |control: &Option<Wire>| matches!(control, Some(Wire::Rejected(_)));
    assert!(!stock.controls().iter().any(|it| is_ours(&it.control)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_worker_sends_beyond_the_catalog_passes_and_is_learned() {
    let manager = manager(CatalogMode::Observe);
    let worker = worker().start();
    let id = manager.connect(&worker).await;
    for _ in 0..5 {
        worker.emit("entirely.own");
    }
    let info = manager
        .until("all", &id, |info| info.ledger.received == 5)
        .await;
    assert_eq!(
        (info.ledger.dispatched, info.ledger.rejected.total()),
        (5, 0)
    );
    let seen = manager.witness().events();
    assert!(seen.iter().all(|event| event.learned));
    assert_eq!(seen[0].name(), "snakepit.python.entirely.own");
    let learned = manager.learned().list();
    assert_eq!((learned.len(), learned[0].count), (1, 5));
    assert_eq!(learned[0].pool.as_deref(), Some(POOL));
    assert_eq!(worker.rejected(), [""; 0]);
}
