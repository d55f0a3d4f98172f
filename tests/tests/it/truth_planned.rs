//! Planned ends of plain Python workers under load, and an end that somebody else planned: what the
//! processes counted themselves is what the manager says.
//!
//! `TRUTH_RECYCLES=200` makes the run longer.

use rustix::process::Signal;
use telemetry_server::pool::WorkerState;
use telemetry_tests::truth::{Expected, Story, gone, is_gone, signal};
use telemetry_tests::{POOL, eventually, python_or_skip, within};

const RECYCLES: usize = 10;
/// Events of each process before its end, so that there is something to lose.
const EVENTS: u64 = 150;

#[tokio::test(flavor = "multi_thread")]
async fn a_planned_recycle_of_a_plain_python_worker_loses_nothing() {
    let Some(python) = python_or_skip() else {
        return;
    };
    let recycles = std::env::var("TRUTH_RECYCLES").map_or(RECYCLES, |count| count.parse().unwrap());
    let story = Story::begin();
    let pool = story.pool(python, 1).await;
    let worker = format!("{POOL}-1");
    let mut ended = Vec::new();
    for _ in 0..recycles {
        let pid = story.ready_process(&pool, EVENTS).await;
        within("a recycle", pool.recycle(&worker)).await.unwrap();
        assert!(is_gone(pid), "the worker was not replaced");
        ended.push(pid);
    }
    story.ready_process(&pool, EVENTS).await;
    within("the end of the pool", pool.shutdown(pool.grace())).await;

    let verdicts = story.judge(&[]).await;
    for pid in ended {
        let verdict = &verdicts[&pid];
        let row = verdict.row.as_ref().expect("an exact account is a row");
        assert_eq!(row.gaps + row.lost_at_crash, 0, "lost: {verdict}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_term_by_somebody_else_is_exact_or_said_to_be_unknown() {
    let Some(python) = python_or_skip() else {
        return;
    };
    let story = Story::begin();
    let pool = story.pool(python, 1).await;
    let mut ended = Vec::new();
    for _ in 0..3 {
        // The first one before its first report, the others between two.
        let pid = story
            .ready_process(&pool, EVENTS * ended.len() as u64 * 4)
            .await;
        signal(pid, Signal::TERM);
        gone(pid).await;
        eventually("the successor", || {
            let worker = pool.status().workers.remove(0);
            (worker.state == WorkerState::Ready && worker.pid != Some(pid)).then_some(())
        })
        .await;
        ended.push((pid, Expected::ExactOrUnknown));
    }
    // Whether a planned end is exact is another story.
    let last = story.ready_process(&pool, 1).await;
    ended.push((last, Expected::ExactOrUnknown));
    within("the end of the pool", pool.shutdown(pool.grace())).await;
    story.judge(&ended).await;
}
