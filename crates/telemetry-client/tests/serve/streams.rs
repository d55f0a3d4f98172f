//! What travels on a stream, in which order, and what a manager can do to it.

use std::time::Duration;

use telemetry_client::serve::{Identity, ServeConfig};
use telemetry_core::{
    Outcome,
    emit::{PolicySpec, SamplingRule},
    ledger::Reason,
};
use telemetry_proto::STREAM_TELEMETRY_PATH;

use crate::manager::{Manager, Stream, count_of, framed, request};
use crate::{PATIENCE, Worker, stream_config};

/// Waits until the worker did what it was told.
pub(crate) async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let wait = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "{what}");
}

async fn stock_stream(worker: &Worker) -> (Manager, Stream) {
    let manager = Manager::dial(&worker.socket()).await;
    let mut stream = manager.stream().await;
    stream.toggle(true);
    (manager, stream)
}

#[tokio::test]
async fn events_from_before_and_after_the_connect_arrive_in_order() {
    let worker = Worker::start();
    worker.emit_many(0..10);
    let (_manager, mut stream) = stock_stream(&worker).await;
    worker.emit_many(10..20);
    for expected in 0..20 {
        let event = stream.next().await.expect("an event");
        assert_eq!(count_of(&event), Some(expected));
        assert_eq!(event.event_parts, ["tool", "result_size"]);
        assert_eq!(event.sequence, expected.unsigned_abs() + 1);
        assert!(event.timestamp_ns > 0);
    }
    worker.recorder.snapshot().check().expect("balance");
}

#[tokio::test]
async fn headers_come_before_any_event_and_any_control() {
    let worker = Worker::start();
    let manager = Manager::dial(&worker.socket()).await;
    // `stream` returns with the headers; nothing was sent in either direction yet.
    let _stream = manager.stream().await;
    assert_eq!(worker.server.clients(), 1);
}

#[tokio::test]
async fn a_silent_manager_gets_events_after_the_first_control_wait() {
    let worker = Worker::with(ServeConfig::default());
    worker.emit_many(0..1);
    let manager = Manager::dial(&worker.socket()).await;
    let mut stream = manager.stream().await;
    assert_eq!(stream.next_count().await, 0);
}

#[tokio::test]
async fn a_manager_that_said_hello_gets_hello_report_and_then_events() {
    let mut identity = Identity::default();
    identity.worker_id = "w1".into();
    identity.pool_name = "p".into();
    let incarnation = identity.incarnation_id.clone();
    assert_eq!(incarnation.len(), 32);
    let mut stream = stream_config();
    stream.identity = identity;
    let worker = Worker::streaming(stream);
    worker.emit_many(0..3);
    let manager = Manager::dial(&worker.socket()).await;
    let mut stream = manager.stream().await;
    stream.hello();
    let mut policy = PolicySpec::default();
    policy.revision = 7;

    stream.policy(policy);
    let hello = stream
        .next()
        .await
        .expect("a frame")
        .hello
        .expect("hello first");
    assert_eq!(hello.worker_id, "w1");
    assert_eq!(hello.pool_name, "p");
    assert_eq!(hello.incarnation_id, incarnation);
    assert_eq!(hello.pid, std::process::id());
    let report = stream
        .next()
        .await
        .expect("a frame")
        .report
        .expect("a report second");
    assert_eq!(report.emitted, 3);
    for expected in 0..3 {
        assert_eq!(stream.next_count().await, expected);
    }
    // Reports come by the clock; one may have gone out before the events.
    let report = loop {
        let report = stream.next_report().await;
        if report.sent > 0 {
            break report;
        }
    };
    assert_eq!((report.policy_revision, report.sent), (7, 3));
}

#[tokio::test]
async fn a_stock_manager_gets_neither_hello_nor_report() {
    let mut stream = stream_config();
    stream.report_interval = Duration::from_millis(1);
    let worker = Worker::streaming(stream);
    let (_manager, mut stream) = stock_stream(&worker).await;
    worker.emit_many(0..5);
    worker.recorder.close();
    let (events, status) = stream.rest().await;
    assert_eq!(status, "0");
    assert_eq!(
        events.iter().filter_map(count_of).collect::<Vec<_>>(),
        [0, 1, 2, 3, 4]
    );
    assert!(
        events
            .iter()
            .all(|event| event.hello.is_none() && event.report.is_none())
    );
}

