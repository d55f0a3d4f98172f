//! Handlers do not harm each other: one that panics is taken away and reported, one that is slow is
//! slow alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use telemetry_core::{EventRef, ledger::Reason};
use telemetry_server::dispatch::QueuedConfig;
use telemetry_tests::{PATIENCE, TestManager, Turnstile, Witness, worker};

const NAME: &str = "tool.execution.start";
const TOOLS: &str = "snakepit.python.tool.*";

#[tokio::test]
async fn a_handler_that_panics_is_detached_and_reported_and_the_others_go_on() {
    let (manager, worker) = (TestManager::start(), worker().start());
    let failures = Witness::new();
    let called = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&called);
    let dispatcher = manager.dispatcher();
    dispatcher
        .attach("failures", "telemetry.handler.failure", failures.handler())
        .unwrap();
    let bad = move |_: &EventRef<'_>| {
        if counter.fetch_add(1, Ordering::SeqCst) == 1 {
            panic!("no more of this");
        }
    };
    dispatcher.attach("bad", TOOLS, bad).unwrap();
    let id = manager.connect(&worker).await;

    worker.emit_many(NAME, 10);

    let failure = failures.until_named("telemetry.handler.failure").await;
    assert_eq!(failure.metadata("handler_id"), Some("bad"));
    assert_eq!(
        failure.metadata("event_name"),
        Some("snakepit.python.tool.execution.start")
    );
    assert!(
        failure
            .metadata("reason")
            .unwrap()
            .contains("no more of this"),
        "{failure:?}"
    );
    manager.balanced(&worker).await;
    assert_eq!(
        called.load(Ordering::SeqCst),
        2,
        "the second call failed, there is no third"
    );
    assert_eq!(
        manager.witness().count(),
        10,
        "the other handler saw everything"
    );
    assert_eq!(manager.info(&id).streams, 1, "the stream did not notice");
    let left = dispatcher.list_handlers("snakepit.python");
    assert!(left.iter().all(|handler| &*handler.id != "bad"), "{left:?}");
}

#[tokio::test]
async fn a_slow_queued_handler_delays_neither_the_stream_nor_another_handler() {
    const SLOW_QUEUE: usize = 16;
    const EVENTS: u64 = 1_000;
    let (manager, worker) = (TestManager::blind(), worker().start());
    let dispatcher = manager.dispatcher();
    let (turnstile, gate) = Turnstile::closed();
    let slow = Witness::new();
    let remember = slow.handler();
    let block = move |event: &EventRef<'_>| {
        gate.pass();
        remember(event);
    };
    let mut config = QueuedConfig::default();
    config.capacity = SLOW_QUEUE;
    dispatcher
        .attach_queued("slow", &[TOOLS], block, config)
        .unwrap();
    let quick = Witness::new();
    let mut config = QueuedConfig::default();
    config.capacity = 4_096;
    dispatcher
        .attach_queued("quick", &[TOOLS], quick.handler(), config)
        .unwrap();
    manager.connect(&worker).await;
    worker.emit(NAME);
    turnstile.somebody_waits().await;

    worker.emit_many(NAME, EVENTS - 1);

    // The slow handler still stands in its first event while everything else is done.
    quick.until_count(EVENTS).await;
    manager.balanced(&worker).await;
    assert_eq!(slow.count(), 0);
    turnstile.open();
    let kept = 1 + SLOW_QUEUE as u64;
    slow.until_count(kept).await;
    let slow_end = dispatcher.detach_and_wait("slow", PATIENCE).unwrap();
    let ledger = slow_end.ledger;
    assert_eq!(ledger.check(), Ok(()));
    assert_eq!((ledger.dispatched, ledger.delivered), (EVENTS, kept));
    assert_eq!(ledger.dropped.get(Reason::ExporterQueueFull), EVENTS - kept);
    assert_eq!(quick.count(), EVENTS);
}
