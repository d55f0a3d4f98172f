//! A host that closes descriptors it did not open and then opens files of its own: they hold its own
//! bytes and no other, and the worker's later events arrive.

use telemetry_tests::truth::{Kind, Story};
use telemetry_tests::{POOL, eventually, python_or_skip};

/// Events before and after.
const EVENTS: u64 = 200;

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_closes_our_descriptors_keeps_its_files_and_its_telemetry() {
    let Some(python) = python_or_skip() else {
        return;
    };
    let story = Story::begin();
    let socket = story.dir().join("w.sock");
    let mut worker = story.program(Kind::Python(python)).start(&socket);
    story.register(&socket, "host", POOL, worker.pid).await;
    worker.emitted(EVENTS).await;

    let opened = worker.order("closerange").await;
    assert_eq!(opened["hurt"], serde_json::Value::Null, "{opened}");
    assert!(opened["files"].as_u64().unwrap() > 16, "{opened}");
    let closed_at = story.pages.returned(worker.pid);
    worker.emitted(closed_at + EVENTS).await;
    let checked = worker.order("check").await;
    assert_eq!(checked["foreign"], serde_json::json!([]), "{checked}");

    // What was emitted before the descriptors were closed cannot be among so many that arrived.
    eventually("later events", || {
        (story.arrivals.of(worker.pid).distinct() >= closed_at + EVENTS / 2).then_some(())
    })
    .await;
    let checked = worker.order("check").await;
    assert_eq!(checked["foreign"], serde_json::json!([]), "{checked}");
    worker.finish().await;
    story.judge(&[]).await;
}