#[tokio::test]
async fn a_worker_that_is_muted_on_connect_leaks_nothing() {
    let worker = Worker::start();
    worker.emit_many(0..5);
    let manager = Manager::dial(&worker.socket()).await;
    let mut stream = manager.stream().await;
    stream.toggle(false);
    until("the queue is dropped", || {
        worker.recorder.snapshot().dropped.get(Reason::Filtered) == 5
    })
    .await;
    assert_eq!(worker.emit("tool.result_size", 99), Outcome::Off);
    let snapshot = worker.recorder.snapshot();
    assert_eq!((snapshot.sent, snapshot.queued), (0, 0));
    snapshot.check().expect("balance");
    stream.toggle(true);
    until("it is unmuted", || {
        worker.emit("tool.result_size", 100) == Outcome::Accepted
    })
    .await;
    assert_eq!(stream.next_count().await, 100);
}

#[tokio::test]
async fn events_wait_for_the_policy_of_a_manager_that_said_hello() {
    let worker = Worker::start();
    worker.emit_many(0..1);
    let manager = Manager::dial(&worker.socket()).await;
    let mut stream = manager.stream().await;
    stream.hello();
    assert!(stream.next().await.expect("a frame").hello.is_some());
    assert!(stream.next().await.expect("a frame").report.is_some());
    assert_eq!(worker.recorder.queued(), 1);
    stream.policy(PolicySpec::default());
    assert_eq!(stream.next_count().await, 0);
}

#[tokio::test]
async fn queued_events_survive_a_cut_stream() {
    let worker = Worker::start();
    let (manager, mut stream) = stock_stream(&worker).await;
    worker.emit_many(0..1);
    assert_eq!(stream.next_count().await, 0);
    manager.connection.abort();
    drop((manager, stream));
    until("the cut is seen", || worker.server.clients() == 0).await;
    worker.emit_many(1..500);
    let (_manager, mut stream) = stock_stream(&worker).await;
    for expected in 1..500 {
        let event = stream.next().await.expect("an event");
        assert_eq!(count_of(&event), Some(expected));
        assert_eq!(
            event.sequence,
            expected.unsigned_abs() + 1,
            "the sequence goes on"
        );
    }
    worker.recorder.snapshot().check().expect("balance");
}

#[tokio::test]
async fn the_newest_stream_wins_and_the_old_one_is_aborted() {
    let worker = Worker::start();
    let (_first_manager, mut first) = stock_stream(&worker).await;
    worker.emit_many(0..1);
    assert_eq!(first.next_count().await, 0);
    let (_second_manager, mut second) = stock_stream(&worker).await;
    worker.emit_many(1..3);
    let (events, status) = first.rest().await;
    assert!(events.is_empty(), "the old stream got {events:?}");
    assert_eq!(status, "10");
    assert_eq!(second.next_count().await, 1);
    assert_eq!(second.next_count().await, 2);
}

#[tokio::test]
async fn the_old_manager_has_no_say_any_more() {
    let worker = Worker::start();
    let (_first_manager, mut first) = stock_stream(&worker).await;
    let (_second_manager, mut second) = stock_stream(&worker).await;
    first.rest().await;
    // The stream is over; a control on it may not even be sendable, and must change nothing.
    let muted = telemetry_core::wire::Control::Toggle { enabled: false };
    let bytes = prost::Message::encode_to_vec(&muted.to_proto());
    let _refused_or_ignored = first.send.send_data(framed(&bytes), false);
    worker.emit_many(0..50);
    for expected in 0..50 {
        assert_eq!(second.next_count().await, expected);
    }
}

#[tokio::test]
async fn a_bad_control_is_reported_and_the_stream_goes_on() {
    let mut stream = stream_config();
    stream.report_interval = Duration::from_millis(5);
    let worker = Worker::streaming(stream);
    let manager = Manager::dial(&worker.socket()).await;
    let mut stream = manager.stream().await;
    stream.hello();
    let bad = SamplingRule::of_all(7.5);
    let mut policy = PolicySpec::default();
    policy.revision = 3;
    policy.sampling = vec![bad];

    stream.policy(policy);
    let report = loop {
        let report = stream.next_report().await;
        if !report.control_error.is_empty() {
            break report;
        }
    };
    assert_eq!(
        (report.rejected_policy_revision, report.policy_revision),
        (3, 0)
    );
    assert!(
        report.control_error.contains("7.5"),
        "{}",
        report.control_error
    );
    stream
        .send
        .send_data(framed(b"\xff\xff\xff"), false)
        .expect("an open stream");
    worker.emit_many(0..1);
    assert_eq!(stream.next_count().await, 0);
}

