//! One manager leaves and the next one comes while a worker goes on emitting: an orderly leave costs
//! no event, and nobody has to guess where one went.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use telemetry_tests::{PATIENCE, TestManager, Worker, worker};

const NAME: &str = "tool.execution.start";
const MANAGERS: usize = 12;
/// Between two events, so that some always fall into the moment of a leave.
const PACE: Duration = Duration::from_micros(200);

/// Emits until told to stop.
fn emit_until(worker: &Worker, stop: &AtomicBool) {
    while !stop.load(Ordering::SeqCst) {
        worker.emit(NAME);
        std::thread::sleep(PACE);
    }
}

#[tokio::test]
async fn a_manager_that_leaves_in_order_takes_no_event_with_it() {
    let worker = Arc::new(worker().queue(100_000).start());
    let stop = Arc::new(AtomicBool::new(false));
    let emitting = std::thread::spawn({
        let (worker, stop) = (Arc::clone(&worker), Arc::clone(&stop));
        move || emit_until(&worker, &stop)
    });
    let mut received = 0;
    for _ in 0..MANAGERS {
        let manager = TestManager::blind();
        let id = manager.connect(&worker).await;
        manager
            .until("events", &id, |info| info.ledger.received > 20)
            .await;
        assert!(manager.shutdown(PATIENCE).await, "quiet in time");
        let ledger = manager.totals().ledger;
        assert_eq!((ledger.check(), ledger.gaps), (Ok(()), 0));
        received += ledger.received;
    }
    stop.store(true, Ordering::SeqCst);
    emitting.join().unwrap();

    let last = TestManager::blind();
    let id = last.connect(&worker).await;
    let all = worker.ledger();
    let rest = last
        .until("the rest", &id, |info| {
            info.joined_at + info.ledger.received + info.ledger.gaps == all.emitted
        })
        .await;
    assert_eq!(all.dropped.total(), 0);
    assert_eq!(
        received + rest.ledger.received,
        all.emitted,
        "an event went with a manager"
    );
}
