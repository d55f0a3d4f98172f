//! What reports say of the stream they travel on, and how two managers' accounts meet.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use telemetry_client::backend::StreamBackend;
use telemetry_client::serve::{ServeConfig, Server, StreamConfig};
use telemetry_client::{Heartbeat, MIN_STALL_LIMIT, Telemetry};
use telemetry_core::{
    Address, Outcome,
    emit::PolicySpec,
    ledger::Reason,
    wire::{PROTOCOL_REVISION, REVISION_HEADER},
};
use telemetry_proto::{STREAM_TELEMETRY_PATH, WorkerReport};

use crate::manager::{Manager, Stream, request};
use crate::settle::{emit_large, gated_stream};
use crate::streams::until;
use crate::{PATIENCE, Worker, private_directory, recorder, stream_config};

fn reporting() -> Worker {
    let mut stream = stream_config();
    stream.report_interval = Duration::from_millis(5);

    Worker::streaming(stream)
}

/// A stream whose manager said hello, and its first report.
async fn greeted(worker: &Worker, revision: u32) -> (Manager, Stream, WorkerReport) {
    let manager = Manager::dial(&worker.socket()).await;
    let mut stream = manager.stream().await;
    stream.hello_of(revision);
    stream.policy(PolicySpec::default());
    let first = stream.next_report().await;
    (manager, stream, first)
}

/// The next report that says so many events were sent.
async fn report_of(stream: &mut Stream, sent: u64) -> WorkerReport {
    loop {
        let report = stream.next_report().await;
        if report.sent == sent {
            return report;
        }
    }
}

#[tokio::test]
async fn a_position_is_that_of_the_stream_and_sent_that_of_the_worker() {
    let worker = reporting();
    let (manager, mut stream, first) = greeted(&worker, PROTOCOL_REVISION).await;
    assert_eq!((first.position, first.sent), (Some(0), 0));
    worker.emit_many(0..3);
    let report = report_of(&mut stream, 3).await;
    assert_eq!(report.position, Some(3));
    assert!(!report.written_through);
    manager.connection.abort();
    drop((manager, stream));
    until("the cut is seen", || worker.server.clients() == 0).await;
    let (_manager, mut stream, first) = greeted(&worker, PROTOCOL_REVISION).await;
    assert_eq!((first.position, first.sent), (Some(0), 3));
    worker.emit_many(3..5);
    assert_eq!(report_of(&mut stream, 5).await.position, Some(5));
}

