//! A fleet whose streams are cut all the time: nothing is unaccounted for.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use telemetry_core::EventRef;
use telemetry_server::stream::StreamState;
use telemetry_tests::{Proxy, Seed, TestManager, Worker, worker};

const WORKERS: usize = 128;
const EVENTS: u64 = 2_000;
const ROUNDS: u64 = 100;
const BETWEEN_CUTS: Duration = Duration::from_millis(50);
const NAME: &str = "tool.execution.start";

/// One worker behind a cable that can be cut.
struct Member {
    worker: Worker,
    cable: Proxy,
    /// Events that had arrived when its stream was last cut.
    at_last_cut: Option<u64>,
}

impl Member {
    fn start(number: usize) -> Self {
        let worker = worker()
            .id(format!("worker-{number:03}"))
            .queue(4_096)
            .start();
        let cable =
            Proxy::start(worker.dir().join("cable.sock"), worker.socket()).expect("a free path");
        Self {
            worker,
            cable,
            at_last_cut: None,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_of_128_under_cuts_loses_nothing_in_silence() {
    let manager = TestManager::blind();
    let arrivals: Arc<HashMap<String, AtomicU64>> = Arc::new(
        (0..WORKERS)
            .map(|number| (format!("worker-{number:03}"), AtomicU64::new(0)))
            .collect(),
    );
    let counts = Arc::clone(&arrivals);
    let count = move |event: &EventRef<'_>| {
        let worker = event.source().worker_id.as_deref().unwrap();
        counts[worker].fetch_add(1, Ordering::SeqCst);
    };
    manager
        .dispatcher()
        .attach("count", "snakepit.python.tool.*", count)
        .unwrap();
    let mut fleet: Vec<_> = (0..WORKERS).map(Member::start).collect();
    let ids: Vec<_> = fleet
        .iter()
        .map(|member| {
            let address = format!("unix:{}", member.cable.path().display());
            manager.register(&address, member.worker.id())
        })
        .collect();
    for id in &ids {
        manager.streaming(id).await;
    }

    // Each round: a share of the events of every worker, then the cut of one stream, with whatever
    // is under way on it.
    let mut seed = Seed::new(0x5eed);
    let mut ticks = tokio::time::interval(BETWEEN_CUTS);
    for _ in 0..ROUNDS {
        for member in &fleet {
            for _ in 0..EVENTS / ROUNDS {
                member.worker.emit(NAME);
            }
        }
        let member = &mut fleet[seed.below(WORKERS)];
        if member.cable.cut() > 0 {
            let arrived = arrivals[member.worker.id()].load(Ordering::SeqCst);
            member.at_last_cut = Some(arrived);
        }
        ticks.tick().await;
    }

    // One event more after the last cut: what balances with it has come over a new stream, not over
    // one whose end nobody has noticed yet.
    for member in &fleet {
        member.worker.emit(NAME);
    }
    let (mut emitted, mut accounted, mut gaps) = (0, 0, 0);
    let (mut cut, mut came_back) = (0, 0);
    for (member, id) in fleet.iter().zip(&ids) {
        let account = manager.balanced(&member.worker).await;
        let ledger = &account.manager.ledger;
        assert_eq!(account.worker.emitted, EVENTS + 1, "{id}");
        assert_eq!(
            arrivals[id.as_str()].load(Ordering::SeqCst),
            ledger.dispatched,
            "{id}"
        );
        // A connection may be cut before its stream is open.
        assert!(account.manager.reconnects < member.cable.accepted(), "{id}");
        assert!(
            account.manager.reconnects > 0 || member.cable.cuts() == 0,
            "{id}"
        );
        assert_eq!(account.manager.state, StreamState::Streaming, "{id}");
        emitted += account.worker.emitted;
        accounted += account.worker.dropped.total() + ledger.received + ledger.gaps;
        gaps += ledger.gaps;
        cut += member.cable.cuts();
        if let Some(before) = member.at_last_cut {
            came_back += u64::from(ledger.dispatched > before);
        }
    }
    assert_eq!(emitted, WORKERS as u64 * (EVENTS + 1));
    assert_eq!(accounted, emitted, "{gaps} gaps");
    assert!(cut >= ROUNDS / 2, "only {cut} cuts: this showed nothing");
    assert!(
        came_back >= 20,
        "only {came_back} workers got events through after a cut"
    );
}
