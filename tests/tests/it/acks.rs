//! What a manager has not acknowledged goes to the next one; what it has does not.

use telemetry_tests::{TestManager, Witness, eventually, worker};

const NAME: &str = "tool.execution.stop";
const EVENTS: u64 = 50;

/// A manager that counts.
fn manager() -> (TestManager, Witness) {
    let manager = TestManager::start();
    let witness = manager.witness().clone();
    (manager, witness)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manager_that_is_gone_at_once_leaves_what_it_has_not_acknowledged() {
    let worker = worker().start();
    let (first, seen) = manager();
    let id = first.connect(&worker).await;
    worker.emit_many(NAME, EVENTS);
    first.received(&id, EVENTS).await;
    // No goodbye, as when it is killed.
    drop(first);
    let acknowledged = worker.ledger().acknowledged;
    let (second, again) = manager();
    let id = second.connect(&worker).await;
    worker.emit_many(NAME, 1);
    eventually("the acknowledgement of all", || {
        (worker.ledger().acknowledged == EVENTS + 1).then_some(())
    })
    .await;
    // What the first one had said may still have been on its way when it was asked above.
    let came = again.events().len() as u64;
    assert!(
        (1..=EVENTS + 1 - acknowledged).contains(&came),
        "{came} with {acknowledged} acknowledged"
    );
    let info = second.received(&id, came).await;
    assert_eq!((info.ledger.gaps, info.lost_at_crash), (0, 0), "{info:#?}");
    assert_eq!(seen.events().len() as u64, EVENTS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manager_that_leaves_in_order_leaves_nothing_to_be_sent_again() {
    let worker = worker().start();
    for _ in 0..3 {
        let (manager, seen) = manager();
        let id = manager.connect(&worker).await;
        worker.emit_many(NAME, EVENTS);
        manager.received(&id, EVENTS).await;
        manager.stop().await;
        assert_eq!(seen.events().len() as u64, EVENTS);
        let ledger = worker.ledger();
        assert_eq!(
            (ledger.retained, ledger.repeated, ledger.forgotten),
            (0, 0, 0)
        );
        assert_eq!(ledger.acknowledged, ledger.sent);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_handled_is_acknowledged_although_nobody_asks() {
    let worker = worker().start();
    let (manager, _seen) = manager();
    let id = manager.connect(&worker).await;
    worker.emit_many(NAME, EVENTS);
    manager.received(&id, EVENTS).await;
    eventually("the acknowledgement of all", || {
        (worker.ledger().acknowledged == EVENTS).then_some(())
    })
    .await;
    assert_eq!(worker.ledger().retained, 0);
}
