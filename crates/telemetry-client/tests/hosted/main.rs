//! Streams over a transport of the program's own: messages in, messages out, no runtime.

mod cuts;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};
use std::time::Duration;

use prost::Message;
use telemetry_client::serve::{HostedStream, HostedStreams, Next, StreamConfig};
use telemetry_core::{
    SystemClock, ValueRef,
    emit::{Fields, Recorder, RecorderConfig},
    wire::{Control, Greeting},
};
use telemetry_proto::TelemetryEvent;
use tonic::Code;

/// Counts how often it is woken.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn streams(batch_delay: Duration) -> HostedStreams {
    let clock = Arc::new(SystemClock::new());
    let recorder = Recorder::new(RecorderConfig::default(), clock).expect("the default policy");
    let mut config = StreamConfig::default();
    config.batch_delay = batch_delay;
    HostedStreams::new(Arc::new(recorder), config)
}

/// Without time that events gather.
fn hasty() -> HostedStreams {
    streams(Duration::ZERO)
}

fn emit(streams: &HostedStreams, counts: std::ops::Range<i64>) {
    let site = streams.recorder().callsite("tool.result_size");
    for count in counts {
        let measurements = [("bytes", ValueRef::Int(count))];
        let fields = Fields {
            measurements: &measurements,
            ..Fields::default()
        };
        streams
            .recorder()
            .record(site.as_ref().expect("a valid name"), &fields);
    }
}

fn say(stream: &HostedStream, control: &Control) {
    stream.hear(&control.to_proto().encode_to_vec());
}

fn hello() -> Control {
    let mut greeting = Greeting::default();
    greeting.manager_id = "m".into();
    greeting.protocol_revision = 1;

    Control::Hello(greeting)
}

const ON: Control = Control::Toggle { enabled: true };

/// What is there now.
fn ready(stream: &mut HostedStream) -> Vec<TelemetryEvent> {
    let mut events = Vec::new();
    while let Next::Message(message) = stream.next(Waker::noop()) {
        events.push(TelemetryEvent::decode(&*message).expect("a message"));
    }
    events
}

fn sequences(events: &[TelemetryEvent]) -> Vec<u64> {
    events.iter().map(|event| event.sequence).collect()
}

fn ends_with(stream: &mut HostedStream, code: Code) {
    match stream.next(Waker::noop()) {
        Next::End(status) => assert_eq!(status.code(), code),
        other => panic!("it goes on with {other:?}"),
    }
}

#[test]
fn events_wait_for_the_first_control_and_then_come_in_order() {
    let streams = hasty();
    emit(&streams, 0..3);
    let mut stream = streams.open(false);
    assert!(matches!(stream.next(Waker::noop()), Next::Nothing(Some(_))));
    say(&stream, &ON);
    assert_eq!(sequences(&ready(&mut stream)), [1, 2, 3]);
    assert!(matches!(stream.next(Waker::noop()), Next::Nothing(None)));
}

#[test]
fn a_manager_without_hello_gets_no_extension_but_the_sequence() {
    let streams = hasty();
    emit(&streams, 0..1);
    let mut stream = streams.open(false);
    say(&stream, &ON);
    let events = ready(&mut stream);
    assert!(events[0].hello.is_none() && events[0].report.is_none());
    stream.leave();
    ends_with(&mut stream, Code::Ok);
}

