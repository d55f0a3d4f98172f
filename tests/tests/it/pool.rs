//! Pools of real workers: what survives a kill, what a shutdown may lose, what is told of it.

use std::fs;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use telemetry_server::{
    Manager, ManagerConfig, Target, WorkerId,
    pool::{Pool, PoolConfig, PoolStatus, WorkerState},
};
use telemetry_tests::{PATIENCE, Witness, eventually, within};
use tempfile::TempDir;

/// A manager with a witness, and a pool of real workers.
struct Fleet {
    manager: Manager,
    witness: Witness,
    pool: Pool,
    dir: TempDir,
}

impl Fleet {
    async fn start(size: usize) -> Self {
        let manager = Manager::start(ManagerConfig::new("n1")).expect("a manager");
        let witness = Witness::new();
        manager
            .dispatcher()
            .attach("witness", "*", witness.handler())
            .expect("a free id");
        let dir = tempfile::tempdir().expect("a directory");
        let ledger = dir.path().join("ledger.json");
        let mut config =
            PoolConfig::new("p", [env!("CARGO_BIN_EXE_worker")], dir.path().join("run"));
        config.size = size;
        config.status_interval = Duration::from_millis(20);
        config.telemetry.max_buffer = Some(100_000);
        config.env = vec![
            (
                "WORKER_LEDGER".into(),
                ledger.to_str().expect("UTF-8").into(),
            ),
            ("TELEMETRY_EXIT_TIMEOUT_MS".into(), "30000".into()),
        ];
        let pool = Pool::start(&manager, config)
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        within("all workers ready", pool.ready()).await;
        Self {
            manager,
            witness,
            pool,
            dir,
        }
    }

    async fn end(self) {
        self.pool.shutdown(PATIENCE).await;
        self.manager.shutdown(PATIENCE).await;
    }
}

fn pid(status: &PoolStatus) -> u32 {
    status.workers[0].pid.expect("a running process")
}

fn kill(pid: u32) {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .expect("a process id");
    kill_process(pid, Signal::KILL).expect("killed");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_worker_comes_back_with_its_policy() {
    let fleet = Fleet::start(1).await;
    let worker = WorkerId::from("p-1");
    let deny = ["tool.execution.stop".to_owned()];
    let receipt = fleet
        .manager
        .update_filter(Target::Worker(worker.clone()), &[], &deny);
    let revision = receipt.expect("a valid filter").revision;
    let applied = async |what: &str| {
        eventually(what, || {
            let info = fleet.manager.stream(&worker)?;
            (info.applied_revision == revision).then_some(info)
        })
        .await
    };
    let before = applied("the policy in the first process").await;

    let first = pid(&fleet.pool.status());
    kill(first);
    let restarted = fleet.pool.until(|status| {
        status.workers[0].state == WorkerState::Ready && status.workers[0].pid != Some(first)
    });
    let status = within("the successor", restarted).await;
    assert_eq!(
        status.workers[0].last_exit.as_deref(),
        Some("signal 9 (SIGKILL)")
    );

    let after = eventually("the policy in the second process", || {
        let info = fleet.manager.stream(&worker)?;
        (info.incarnation != before.incarnation && info.applied_revision == revision)
            .then_some(info)
    })
    .await;
    assert_eq!(after.pid, Some(pid(&status)));
    let stop = "snakepit.python.tool.execution.stop";
    let start = "snakepit.python.tool.execution.start";
    // What follows the policy in the stream is governed by it; let what went before it pass.
    let settled = fleet.witness.count_of(start) + 50;
    eventually("events", || {
        (fleet.witness.count_of(start) >= settled).then_some(())
    })
    .await;
    let stops = fleet.witness.count_of(stop);
    let later = settled + 50;
    eventually("events", || {
        (fleet.witness.count_of(start) >= later).then_some(())
    })
    .await;
    assert_eq!(
        fleet.witness.count_of(stop),
        stops,
        "denied events still arrive"
    );
    fleet.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_loses_nothing() {
    let fleet = Fleet::start(1).await;
    fleet.witness.until_count(200).await;
    fleet.pool.shutdown(PATIENCE).await;
    let status = fleet.pool.status();
    assert_eq!(
        status.workers[0].last_exit.as_deref(),
        Some("exit code 0"),
        "{status:?}"
    );

    let ledger = fs::read(fleet.dir.path().join("ledger.json")).expect("the worker's ledger");
    let ledger: serde_json::Value = serde_json::from_slice(&ledger).expect("JSON");
    let number = |key: &str| {
        ledger[key]
            .as_u64()
            .unwrap_or_else(|| panic!("{key} in {ledger}"))
    };
    assert_eq!(number("queued"), 0, "{ledger}");
    assert_eq!(number("emitted"), number("sent"), "{ledger}");
    let totals = fleet.manager.totals();
    totals.ledger.check().expect("a balanced ledger");
    assert_eq!(totals.ledger.dispatched, number("emitted"), "{totals:?}");
    assert_eq!(fleet.witness.count_of("snakepit.python.gc.completed"), 500);
    fleet.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_happens_to_workers_is_told() {
    let fleet = Fleet::start(2).await;
    kill(pid(&fleet.pool.status()));
    let restarted = fleet.pool.until(|status| status.workers[0].restarts == 1);
    within("the restart", restarted).await;
    within("a recycled worker", fleet.pool.recycle("p-2"))
        .await
        .expect("p-2 exists");
    within("a replaced worker", fleet.pool.taint("p-1", "odd"))
        .await
        .expect("p-1 exists");
    within("all ready again", fleet.pool.ready()).await;
    let ready = fleet.witness.until("ready events", |events| {
        let ready = |event: &&telemetry_core::Event| &*event.name == "snakepit.pool.worker_ready";
        (events.iter().filter(ready).count() >= 4).then_some(())
    });
    ready.await;
    for name in [
        "pool.init_started",
        "pool.initialized",
        "pool.init_complete",
        "pool.status",
        "pool.worker.spawn_started",
        "pool.worker.spawned",
        "pool.worker_ready",
        "pool.worker.terminated",
        "pool.worker.restarted",
        "worker.crash",
        "worker.recycled",
        "worker.tainted",
        "worker.restarted",
    ] {
        let event = fleet.witness.until_named(&format!("snakepit.{name}")).await;
        assert_eq!(event.metadata("pool_name"), Some("p"), "{event:?}");
        assert_eq!(event.metadata("node"), Some("n1"), "{event:?}");
    }
    fleet.end().await;
}