#[tokio::test]
async fn a_manager_of_the_first_revision_is_told_of_no_reason_it_does_not_know() {
    for (revision, told) in [(1, Reason::NotRunning), (2, Reason::BackendError)] {
        let worker = reporting();
        let site = worker.recorder.callsite("a.b").expect("valid");
        let gate = worker.recorder.gate();
        gate.count_dropped(&site, Reason::BackendError);
        let (_manager, _stream, first) = greeted(&worker, revision).await;
        let counted: Vec<_> = first
            .dropped
            .iter()
            .map(|it| (it.reason, it.count))
            .collect();
        assert_eq!(counted, [(told.number(), 1)]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_report_to_one_manager_is_the_first_to_the_next() {
    let worker = reporting();
    let (_first_manager, mut first, _) = greeted(&worker, PROTOCOL_REVISION).await;
    worker.emit_many(0..3);
    for expected in 0..3 {
        assert_eq!(first.next_count().await, expected);
    }
    let newer = Manager::dial(&worker.socket()).await;
    let mut second = newer.stream().await;
    let is_over = AtomicBool::new(false);
    // Two readings would differ, so much is emitted between them; and what comes last, neither of them has.
    let (begun, has_begun) = std::sync::mpsc::channel();
    let emitted = std::thread::scope(|scope| {
        let busy = scope.spawn(|| {
            let mut emitted = 3;
            loop {
                let is_last = is_over.load(Ordering::Relaxed) && emitted >= 10;
                let _accepted_or_counted = worker.emit("tool.result_size", emitted);
                emitted += 1;
                if emitted == 10 {
                    begun.send(()).expect("it is awaited");
                }
                if is_last {
                    return emitted;
                }
            }
        });
        has_begun.recv().expect("it emits");
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                second.hello_of(PROTOCOL_REVISION);
                second.policy(PolicySpec::default());
                let (events, status) = first.rest().await;
                assert_eq!(status, "10");
                let last = events.last().and_then(|event| event.report.clone());
                let mut last = last.expect("a report before the end");
                assert!(last.position >= Some(3) && !last.r#final, "{last:?}");
                assert!(second.next().await.expect("a frame").hello.is_some());
                let next = second.next().await.expect("a frame").report;
                let next = next.expect("a report second");
                assert_eq!(next.position, Some(0));
                last.position = next.position;
                assert_eq!(next, last);
            });
        });
        is_over.store(true, Ordering::Relaxed);
        busy.join().expect("it ends")
    });
    // From there on all is the new one's.
    let report = loop {
        let report = second.next_report().await;
        if report.emitted == emitted.unsigned_abs() && report.position > Some(3) {
            break report;
        }
    };
    assert!(!report.r#final, "{report:?}");
}

#[tokio::test]
async fn a_stream_that_was_given_events_reports_what_is_true_now() {
    let mut stream = StreamConfig::default();
    stream.first_control_wait = Duration::ZERO;
    let worker = Worker::streaming(stream);
    // One that leaves, and reads neither its last report nor the end: it holds nothing any more.
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(0);
    let io = tokio::net::UnixStream::connect(worker.socket())
        .await
        .expect("a socket");
    let stuck = Manager::with(builder, io).await;
    let mut first = stuck.stream().await;
    first.hello_of(PROTOCOL_REVISION);
    first.policy(PolicySpec::default());
    let end = first.send.send_data(bytes::Bytes::new(), true);
    end.expect("an open stream");
    let newer = Manager::dial(&worker.socket()).await;
    // It is refused as long as that is not heard.
    let mut second = loop {
        let mut second = newer.stream().await;
        if worker.recorder.queued() == 0 {
            worker.emit_many(0..1);
        }
        if second.next().await.is_some() {
            break second;
        }
    };
    second.hello_of(PROTOCOL_REVISION);
    let report = second.next_report().await;
    assert_eq!((report.sent, report.position), (1, Some(1)));
}

#[tokio::test]
async fn an_old_stream_that_reads_nothing_does_not_delay_the_new_one() {
    let worker = reporting();
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(0);
    let io = tokio::net::UnixStream::connect(worker.socket())
        .await
        .expect("a socket");
    let stuck = Manager::with(builder, io).await;
    let mut first = stuck.stream().await;
    first.hello_of(PROTOCOL_REVISION);
    first.policy(PolicySpec::default());
    worker.emit_many(0..1);
    let (_manager, _second, report) = greeted(&worker, PROTOCOL_REVISION).await;
    assert_eq!(report.position, Some(0));
}

#[tokio::test]
async fn a_manager_that_announces_a_hello_gets_it_before_any_event() {
    let mut stream = StreamConfig::default();
    stream.first_control_wait = Duration::ZERO;
    stream.hello_wait = PATIENCE;
    let worker = Worker::streaming(stream);
    worker.emit_many(0..1);
    let manager = Manager::dial(&worker.socket()).await;
    let mut stream = manager.stream_with(announcing()).await;
    // A control alone is not enough.
    stream.toggle(true);
    until("the control is applied", || {
        worker.recorder.gate().control_status().spec.enabled
    })
    .await;
    assert_eq!(worker.recorder.queued(), 1);
    stream.hello_of(PROTOCOL_REVISION);
    assert!(stream.next().await.expect("a frame").hello.is_some());
    assert!(stream.next().await.expect("a frame").report.is_some());
    assert_eq!(stream.next_count().await, 0);
}

#[tokio::test]
async fn a_manager_that_announces_a_hello_and_says_none_gets_events_in_the_end() {
    let mut stream = StreamConfig::default();
    stream.first_control_wait = PATIENCE * 100;
    stream.hello_wait = Duration::from_millis(20);
    let worker = Worker::streaming(stream);
    worker.emit_many(0..1);
    let manager = Manager::dial(&worker.socket()).await;
    let mut stream = manager.stream_with(announcing()).await;
    assert_eq!(stream.next_count().await, 0);
}

#[tokio::test]
async fn a_manager_that_announces_a_hello_and_falls_silent_is_not_waited_for() {
    let mut stream = stream_config();
    stream.hello_wait = PATIENCE * 100;
    let worker = Worker::streaming(stream);
    worker.emit_many(0..1);
    let manager = Manager::dial(&worker.socket()).await;
    let mut stream = manager.stream_with(announcing()).await;
    stream
        .send
        .send_data(bytes::Bytes::new(), true)
        .expect("an open stream");
    assert_eq!(stream.next_count().await, 0);
}

#[tokio::test]
async fn what_is_emitted_between_the_close_and_the_final_report_is_in_it() {
    let worker = Worker::start();
    let (_manager, mut stream, gate) = gated_stream(&worker).await;
    stream.hello_of(PROTOCOL_REVISION);
    stream.policy(PolicySpec::default());
    stream.next_report().await;
    gate.close();
    // More than the socket and HTTP/2 take, so the end cannot have come before the gate opens.
    let mut emitted = 0;
    while worker.recorder.queued() < 10 {
        emit_large(&worker.recorder, 1);
        emitted += 1;
    }
    worker.recorder.close();
    let refused = worker.emit("tool.result_size", 50);
    assert_eq!(refused, Outcome::Dropped(Reason::NotRunning));
    gate.open();
    let (events, status) = stream.rest().await;
    assert_eq!(status, "0");
    let last = events.last().and_then(|event| event.report.clone());
    let last = last.expect("a report at the end");
    assert!(last.r#final);
    assert_eq!((last.emitted, last.sent), (emitted + 1, emitted));
}

fn announcing() -> http::Request<()> {
    let mut request = request(STREAM_TELEMETRY_PATH);
    request
        .headers_mut()
        .insert(REVISION_HEADER, "2".parse().expect("a header"));
    request
}

#[tokio::test]
async fn a_program_that_does_not_beat_is_reported_while_it_does_not_and_with_its_spans() {
    let (directory, recorder) = (private_directory(), recorder());
    let heart = Arc::new(Heartbeat::new(Arc::clone(&recorder), MIN_STALL_LIMIT));
    let mut config = ServeConfig::default();
    let mut stream = stream_config();
    stream.report_interval = Duration::from_millis(5);
    stream.heartbeat = Some(Arc::clone(&heart));
    config.stream = stream;
    let address = Address::Unix(directory.path().join("worker.sock"));
    let server = Server::start(&address, Arc::clone(&recorder), config).unwrap();
    let worker = Worker {
        recorder: Arc::clone(&recorder),
        server,
        directory,
    };
    let (backend, _unmounted) = StreamBackend::mounted(recorder, stream_config());
    let telemetry = Telemetry::builder().backend(Arc::new(backend)).build();
    let (_manager, mut stream, first) = greeted(&worker, PROTOCOL_REVISION).await;
    assert_eq!((first.stalled_ms, first.open_spans), (0, 0));

    let span = telemetry.span("tool.execution").start();
    assert!(heart.beat());
    let stalled = loop {
        let report = stream.next_report().await;
        if report.stalled_ms > 0 {
            break report;
        }
    };
    assert!(stalled.stalled_ms >= 200, "{}", stalled.stalled_ms);
    assert_eq!(stalled.open_spans, 1);
    assert_eq!(
        stalled.emitted, 2,
        "the start of the span, and the word of the stall"
    );
    span.finish();
    assert!(heart.beat());
    loop {
        let report = stream.next_report().await;
        if (report.stalled_ms, report.open_spans) == (0, 0) {
            assert_eq!(report.emitted, 4);
            break;
        }
    }
}
