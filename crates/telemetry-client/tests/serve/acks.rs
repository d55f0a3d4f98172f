//! What was sent stays until the manager has acknowledged it, and goes out again on the next stream.

use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use telemetry_core::{
    emit::PolicySpec,
    wire::{Control, Greeting, PROTOCOL_REVISION, Position},
};
use telemetry_proto::WorkerHello;

use crate::manager::{Manager, Stream, count_of, framed};
use crate::{PATIENCE, Worker};

/// A manager that acknowledges; `handled`: where it stands with which incarnation.
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

/// Opens a stream with this greeting; the worker's hello.
async fn open(worker: &Worker, greeting: Greeting) -> (Manager, Stream, WorkerHello) {
    let manager = Manager::dial(&worker.socket()).await;
    let mut stream = manager.stream().await;
    stream.control(&Control::Hello(greeting));
    stream.policy(PolicySpec::default());
    let hello = stream.next().await.expect("a hello").hello;
    (manager, stream, hello.expect("a hello"))
}

/// The sequences of the next events.
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

/// Acknowledges up to a sequence and waits until the worker says so.
async fn acknowledge(worker: &Worker, stream: &mut Stream, sequence: u64) {
    stream.control(&Control::Acknowledge { sequence });
    let is_heard = || worker.recorder.gate().acknowledged() >= sequence;
    tokio::time::timeout(PATIENCE, async {
        while !is_heard() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .expect("it is heard");
}

#[tokio::test]
async fn a_stream_goes_on_behind_what_its_manager_has_handled() {
    let worker = Worker::start();
    worker.emit_many(0..5);
    let (manager, mut stream, hello) = open(&worker, greeting("a", None)).await;
    assert_eq!((hello.retained_from, hello.missed_before), (1, 0));
    assert!(hello.replay_bytes > 0);
    assert_eq!(sequences(&mut stream, 5).await, [1, 2, 3, 4, 5]);
    assert_eq!(worker.recorder.retained(), 5);
    drop((stream, manager));
    worker.emit_many(5..6);

    let own = Some((hello.incarnation_id.as_str(), 3));
    let (manager, mut stream, hello) = open(&worker, greeting("a", own)).await;
    assert_eq!(hello.retained_from, 4);
    assert_eq!(sequences(&mut stream, 3).await, [4, 5, 6]);
    acknowledge(&worker, &mut stream, 4).await;
    assert_eq!(worker.recorder.retained(), 2);
    drop((stream, manager));

    // One that does not know it gets all that nobody has acknowledged.
    let (_manager, mut stream, hello) = open(&worker, greeting("b", Some(("other", 6)))).await;
    assert_eq!((hello.retained_from, hello.missed_before), (5, 0));
    assert_eq!(sequences(&mut stream, 2).await, [5, 6]);
    let ledger = worker.recorder.snapshot();
    assert_eq!((ledger.sent, ledger.repeated, ledger.forgotten), (6, 4, 0));
    assert_eq!(ledger.check(), Ok(()));
}

#[tokio::test]
async fn acknowledgements_that_make_no_sense_release_nothing_more() {
    let worker = Worker::start();
    worker.emit_many(0..4);
    let (_manager, mut stream, _hello) = open(&worker, greeting("a", None)).await;
    assert_eq!(sequences(&mut stream, 4).await.len(), 4);
    acknowledge(&worker, &mut stream, 2).await;
    for sequence in [2, 1, 0] {
        stream.control(&Control::Acknowledge { sequence });
    }
    acknowledge(&worker, &mut stream, 3).await;
    assert_eq!(worker.recorder.retained(), 1);
    // What was never sent cannot be acknowledged.
    stream.control(&Control::Acknowledge { sequence: u64::MAX });
    acknowledge(&worker, &mut stream, 4).await;
    worker.emit_many(4..6);
    assert_eq!(sequences(&mut stream, 2).await, [5, 6]);
    assert_eq!(worker.recorder.retained(), 2);
    assert_eq!(worker.recorder.gate().acknowledged(), 4);
    // Many at once, none of which is about what comes after the fifth.
    let ack = |sequence| Control::Acknowledge { sequence }.to_proto().encode_to_vec();
    let many: Vec<u8> = (0..10_000).flat_map(|n| framed(&ack(n % 6))).collect();
    for _ in 0..10 {
        let many = many.clone().into();
        stream.send.send_data(many, false).expect("an open stream");
    }
    acknowledge(&worker, &mut stream, 5).await;
    assert_eq!(worker.recorder.retained(), 1);
    acknowledge(&worker, &mut stream, 6).await;
    assert_eq!(worker.recorder.retained(), 0);
}

#[tokio::test]
async fn a_manager_that_acknowledges_nothing_has_nothing_kept() {
    let worker = Worker::start();
    worker.emit_many(0..2);
    let (manager, mut stream, _hello) = open(&worker, greeting("a", None)).await;
    assert_eq!(sequences(&mut stream, 2).await, [1, 2]);
    drop((stream, manager));
    worker.emit_many(2..3);
    let manager = Manager::dial(&worker.socket()).await;
    let mut stream = manager.stream().await;
    stream.hello_of(PROTOCOL_REVISION);
    stream.policy(PolicySpec::default());
    assert_eq!(sequences(&mut stream, 1).await, [3]);
    let ledger = worker.recorder.snapshot();
    assert_eq!((ledger.retained, ledger.forgotten), (0, 2));
    assert_eq!(ledger.check(), Ok(()));
    let flushed = flush_acknowledged(&worker).await;
    assert!(!flushed, "nobody gives his word");
}

#[tokio::test]
async fn what_was_forgotten_is_missed_by_whom_it_was_sent_to() {
    let worker = Worker::start();
    worker.emit_many(0..2);
    let (manager, mut stream, hello) = open(&worker, greeting("a", None)).await;
    assert_eq!(sequences(&mut stream, 2).await, [1, 2]);
    acknowledge(&worker, &mut stream, 1).await;
    drop((stream, manager));
    worker.recorder.forget_retained();
    for (name, missed) in [("b", 0), ("a", 1)] {
        // Nobody but the one it was sent to can have lost it.
        let (_manager, _stream, hello) = open(&worker, greeting(name, None)).await;
        assert_eq!((hello.retained_from, hello.missed_before), (3, missed));
    }
    let handled = Some((hello.incarnation_id.as_str(), 2));
    let (_manager, _stream, hello) = open(&worker, greeting("a", handled)).await;
    assert_eq!(hello.missed_before, 0, "it had handled it");
}

#[tokio::test]
async fn a_manager_of_an_older_epoch_is_refused_and_one_without_never() {
    let worker = Worker::start();
    for (epoch, refused) in [(5, false), (4, true), (0, false), (5, false), (6, false)] {
        let manager = Manager::dial(&worker.socket()).await;
        let mut stream = manager.stream().await;
        let mut hello = greeting("a", None);
        hello.epoch = epoch;
        stream.control(&Control::Hello(hello));
        stream.policy(PolicySpec::default());
        if refused {
            let (events, status) = stream.rest().await;
            assert_eq!((events.len(), status.as_str()), (0, "9"));
        } else {
            assert!(stream.next().await.expect("a hello").hello.is_some());
        }
    }
}

#[tokio::test]
async fn who_says_goodbye_is_sent_no_more_and_waited_for() {
    let worker = Worker::start();
    worker.emit_many(0..2);
    let (_manager, mut stream, _hello) = open(&worker, greeting("a", None)).await;
    assert_eq!(sequences(&mut stream, 2).await, [1, 2]);
    stream.control(&Control::Goodbye);
    let report = stream.next_report().await;
    assert!(!report.r#final);
    worker.emit_many(2..3);
    stream.control(&Control::Acknowledge { sequence: 2 });
    let (events, status) = stream.rest().await;
    assert_eq!((events.len(), status.as_str()), (0, "0"));
    let (_manager, mut stream, hello) = open(&worker, greeting("b", None)).await;
    assert_eq!(hello.retained_from, 3);
    assert_eq!(sequences(&mut stream, 1).await, [3]);
}

#[tokio::test]
async fn a_newer_stream_repeats_nothing_that_the_older_one_acknowledges() {
    let worker = Worker::start();
    worker.emit_many(0..3);
    let (_manager, mut older, _hello) = open(&worker, greeting("a", None)).await;
    assert_eq!(sequences(&mut older, 3).await, [1, 2, 3]);
    let opening = open(&worker, greeting("b", None));
    let handing_over = async {
        let report = older.next_report().await;
        older.control(&Control::Acknowledge {
            sequence: report.sent,
        });
        older.rest().await
    };
    let ((_manager, _newer, hello), (_, status)) = tokio::join!(opening, handing_over);
    assert_eq!((hello.retained_from, status.as_str()), (4, "10"));
    assert_eq!(worker.recorder.snapshot().repeated, 0);
}

#[tokio::test]
async fn a_newer_stream_does_not_wait_for_ever_for_an_older_one() {
    let worker = Worker::start();
    worker.emit_many(0..3);
    let (_manager, mut older, _hello) = open(&worker, greeting("a", None)).await;
    assert_eq!(sequences(&mut older, 3).await, [1, 2, 3]);
    let (_manager, mut newer, hello) = open(&worker, greeting("b", None)).await;
    assert_eq!(hello.retained_from, 1);
    assert_eq!(sequences(&mut newer, 3).await, [1, 2, 3]);
    // Nor does the older one stay.
    assert_eq!(older.rest().await.1, "10");
}

#[tokio::test]
async fn a_flush_waits_for_the_acknowledgement_where_it_is_asked_to() {
    let worker = Worker::start();
    worker.emit_many(0..3);
    let (_manager, mut stream, _hello) = open(&worker, greeting("a", None)).await;
    let flushing = tokio::spawn({
        let recorder = Arc::clone(&worker.recorder);
        async move { tokio::task::spawn_blocking(move || recorder.settle_acknowledged(PATIENCE)).await }
    });
    let report = loop {
        let report = stream.next_report().await;
        if report.position == Some(3) {
            break report;
        }
    };
    assert_eq!((report.retained, report.acknowledged), (3, 0));
    assert!(!flushing.is_finished());
    stream.control(&Control::Acknowledge { sequence: 3 });
    assert!(flushing.await.expect("no panic").expect("no panic"));
}

#[tokio::test]
async fn the_end_waits_for_the_acknowledgement_and_not_for_ever() {
    for acknowledges in [true, false] {
        let worker = Worker::start();
        worker.emit_many(0..3);
        let (_manager, mut stream, _hello) = open(&worker, greeting("a", None)).await;
        assert_eq!(sequences(&mut stream, 3).await.len(), 3);
        worker.recorder.close();
        let Worker {
            server,
            recorder,
            directory: _directory,
        } = worker;
        let timeout = if acknowledges {
            PATIENCE
        } else {
            Duration::from_millis(200)
        };
        let closing = tokio::task::spawn_blocking(move || server.close(timeout));
        while !stream.next_report().await.r#final {}
        if acknowledges {
            stream.control(&Control::Acknowledge { sequence: 3 });
        }
        let (_, status) = stream.rest().await;
        assert_eq!(status, "0");
        closing.await.expect("no panic");
        assert_eq!(recorder.retained() == 0, acknowledges);
    }
}

/// Flushes on a thread that may wait.
async fn flush_acknowledged(worker: &Worker) -> bool {
    let recorder = Arc::clone(&worker.recorder);
    let flush = move || recorder.settle_acknowledged(PATIENCE);
    tokio::task::spawn_blocking(flush).await.expect("no panic")
}
