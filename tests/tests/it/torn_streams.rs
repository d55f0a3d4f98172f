//! Connections that break after n bytes, for n all over the start of a stream: no event arrives in
//! part, none is missing or comes twice, and the connection after the break is as good as new.

use telemetry_server::{ManagerConfig, stream::StreamState};
use telemetry_tests::{NODE, Proxy, TestManager, Worker, eventually, worker};

const NAME: &str = "tool.execution.start";
/// Enough bytes of events to reach every break.
const EVENTS: u64 = 100;
const LAST_BREAK: usize = 2_000;
/// Bytes between two breaks; `TORN_STEP=1` tries every one.
const STEP: usize = 23;
/// Workers at once.
const FLEET: usize = 100;

/// A worker behind a cable whose first connection breaks after so many bytes.
fn behind_a_bad_cable(bytes: usize) -> (Worker, Proxy) {
    let worker = worker().id(format!("breaks-after-{bytes}")).start();
    let cable = Proxy::start(worker.dir().join("cable.sock"), worker.socket());
    let cable = cable.expect("a free path");
    cable.cut_after(bytes);
    for _ in 0..EVENTS {
        worker.emit(NAME);
    }
    (worker, cable)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_breaks_after_any_number_of_bytes_costs_no_event() {
    let mut config = ManagerConfig::new(NODE);
    // The limit for a real fleet would only make the story long.
    config.dials_per_second = 1_000;
    let manager = TestManager::with(config);
    let handler = manager.witness().handler();
    manager
        .dispatcher()
        .attach("witness", "snakepit.python.*", handler)
        .unwrap();
    let step = std::env::var("TORN_STEP").map_or(STEP, |step| step.parse().unwrap());
    let breaks: Vec<_> = (0..=LAST_BREAK).step_by(step).collect();
    let mut repeated = 0;
    for breaks in breaks.chunks(FLEET) {
        repeated += tear(&manager, breaks).await;
    }
    assert!(repeated > 0, "nothing came again, so nothing was torn");
    let events = manager.witness().events();
    assert!(
        events
            .iter()
            .all(|event| event.measurement("count") == Some(1_i64.into()))
    );
}

/// Breaks the first stream of a worker each; how many events came again.
async fn tear(manager: &TestManager, breaks: &[usize]) -> u64 {
    let fleet: Vec<_> = breaks.iter().copied().map(behind_a_bad_cable).collect();
    for (worker, cable) in &fleet {
        manager.register(&format!("unix:{}", cable.path().display()), worker.id());
    }
    for (worker, cable) in &fleet {
        let broken = || (cable.cuts() > 0).then_some(());
        eventually(&format!("the break of {}", worker.id()), broken).await;
    }

    let mut repeated = 0;
    for (worker, cable) in &fleet {
        worker.emit("tool.execution.stop");
        let account = manager.balanced(worker).await;
        let (ledger, id) = (&account.manager.ledger, worker.id());
        assert_eq!(account.worker.emitted, EVENTS + 1, "{id}");
        assert_eq!(
            ledger.rejected.total(),
            0,
            "{id}: a part of an event was taken for one"
        );
        assert_eq!(account.manager.state, StreamState::Streaming, "{id}");
        assert!(cable.cuts() >= 1 && cable.accepted() >= 2, "{id}");
        assert_eq!((ledger.dispatched, ledger.gaps), (EVENTS + 1, 0), "{id}");
        repeated += account.worker.repeated;
    }
    repeated
}