#[tokio::test]
async fn a_policy_that_is_too_long_is_reported_as_rejected() {
    let worker = Worker::start();
    let manager = Manager::dial(&worker.socket()).await;
    let mut stream = manager.stream().await;
    let mut policy = PolicySpec::default();
    policy.revision = 9;
    policy.deny = vec!["x".into(); 100];

    stream.policy(policy);
    stream.hello();
    assert!(stream.next().await.expect("a frame").hello.is_some());
    let report = stream.next_report().await;
    assert_eq!(report.rejected_policy_revision, 9);
    assert!(
        report.control_error.contains("64"),
        "{}",
        report.control_error
    );
}

#[tokio::test]
async fn a_stock_manager_is_clamped_instead_of_refused() {
    let worker = Worker::start();
    let (_manager, mut stream) = stock_stream(&worker).await;
    let rule = SamplingRule::of_all(-3.0);
    stream.control(&telemetry_core::wire::Control::Sampling(rule));
    let sampled_out = Outcome::Dropped(Reason::SampledOut);
    until("the rate is 0", || {
        worker.emit("tool.result_size", 0) == sampled_out
    })
    .await;
}

#[tokio::test]
async fn a_manager_that_closes_its_side_keeps_receiving() {
    let worker = Worker::start();
    let (_manager, mut stream) = stock_stream(&worker).await;
    stream
        .send
        .send_data(bytes::Bytes::new(), true)
        .expect("an open stream");
    worker.emit_many(0..1);
    assert_eq!(stream.next_count().await, 0);
    worker.emit_many(1..2);
    assert_eq!(stream.next_count().await, 1);
}

#[tokio::test]
async fn a_grpc_timeout_is_ignored() {
    let worker = Worker::start();
    let manager = Manager::dial(&worker.socket()).await;
    let mut request = request(STREAM_TELEMETRY_PATH);
    request
        .headers_mut()
        .insert("grpc-timeout", "50m".parse().expect("a header"));
    let mut stream = manager.stream_with(request).await;
    stream.toggle(true);
    // The deadline has to pass; there is no event that marks it.
    tokio::time::sleep(Duration::from_millis(300)).await;
    worker.emit_many(0..1);
    assert_eq!(stream.next_count().await, 0);
}

#[tokio::test]
async fn a_compressed_control_ends_the_stream_with_unimplemented() {
    let worker = Worker::start();
    let (_manager, mut stream) = stock_stream(&worker).await;
    let compressed = bytes::Bytes::from_static(&[1, 0, 0, 0, 1, 0]);
    stream
        .send
        .send_data(compressed, false)
        .expect("an open stream");
    assert_eq!(stream.rest().await.1, "12");
}

#[tokio::test]
async fn a_peer_that_grants_no_window_can_still_mute_the_worker() {
    let worker = Worker::start();
    let io = tokio::net::UnixStream::connect(worker.socket())
        .await
        .expect("a socket");
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(0);
    let manager = Manager::with(builder, io).await;
    let mut stream = manager.stream().await;
    stream.toggle(true);
    worker.emit_many(0..100);
    stream.toggle(false);
    until("it is muted", || {
        worker.emit("tool.result_size", 1) == Outcome::Off
    })
    .await;
    worker.recorder.snapshot().check().expect("balance");
}

#[tokio::test]
async fn a_storm_of_toggles_ends_in_the_last_one_and_events_flow_meanwhile() {
    let worker = Worker::start();
    let (_manager, mut stream) = stock_stream(&worker).await;
    for turn in 0..200 {
        stream.toggle(turn % 2 == 0);
    }
    stream.toggle(true);
    until("it is on", || {
        worker.emit("tool.result_size", 1);
        worker.recorder.snapshot().sent > 0
    })
    .await;
    assert_eq!(stream.next_count().await, 1);
}
