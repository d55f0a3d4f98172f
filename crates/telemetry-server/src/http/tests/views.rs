//! Facts about live views of events.

use super::*;

#[tokio::test]
async fn a_live_view_shows_matching_events_as_they_come() {
    let rig = rig().await;
    let mut view = rig.tap("?match=snakepit.worker.*").await;
    rig.dispatcher
        .emit_own("snakepit.pool.status", &[], &[])
        .unwrap();
    rig.crash("<b>\u{1b}");
    let event = next_json(&mut view).await;
    assert_eq!(event["name"], CRASH);
    assert_eq!(event["metadata"]["reason"], "<b>\\u{001B}");
    assert_eq!(event["measurements"]["count"], 1);
    drop(view);
    rig.crash("to notice that nobody reads");
    rig.taps_become(0).await;
}

#[tokio::test]
async fn a_bad_pattern_is_explained() {
    let rig = rig().await;
    let answer = rig.get("/api/tap?match=%5B").await;
    assert!(
        answer.starts_with("HTTP/1.1 400 ") && answer.contains("glob"),
        "{answer}"
    );
    let answer = rig.get("/api/tap?match=tool.execution.stop").await;
    assert!(answer.contains("did you mean"), "{answer}");
    assert_eq!(rig.handlers(), ["prometheus"]);
}

#[tokio::test]
async fn a_viewer_that_never_reads_hurts_nobody_and_learns_what_it_missed() {
    let rig = rig().await;
    let mut silent = rig.tap("").await;
    let memory = MemoryHandler::new(0);
    rig.dispatcher
        .attach("memory", CRASH, memory.clone())
        .unwrap();
    // On this one thread the server does not run meanwhile: exactly the queue's worth gets in.
    let many = 3 * TAP_QUEUE as u64;
    (0..many).for_each(|_| rig.crash("flood"));
    assert_eq!(memory.seen(), many);
    for _ in 0..TAP_QUEUE {
        assert_eq!(next_json(&mut silent).await["name"], CRASH);
    }
    // It stands where the events are missing: behind those that got in, before those that come now.
    assert_eq!(
        next_json(&mut silent).await,
        json!({ "dropped": many - TAP_QUEUE as u64 })
    );
    rig.crash("after the flood");
    assert_eq!(next_json(&mut silent).await["name"], CRASH);
}

#[tokio::test]
async fn what_was_left_out_is_told_before_the_next_event_that_gets_in() {
    let rig = rig().await;
    let mut slow = rig.tap("").await;
    let first = TAP_QUEUE as u64 + 5;
    (0..first).for_each(|_| rig.crash("before"));
    assert_eq!(
        next_json(&mut slow).await["metadata"]["reason"],
        "before",
        "older events come first"
    );
    // There is room again, and nothing was told of the gap yet.
    rig.crash("after");
    for _ in 1..TAP_QUEUE {
        assert_eq!(next_json(&mut slow).await["metadata"]["reason"], "before");
    }
    assert_eq!(next_json(&mut slow).await, json!({ "dropped": 5 }));
    assert_eq!(next_json(&mut slow).await["metadata"]["reason"], "after");
}

#[tokio::test]
async fn viewers_are_limited_and_their_places_free_again() {
    let rig = rig().await;
    let mut views = Vec::new();
    for _ in 0..MAX_TAPS {
        views.push(rig.tap("").await);
    }
    let refused = rig.get("/api/tap").await;
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    views.pop();
    rig.crash("x");
    rig.taps_become(MAX_TAPS as usize - 1).await;
    views.push(rig.tap("").await);
}

#[tokio::test]
async fn events_of_workers_reach_a_live_view_with_their_origin() {
    let rig = rig().await;
    let mut view = rig.tap("").await;
    let source = Source {
        worker_id: Some("w7".into()),
        ..Source::of_node("here")
    };
    rig.dispatcher.execute(&EventRef::new(EventParts {
        spec: Catalog::builtin()
            .by_name("snakepit.python.call.stop")
            .unwrap(),
        measurements: &[("duration", ValueRef::Int(5))],
        metadata: &[],
        timestamp_ns: 1,
        correlation_id: "job",
        sampling_rate: 0.5,
        span: None,
        source: &source,
    }));
    let event = next_json(&mut view).await;
    assert_eq!(event["metadata"]["worker_id"], "w7");
    assert_eq!(event["sampling_rate"], 0.5);
}