#[test]
fn a_manager_with_hello_gets_hello_then_report_then_events_and_a_last_report() {
    let streams = hasty();
    emit(&streams, 0..2);
    let mut stream = streams.open(true);
    say(&stream, &hello());
    say(&stream, &ON);
    let events = ready(&mut stream);
    assert!(events[0].hello.is_some() && events[1].report.is_some());
    assert_eq!(sequences(&events[2..]), [1, 2]);
    streams.recorder().close();
    streams.end();
    let events = ready(&mut stream);
    let report = events[0].report.as_ref().expect("a last report");
    assert!(report.r#final && report.sent == 2);
    ends_with(&mut stream, Code::Ok);
}

#[test]
fn an_event_in_hand_at_a_cut_comes_again_and_none_is_lost() {
    let streams = hasty();
    emit(&streams, 0..5);
    let mut seen = Vec::new();
    for _ in 0..3 {
        let mut stream = streams.open(false);
        say(&stream, &ON);
        for _ in 0..2 {
            let Next::Message(message) = stream.next(Waker::noop()) else {
                panic!("there are events");
            };
            seen.push(
                TelemetryEvent::decode(&*message)
                    .expect("a message")
                    .sequence,
            );
        }
        // The second one is in hand.
    }
    assert_eq!(seen, [1, 2, 2, 3, 3, 4]);
    let mut stream = streams.open(false);
    say(&stream, &ON);
    assert_eq!(sequences(&ready(&mut stream)), [4, 5]);
    let ledger = streams.recorder().snapshot();
    assert_eq!((ledger.sent, ledger.queued), (5, 0));
}

#[test]
fn a_manager_with_hello_is_told_of_an_event_that_was_given_back_as_not_sent() {
    let streams = hasty();
    emit(&streams, 0..1);
    let mut stream = streams.open(false);
    say(&stream, &ON);
    assert!(matches!(stream.next(Waker::noop()), Next::Message(_)));
    drop(stream);
    let mut stream = streams.open(true);
    say(&stream, &hello());
    say(&stream, &ON);
    let events = ready(&mut stream);
    let hello = events[0].hello.as_ref().expect("hello first");
    assert_eq!(hello.sent_before, Some(0));
    assert_eq!(sequences(&events[2..]), [1]);
}

#[test]
fn an_event_that_is_given_back_wakes_the_stream_that_waits() {
    let streams = hasty();
    emit(&streams, 0..1);
    let mut older = streams.open(false);
    say(&older, &ON);
    assert!(matches!(older.next(Waker::noop()), Next::Message(_)));
    let mut newer = streams.open(false);
    say(&newer, &ON);
    let count = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&count));
    assert!(matches!(newer.next(&waker), Next::Nothing(None)));
    drop(older);
    assert_eq!(count.0.load(Ordering::Relaxed), 1);
    assert_eq!(sequences(&ready(&mut newer)), [1]);
}

#[test]
fn the_newest_stream_takes_the_events_and_the_older_one_ends() {
    let streams = hasty();
    let mut older = streams.open(false);
    say(&older, &ON);
    assert!(ready(&mut older).is_empty());
    let count = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&count));
    assert!(matches!(older.next(&waker), Next::Nothing(None)));
    let mut newer = streams.open(false);
    assert_eq!(count.0.load(Ordering::Relaxed), 1);
    say(&newer, &ON);
    emit(&streams, 0..2);
    ends_with(&mut older, Code::Aborted);
    assert_eq!(sequences(&ready(&mut newer)), [1, 2]);
}

#[test]
fn what_cannot_be_read_is_kept_and_ends_nothing() {
    let streams = hasty();
    let mut stream = streams.open(false);
    stream.hear(b"\xff\xff\xff");
    let error = streams.recorder().gate().control_status().error;
    assert!(error.contains("could not be read"), "{error}");
    say(&stream, &Control::Toggle { enabled: false });
    emit(&streams, 0..1);
    assert!(ready(&mut stream).is_empty());
    say(&stream, &ON);
    emit(&streams, 0..1);
    assert_eq!(ready(&mut stream).len(), 1);
}

#[test]
fn whoever_waits_is_woken_once_for_many_events() {
    let streams = streams(Duration::from_secs(60));
    let mut stream = streams.open(false);
    say(&stream, &ON);
    let count = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&count));
    assert!(matches!(stream.next(&waker), Next::Nothing(None)));
    emit(&streams, 0..100);
    assert_eq!(count.0.load(Ordering::Relaxed), 1);
    for _ in 0..100 {
        assert!(matches!(stream.next(&waker), Next::Message(_)));
    }
    // The next ones gather, and nobody is woken for a single one.
    emit(&streams, 0..1);
    assert!(matches!(stream.next(&waker), Next::Nothing(Some(_))));
    emit(&streams, 0..1);
    assert_eq!(count.0.load(Ordering::Relaxed), 1);
}

