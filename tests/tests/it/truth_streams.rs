//! Streams that are cut, and streams that another manager takes and gives back.

use telemetry_server::{
    Manager,
    stream::{StreamInfo, StreamState},
};
use telemetry_tests::truth::{Arrivals, Kind, Story, pools};
use telemetry_tests::{POOL, Proxy, TestManager, eventually};

const CHAOS: &str = env!("CARGO_BIN_EXE_chaos");
const CUTS: usize = 8;
const THEFTS: usize = 4;
/// Events between two faults.
const BETWEEN: u64 = 60;
const WORKER: &str = "loose";

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_streams_are_cut_is_accounted_for() {
    let story = Story::begin();
    let upstream = story.dir().join("w.sock");
    let cable = Proxy::start(story.dir().join("cable.sock"), &upstream).unwrap();
    let mut worker = story.program(Kind::Rust(CHAOS.into())).start(&upstream);
    let id = format!("{WORKER}.{}", worker.pid);
    let id = story.register(cable.path(), &id, POOL, worker.pid).await;
    for cuts in 0..CUTS {
        // What was written before a cut may still be read after it: the new stream first.
        story
            .manager
            .until("the stream after a cut", &id, |info| {
                info.streams > cuts as u64 && info.state == StreamState::Streaming
            })
            .await;
        let arrived = story.arrivals.of(worker.pid).distinct();
        eventually("events over the stream", || {
            (story.arrivals.of(worker.pid).distinct() >= arrived + BETWEEN).then_some(())
        })
        .await;
        let cut = cable.cut();
        assert_eq!(
            cut,
            1,
            "no stream to be cut: {:#?}",
            story.manager.info(&id)
        );
    }
    // It ends while it is connected, so that its last word is heard.
    let last = |info: &StreamInfo| info.streams > CUTS as u64 && info.report.is_some();
    story.manager.until("the last stream", &id, last).await;
    worker.finish().await;
    story.judge(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_stream_is_stolen_and_given_back_is_accounted_for_once() {
    let story = Story::begin();
    let socket = story.dir().join("w.sock");
    let mut worker = story.program(Kind::Rust(CHAOS.into())).start(&socket);
    story.register(&socket, WORKER, POOL, worker.pid).await;
    let stolen = Arrivals::in_memory();
    let thief = TestManager::blind();
    thief
        .dispatcher()
        .attach("stolen", "snakepit.python.tool.*", stolen.handler())
        .unwrap();
    for _ in 0..THEFTS {
        worker
            .emitted(story.pages.returned(worker.pid) + BETWEEN)
            .await;
        let before = stolen.of(worker.pid).distinct();
        let id = thief.register(&format!("unix:{}", socket.display()), WORKER);
        thief.streaming(&id).await;
        eventually("stolen events", || {
            (stolen.of(worker.pid).distinct() >= before + BETWEEN).then_some(())
        })
        .await;
        assert!(thief.unregister_worker(&id).await);
        // The owner waits long before it takes a stream back that another manager took.
        story.register(&socket, WORKER, POOL, worker.pid).await;
    }
    worker.finish().await;
    let mut seen = story.arrivals.of(worker.pid);
    seen.merge(&stolen.of(worker.pid));
    assert_eq!(seen.twice, 0, "dispatched by both");
    let truth = story.pages.of(worker.pid).unwrap();
    let own = |manager: &Manager| pools(manager).iter().map(|sums| sums.emitted).sum::<u64>();
    let both = (own(&story.manager), own(&thief));
    let came = (
        story.arrivals.of(worker.pid).distinct(),
        stolen.of(worker.pid).distinct(),
    );
    story.judge(&[]).await;
    assert_eq!(
        truth.distance(both.0 + both.1),
        0,
        "owner and thief say {both:?}, {came:?} came, truth {truth:?}"
    );
}
