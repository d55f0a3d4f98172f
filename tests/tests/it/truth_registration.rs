//! The same process registered again and again: nothing that it emitted is counted twice.

use std::fs;

use telemetry_tests::truth::{Kind, Loose, Story};
use telemetry_tests::{POOL, eventually};

const CHAOS: &str = env!("CARGO_BIN_EXE_chaos");
const ROUNDS: usize = 3;
/// Events between two registrations.
const BETWEEN: u64 = 200;
const WORKER: &str = "loose";

/// A story with one loose worker that is registered and streams.
async fn begin() -> (Story, Loose) {
    let story = Story::begin();
    let socket = story.dir().join("w.sock");
    let worker = story.program(Kind::Rust(CHAOS.into())).start(&socket);
    story.register(&socket, WORKER, POOL, worker.pid).await;
    (story, worker)
}

/// Waits until more events have come over the present stream.
async fn flows(story: &Story, worker: &Loose) {
    let arrived = story.arrivals.of(worker.pid).distinct();
    eventually("events of a worker", || {
        (story.arrivals.of(worker.pid).distinct() >= arrived + BETWEEN).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unregistered_and_registered_three_times() {
    let (story, mut worker) = begin().await;
    for _ in 0..ROUNDS {
        flows(&story, &worker).await;
        assert!(story.manager.unregister_worker(&WORKER.into()).await);
        story
            .register(&worker.socket, WORKER, POOL, worker.pid)
            .await;
    }
    flows(&story, &worker).await;
    worker.finish().await;
    story.judge(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn registered_in_other_pools_without_leaving_the_first() {
    let (story, mut worker) = begin().await;
    for round in 0..ROUNDS {
        flows(&story, &worker).await;
        let pool = ["other", POOL][round % 2];
        story
            .register(&worker.socket, WORKER, pool, worker.pid)
            .await;
    }
    flows(&story, &worker).await;
    worker.finish().await;
    story.judge(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn its_socket_moved_away_and_back_under_another_id() {
    let (story, mut worker) = begin().await;
    let away = story.dir().join("moved.sock");
    for round in 0..ROUNDS {
        flows(&story, &worker).await;
        fs::rename(&worker.socket, &away).unwrap();
        let (before, after) = [(WORKER, "moved"), ("moved", WORKER)][round % 2];
        assert!(story.manager.unregister_worker(&before.into()).await);
        fs::rename(&away, &worker.socket).unwrap();
        story
            .register(&worker.socket, after, POOL, worker.pid)
            .await;
    }
    flows(&story, &worker).await;
    worker.finish().await;
    story.judge(&[]).await;
}
