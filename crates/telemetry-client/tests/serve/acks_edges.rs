//! Acknowledgements at odd moments: late, for nobody, after a refusal, between two managers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use h2::client;
use telemetry_core::{
    emit::PolicySpec,
    wire::{Control, Greeting, PROTOCOL_REVISION, Position, REVISION_HEADER},
};
use telemetry_proto::{STREAM_TELEMETRY_PATH, WorkerHello};
use tokio::net::UnixStream;

use crate::Worker;
use crate::manager::{Manager, Stream, count_of, framed, request};

fn greeting(name: &str, handled: Option<(&str, u64)>) -> Greeting {
    let mut greeting = Greeting::default();
    greeting.manager_id = name.into();
    greeting.protocol_revision = PROTOCOL_REVISION;
    greeting.acknowledges = true;
    greeting.epoch = 0;
    greeting.position = handled.map(|(incarnation_id, handled)| Position {
        incarnation_id: incarnation_id.into(),
        handled,
        acknowledged: handled,
    });
    greeting
}

async fn open_with(
    worker: &Worker,
    window: Option<u32>,
    greeting: Greeting,
) -> (Manager, Stream, WorkerHello) {
    let mut builder = client::Builder::new();
    if let Some(window) = window {
        builder.initial_window_size(window);
    }
    let io = UnixStream::connect(worker.socket())
        .await
        .expect("a socket");
    let manager = Manager::with(builder, io).await;
    let mut stream = manager.stream().await;
    stream.control(&Control::Hello(greeting));
    stream.policy(PolicySpec::default());
    let hello = stream.next().await.expect("a hello").hello;
    (manager, stream, hello.expect("a hello"))
}

async fn open(worker: &Worker, greeting: Greeting) -> (Manager, Stream, WorkerHello) {
    open_with(worker, None, greeting).await
}

async fn sequences(stream: &mut Stream, count: usize) -> Vec<u64> {
    let mut sequences = Vec::new();
    while sequences.len() < count {
        let event = stream.next().await.expect("an event before the end");
        if count_of(&event).is_some() {
            sequences.push(event.sequence);
        }
    }
    sequences
}