/// A manager that acknowledges.
fn acknowledging() -> Control {
    let mut greeting = Greeting::default();
    greeting.manager_id = "m".into();
    greeting.protocol_revision = telemetry_core::wire::PROTOCOL_REVISION;
    greeting.acknowledges = true;

    Control::Hello(greeting)
}

#[test]
fn what_was_given_back_is_not_before_what_the_hello_says() {
    let streams = hasty();
    emit(&streams, 0..1);
    let mut first = streams.open(false);
    say(&first, &ON);
    assert!(matches!(first.next(Waker::noop()), Next::Message(_)));
    drop(first);
    let mut second = streams.open(true);
    say(&second, &acknowledging());
    say(&second, &ON);
    let events = ready(&mut second);
    let hello = events[0].hello.as_ref().expect("a hello");
    assert_eq!(sequences(&events[2..]), [1], "it comes again");
    assert!(
        hello.retained_from <= 1,
        "a manager takes 1 for a duplicate: retained_from {}, missed_before {}",
        hello.retained_from,
        hello.missed_before
    );
}

#[test]
fn what_is_sent_again_does_not_gather() {
    let streams = streams(Duration::from_millis(500));
    emit(&streams, 0..20);
    let mut first = streams.open(true);
    say(&first, &acknowledging());
    say(&first, &ON);
    assert_eq!(sequences(&ready(&mut first)[2..]).len(), 20);
    drop(first);
    let mut second = streams.open(true);
    say(&second, &acknowledging());
    say(&second, &ON);
    let again = sequences(&ready(&mut second)[2..]);
    assert_eq!(
        again.len(),
        20,
        "after {again:?} the next one waits for the batch delay"
    );
}

#[test]
fn an_end_does_not_wait_for_ever_for_an_acknowledgement() {
    let streams = hasty();
    emit(&streams, 0..2);
    let mut stream = streams.open(true);
    say(&stream, &acknowledging());
    say(&stream, &ON);
    assert_eq!(sequences(&ready(&mut stream)[2..]), [1, 2]);
    streams.recorder().close();
    streams.end();
    let last = ready(&mut stream);
    assert!(
        last.last()
            .is_some_and(|it| it.report.as_ref().is_some_and(|it| it.r#final))
    );
    // The manager is frozen. Nobody outside can hurry a stream of the program's own server.
    let next = stream.next(Waker::noop());
    assert!(
        !matches!(next, Next::Nothing(None)),
        "it stays until somebody cuts it: {next:?}"
    );
}

#[test]
fn a_cut_before_the_hello_is_heard_forgets_nothing() {
    let streams = hasty();
    emit(&streams, 0..5);
    let mut first = streams.open(true);
    say(&first, &acknowledging());
    say(&first, &ON);
    assert_eq!(sequences(&ready(&mut first)[2..]).len(), 5);
    drop(first);
    let mut second = streams.open(true);
    second.hear_end(false);
    let _asked_once_more = second.next(Waker::noop());
    drop(second);
    assert_eq!(streams.recorder().snapshot().forgotten, 0);
}

#[test]
fn new_events_are_not_refused_for_events_that_were_sent() {
    let streams = hasty();
    let mut first = streams.open(true);
    say(&first, &acknowledging());
    say(&first, &ON);
    let _opening = ready(&mut first);
    for round in 0..10 {
        emit(&streams, round * 500..round * 500 + 500);
        let _sent = ready(&mut first);
    }
    // An outage.
    drop(first);
    let kept = streams.recorder().retained();
    assert!(kept > 1_000, "{kept}");
    // 8,192 events may wait, and a mebibyte.
    let text = "x".repeat(100);
    let site = streams
        .recorder()
        .callsite("tool.result_size")
        .expect("a name");
    let measurements = [("text", ValueRef::Str(&text))];
    let fields = Fields {
        measurements: &measurements,
        ..Fields::default()
    };
    let mut accepted = 0;
    while streams.recorder().record(&site, &fields) == telemetry_core::Outcome::Accepted {
        accepted += 1;
    }
    let ledger = streams.recorder().snapshot();
    assert_eq!(
        ledger.retained, 0,
        "{accepted} new ones were let in, the next is queue_full, and {} that were sent are kept; forgotten {}",
        ledger.retained, ledger.forgotten
    );
}
