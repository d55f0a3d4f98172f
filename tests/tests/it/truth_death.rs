//! Deaths between two reports: exact, or said to be unknown, never a number that is not so.

use std::time::Duration;

use rustix::process::Signal;
use telemetry_server::pool::{Pool, WorkerState};
use telemetry_tests::truth::{
    Expected, Kind, Order, PoolRole, Program, Remote, Role, Story, by_process, gone, judge,
    order_only, signal,
};
use telemetry_tests::{POOL, eventually, python_or_skip, within};

const CHAOS: &str = env!("CARGO_BIN_EXE_chaos");
const BURST: u64 = 20_000;
/// How long the manager stands still.
const STOPPED: Duration = Duration::from_secs(3);

/// Waits until the pool's worker is another process.
async fn successor(pool: &Pool, of: u32) -> u32 {
    eventually("the successor", || {
        let worker = pool.status().workers.remove(0);
        let is_ready = worker.state == WorkerState::Ready;
        worker.pid.filter(|pid| is_ready && *pid != of)
    })
    .await
}

/// Has one worker of a pool die by `death`, and judges it.
async fn one_death(death: impl AsyncFnOnce(&Story, u32)) {
    let Some(python) = python_or_skip() else {
        return;
    };
    let story = Story::begin();
    let pool = story.pool(python, 1).await;
    let pid = story.ready_process(&pool, 200).await;
    death(&story, pid).await;
    gone(pid).await;
    let successor = successor(&pool, pid).await;
    within("the end of the pool", pool.shutdown(pool.grace())).await;
    // Whether a planned end is exact is another story.
    let expected = [pid, successor].map(|pid| (pid, Expected::ExactOrUnknown));
    story.judge(&expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exit_without_farewell_after_a_burst() {
    one_death(async |story, pid| {
        let before = story.pages.returned(pid);
        order_only(&story.pages, pid, &format!("burst {BURST} exit"));
        gone(pid).await;
        assert!(story.pages.returned(pid) >= before + BURST, "no burst");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_in_steady_flow() {
    one_death(async |story, pid| {
        eventually("a steady flow", || {
            (story.pages.returned(pid) >= 700).then_some(())
        })
        .await;
        signal(pid, Signal::KILL);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_in_a_burst() {
    one_death(async |story, pid| {
        let before = story.pages.returned(pid);
        order_only(&story.pages, pid, "burst 100000000");
        eventually("a burst", || {
            (story.pages.returned(pid) >= before + BURST / 2).then_some(())
        })
        .await;
        signal(pid, Signal::KILL);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_while_the_manager_stands_still() {
    let Some(python) = python_or_skip() else {
        return;
    };
    // The pages of a story whose own manager has nothing to do.
    let story = Story::begin();
    let program: Program = story.program(Kind::Python(python));
    let arrivals = story.dir().join("arrivals");
    std::fs::create_dir(&arrivals).unwrap();
    let role = Role {
        node: "stopped".to_owned(),
        socket: story.dir().join("manager.sock"),
        arrivals,
        accept: None,
        pool: Some(PoolRole {
            name: POOL.to_owned(),
            command: program.command(),
            env: program.env(),
            size: 1,
            run_dir: story.dir().join("run"),
        }),
    };
    let manager = Remote::start(CHAOS.as_ref(), &role).await;
    let line = manager.line().clone();
    let pid = line
        .until("a worker with events", |answer| {
            let pid = answer.workers.iter().find(|worker| worker.ready)?.pid?;
            (story.pages.returned(pid) > 100).then_some(pid)
        })
        .await;

    manager.halt().await;
    let before = story.pages.returned(pid);
    tokio::time::sleep(STOPPED).await;
    signal(pid, Signal::KILL);
    gone(pid).await;
    let truth = story.pages.of(pid).unwrap();
    assert!(truth.returned > before + 500, "nothing happened meanwhile");
    manager.resume();

    let successor = |answer: &telemetry_tests::truth::Answer| {
        let worker = answer.workers.iter().find(|worker| worker.ready)?;
        (worker.pid != Some(pid)).then_some(())
    };
    line.until("the successor", successor).await;
    let account = line.order(&Order::Account).await;
    manager.end().await;
    let rows = by_process(&account.incarnations);
    let verdict = judge(pid, truth, rows.get(&pid));
    assert_eq!(verdict.silent, 0, "{verdict}");
}