async fn acknowledge(worker: &Worker, stream: &mut Stream, sequence: u64) {
    stream.control(&Control::Acknowledge { sequence });
    while worker.recorder.gate().acknowledged() < sequence {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A manager that is refused for its epoch has no say in the policy.
#[tokio::test]
async fn a_refused_manager_does_not_change_the_policy() {
    let worker = Worker::start();
    let mut hello = greeting("new", None);
    hello.epoch = 5;
    let (_new, _stream, _) = open(&worker, hello).await;
    let manager = Manager::dial(&worker.socket()).await;
    let mut stream = manager.stream().await;
    // In one piece, as our manager sends them.
    let opening = [
        Control::Hello({
            let mut greeting = greeting("old", None);
            greeting.epoch = 4;
            greeting
        }),
        Control::Policy({
            let mut policy = PolicySpec::default();
            policy.enabled = false;
            policy.revision = 77;
            policy
        }),
    ];
    let opening: Vec<u8> = opening
        .iter()
        .flat_map(|control| framed(&prost::Message::encode_to_vec(&control.to_proto())))
        .collect();
    stream
        .send
        .send_data(opening.into(), false)
        .expect("an open stream");
    let (_, status) = stream.rest().await;
    assert_eq!(status, "9");
    tokio::time::sleep(Duration::from_millis(50)).await;
    let spec = worker.recorder.gate().control_status().spec;
    assert!(spec.enabled, "the refused one muted the worker: {spec:?}");
}

/// 101.. were forgotten in flight to `a`; that `b` acknowledged later ones does not bring them back.
#[tokio::test]
async fn what_a_lost_stays_lost_although_b_acknowledges_later_events() {
    let worker = Worker::start();
    worker.emit_many(0..2);
    let (manager, mut stream, hello) = open(&worker, greeting("a", None)).await;
    assert_eq!(sequences(&mut stream, 2).await, [1, 2]);
    acknowledge(&worker, &mut stream, 1).await;
    drop((stream, manager));
    // As when there was no room to keep it; it did not arrive at a.
    worker.recorder.forget_retained();
    worker.emit_many(2..3);
    let (manager, mut stream, b) = open(&worker, greeting("b", None)).await;
    assert_eq!((b.retained_from, b.missed_before), (3, 0));
    assert_eq!(sequences(&mut stream, 1).await, [3]);
    acknowledge(&worker, &mut stream, 3).await;
    drop((stream, manager));
    let own = Some((hello.incarnation_id.as_str(), 1));
    let (_manager, _stream, hello) = open(&worker, greeting("a", own)).await;
    assert_eq!(
        (hello.retained_from, hello.missed_before),
        (4, 1),
        "2 is lost and was a's"
    );
}

/// Nothing is kept and nothing waits: whatever the answer, it does not take the whole time.
#[tokio::test]
async fn a_flush_with_nothing_to_acknowledge_answers_at_once() {
    let worker = Worker::start();
    worker.emit_many(0..2);
    let manager = Manager::dial(&worker.socket()).await;
    let mut stream = manager.stream().await;
    stream.hello_of(1);
    stream.policy(PolicySpec::default());
    assert_eq!(sequences(&mut stream, 2).await, [1, 2]);
    drop((stream, manager));
    // The manager is replaced by one that acknowledges. It has nothing to acknowledge.
    let (_manager, mut stream, hello) = open(&worker, greeting("a", None)).await;
    assert_eq!((hello.retained_from, hello.missed_before), (3, 0));
    let reading = tokio::spawn(async move { while stream.next().await.is_some() {} });
    let recorder = Arc::clone(&worker.recorder);
    assert_eq!(recorder.retained(), 0);
    let began = Instant::now();
    let flush = move || recorder.settle_acknowledged(Duration::from_secs(3));
    let flushed = tokio::task::spawn_blocking(flush).await.expect("no panic");
    reading.abort();
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{flushed} after {:?}",
        began.elapsed()
    );
}

/// A late acknowledgement on an older stream must not make a hole in the replay of a newer one.
#[tokio::test]
async fn a_late_acknowledgement_makes_no_hole_in_a_replay() {
    let worker = Worker::start();
    worker.emit_many(0..6_000);
    // It reads nothing but the hello, so its stream is stuck and cannot say that it is replaced.
    let (_a, mut older, _) = open(&worker, greeting("a", None)).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let sent = worker.recorder.gate().sent();
    assert!(sent > 1_000, "{sent}");
    let (_b, mut newer, hello) = open_with(&worker, Some(4_096), greeting("b", None)).await;
    assert_eq!(hello.retained_from, 1);
    tokio::time::sleep(Duration::from_millis(100)).await;
    older.control(&Control::Acknowledge { sequence: sent });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let got = sequences(&mut newer, 3_500).await;
    let hole = got.windows(2).find(|pair| pair[0] + 1 != pair[1]);
    assert_eq!(hole, None, "b was told that its stream goes on behind 0");
}

/// A manager that announced a hello and ended its side before it said one acknowledges nothing, but it
/// is no reason to throw away what another one is to be sent again.
#[tokio::test]
async fn a_stream_that_ends_before_its_hello_forgets_nothing() {
    let worker = Worker::start();
    worker.emit_many(0..5);
    let (manager, mut stream, _) = open(&worker, greeting("a", None)).await;
    assert_eq!(sequences(&mut stream, 5).await.len(), 5);
    drop((stream, manager));
    let manager = Manager::dial(&worker.socket()).await;
    let mut announced = request(STREAM_TELEMETRY_PATH);
    let revision = PROTOCOL_REVISION.to_string().parse().expect("a value");
    announced.headers_mut().insert(REVISION_HEADER, revision);
    let mut stream = manager.stream_with(announced).await;
    stream
        .send
        .send_data(bytes::Bytes::new(), true)
        .expect("an open stream");
    tokio::time::sleep(Duration::from_millis(200)).await;
    drop((stream, manager));
    let (_manager, _stream, hello) = open(&worker, greeting("a", None)).await;
    assert_eq!((hello.retained_from, hello.missed_before), (1, 0));
}

/// The same, reset.
#[tokio::test]
async fn a_stream_that_is_reset_before_its_hello_forgets_nothing() {
    for _ in 0..20 {
        let worker = Worker::start();
        worker.emit_many(0..5);
        let (manager, mut stream, _) = open(&worker, greeting("a", None)).await;
        assert_eq!(sequences(&mut stream, 5).await.len(), 5);
        drop((stream, manager));
        let manager = Manager::dial(&worker.socket()).await;
        let mut announced = request(STREAM_TELEMETRY_PATH);
        let revision = PROTOCOL_REVISION.to_string().parse().expect("a value");
        announced.headers_mut().insert(REVISION_HEADER, revision);
        let mut stream = manager.stream_with(announced).await;
        stream.send.send_reset(h2::Reason::CANCEL);
        tokio::time::sleep(Duration::from_millis(50)).await;
        manager.connection.abort();
        drop((stream, manager));
        let (_manager, _stream, hello) = open(&worker, greeting("a", None)).await;
        assert_eq!((hello.retained_from, hello.missed_before), (1, 0));
    }
}

/// A second hello that takes the promise back must not fill the ring for ever.
#[tokio::test]
async fn a_second_hello_does_not_fill_the_ring() {
    let worker = Worker::start();
    worker.emit_many(0..1);
    let (_manager, mut stream, _) = open(&worker, greeting("a", None)).await;
    assert_eq!(sequences(&mut stream, 1).await, [1]);
    let mut greeting = greeting("a", None);
    greeting.acknowledges = false;

    stream.control(&Control::Hello(greeting));
    tokio::time::sleep(Duration::from_millis(50)).await;
    for round in 0..40 {
        worker.emit_many(round * 1_000..round * 1_000 + 1_000);
        sequences(&mut stream, 1_000).await;
    }
    let ledger = worker.recorder.snapshot();
    assert_eq!(ledger.dropped.total(), 0, "{ledger:?}");
}

/// What went out twice was given once.
#[tokio::test]
async fn what_was_repeated_is_given_once() {
    let worker = Worker::start();
    worker.emit_many(0..5);
    for _ in 0..2 {
        let (manager, mut stream, _) = open(&worker, greeting("a", None)).await;
        assert_eq!(sequences(&mut stream, 5).await.len(), 5);
        drop((stream, manager));
    }
    let (_manager, _stream, hello) = open(&worker, greeting("a", None)).await;
    assert_eq!((hello.sent_before, hello.given_before), (Some(5), Some(5)));
}
