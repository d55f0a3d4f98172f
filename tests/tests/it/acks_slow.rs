//! One manager, no crash, and handlers that are slow: nothing is dispatched twice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use telemetry_core::EventRef;
use telemetry_tests::{TestManager, eventually, worker};

const NAME: &str = "tool.execution.stop";
const EVENTS: u64 = 50;

/// The same worker is registered twice, and a handler is slow for a moment just then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_manager_dispatches_nothing_twice_although_it_is_slow() {
    let worker = worker().start();
    let manager = TestManager::blind();
    let seen = Arc::new(Mutex::new(BTreeMap::<String, u64>::new()));
    let counting = Arc::clone(&seen);
    manager
        .dispatcher()
        .attach(
            "slow",
            "snakepit.python.tool.*",
            move |event: &EventRef<'_>| {
                let key = format!("{:?}", event.timestamp_ns());
                let mut seen = counting.lock().unwrap();
                *seen.entry(key).or_default() += 1;
                let is_tenth = seen.values().sum::<u64>() == 10;
                drop(seen);
                if is_tenth {
                    std::thread::sleep(Duration::from_millis(600));
                }
            },
        )
        .unwrap();
    let x = manager.register(&worker.address(), "x");
    manager.streaming(&x).await;
    worker.emit_many(NAME, EVENTS);
    eventually("the slow moment", || {
        (seen.lock().unwrap().values().sum::<u64>() == 10).then_some(())
    })
    .await;
    let y = manager.register(&worker.address(), "y");
    manager.streaming(&y).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let ledger = worker.ledger();
    let seen = seen.lock().unwrap();
    let total: u64 = seen.values().sum();
    let (x, y) = (manager.info(&x), manager.info(&y));
    assert_eq!(
        total,
        EVENTS,
        "distinct {}, repeated by the worker {}, x {:?}, y {:?}, y emitted {} away {}",
        seen.len(),
        ledger.repeated,
        x.ledger,
        y.ledger,
        y.reported.emitted,
        y.away,
    );
}

/// A worker is unregistered and registered again while a handler is slow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_manager_dispatches_nothing_twice_to_a_worker_that_comes_back() {
    let worker = worker().start();
    let manager = TestManager::blind();
    let seen = Arc::new(Mutex::new(BTreeMap::<String, u64>::new()));
    let counting = Arc::clone(&seen);
    manager
        .dispatcher()
        .attach(
            "slow",
            "snakepit.python.tool.*",
            move |event: &EventRef<'_>| {
                let key = format!("{:?}", event.timestamp_ns());
                let mut seen = counting.lock().unwrap();
                *seen.entry(key).or_default() += 1;
                let is_tenth = seen.values().sum::<u64>() == 10;
                drop(seen);
                if is_tenth {
                    std::thread::sleep(Duration::from_millis(2_500));
                }
            },
        )
        .unwrap();
    let x = manager.register(&worker.address(), "x");
    manager.streaming(&x).await;
    worker.emit_many(NAME, EVENTS);
    eventually("the slow moment", || {
        (seen.lock().unwrap().values().sum::<u64>() == 10).then_some(())
    })
    .await;
    let began = std::time::Instant::now();
    assert!(manager.unregister_worker(&x).await);
    let took = began.elapsed();
    let x = manager.register(&worker.address(), "x");
    manager.streaming(&x).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let ledger = worker.ledger();
    let seen = seen.lock().unwrap();
    let total: u64 = seen.values().sum();
    assert_eq!(
        total,
        EVENTS,
        "unregistered in {took:?}, distinct {}, repeated by the worker {}, x {:?}",
        seen.len(),
        ledger.repeated,
        manager.info(&x).ledger,
    );
}

fn hello(fill: impl FnOnce(&mut telemetry_proto::WorkerHello)) -> Vec<u8> {
    use prost::Message;
    let mut hello = telemetry_proto::WorkerHello {
        protocol_revision: telemetry_core::wire::PROTOCOL_REVISION,
        incarnation_id: "0123456789abcdef0123456789abcdef".into(),
        capabilities: vec!["ack".into(), "goodbye".into()],
        replay_bytes: 1 << 19,
        ..Default::default()
    };
    fill(&mut hello);
    telemetry_proto::TelemetryEvent {
        hello: Some(hello),
        ..Default::default()
    }
    .encode_to_vec()
}

/// The numbers are those of a worker that repeated 1 to 5 once (`given_before` counts both) and whose wait
/// for the hello was over on the last stream.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_hello_of_a_worker_that_repeated_events_makes_no_gap() {
    let dir = tempfile::tempdir().unwrap();
    let worker = telemetry_tests::RawWorker::start(dir.path());
    let manager = TestManager::start();
    let id = manager.register(&worker.address(), "raw");
    let stream = worker.stream().await;
    stream.message(&hello(|it| {
        it.retained_from = 1;
        (it.sent_before, it.given_before) = (Some(0), Some(0));
    }));
    stream.report(0);
    for sequence in 1..=5 {
        stream.event(NAME, sequence);
    }
    manager.received(&id, 5).await;
    stream.end_without_trailers();
    let stream = worker.stream().await;
    stream.event(NAME, 6);
    manager.received(&id, 6).await;
    stream.message(&hello(|it| {
        it.retained_from = 6;
        (it.sent_before, it.given_before) = (Some(5), Some(10));
    }));
    stream.report(6);
    manager
        .until("the report", &id, |info| {
            info.report.as_ref().is_some_and(|it| it.sent == 6)
        })
        .await;
    let info = manager.info(&id);
    assert_eq!(
        (info.ledger.received, info.ledger.gaps),
        (6, 0),
        "{info:#?}"
    );
}
