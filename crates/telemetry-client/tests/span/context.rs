//! What spans and events inherit from the span that they happen in, and what goes to other processes.

use std::collections::HashSet;
use std::future::poll_fn;

use telemetry_client::{CORRELATION_HEADER, Span, current_span, extract, inject};
use telemetry_core::{
    Event, SpanPhase,
    emit::{PolicySpec, SamplingRule},
    ledger::Reason,
};

use super::{Fixture, fixture};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// What a request would carry that is made now.
fn headers() -> Vec<(&'static str, String)> {
    let mut headers = Vec::new();
    inject(|name, value| headers.push((name, value)));
    headers
}

/// Begins a span for a caller whose request has these flags.
fn for_caller(fixture: &Fixture, flags: &str) -> Span {
    let header = format!("00-{TRACE}-00f067aa0ba902b7-{flags}");
    let caller = extract(|_| Some(&header)).expect("a caller");
    fixture
        .telemetry
        .span("tool.execution")
        .parent(caller)
        .start()
}

fn ids(events: &[Event]) -> Vec<&str> {
    events.iter().map(|it| it.correlation_id.as_str()).collect()
}

#[test]
fn what_happens_in_a_span_carries_its_ids_and_what_comes_after_does_not() {
    let fixture = Fixture::new();
    let telemetry = &fixture.telemetry;
    let handle = telemetry.event("tool.result_size");
    let outer = telemetry
        .span("tool.execution")
        .correlation_id("id")
        .start();
    let entered = outer.enter();
    telemetry.emit("tool.result_size", &[], &[], "");
    handle.emit(&[], &[], "");
    let inner = telemetry.span("python.call").start();
    drop(entered);
    telemetry.emit("tool.result_size", &[], &[], "");
    handle.emit(&[], &[], "");
    let events = fixture.memory.take();
    assert_eq!(ids(&events), ["id", "id", "id", "id", "", ""]);
    let (outer, inner) = (outer.context().unwrap(), inner.context().unwrap());
    assert_eq!(
        (inner.trace_id, inner.parent_span_id),
        (outer.trace_id, Some(outer.span_id))
    );
    let spans: Vec<_> = events.iter().map(|event| event.span).collect();
    let expected = [
        Some(outer.at(SpanPhase::Start)),
        Some(outer),
        Some(outer),
        Some(inner.at(SpanPhase::Start)),
        None,
        None,
    ];
    assert_eq!(spans, expected);
}

#[test]
fn a_nested_span_has_the_correlation_id_of_its_parent_unless_it_is_given_one() {
    let fixture = Fixture::new();
    let telemetry = &fixture.telemetry;
    let outer = telemetry
        .span("tool.execution")
        .correlation_id("outer")
        .start();
    let _outer = outer.enter();
    {
        let own = telemetry.span("python.call").correlation_id("own").start();
        let _own = own.enter();
        telemetry.span("python.call").start().finish();
        telemetry.emit("tool.result_size", &[], &[], "given");
    }
    telemetry.span("python.call").start().finish();
    // A span elsewhere has an id that is not known here.
    for_caller(&fixture, "01").finish();
    let events = fixture.memory.take();
    assert_eq!(
        ids(&events),
        [
            "outer", "own", "own", "own", "given", "own", "outer", "outer", "", ""
        ]
    );
}

#[test]
fn a_span_whose_parent_is_elsewhere_hides_the_id_that_is_around_it() {
    let fixture = Fixture::new();
    let telemetry = &fixture.telemetry;
    let outer = telemetry
        .span("tool.execution")
        .correlation_id("id")
        .start();
    let _outer = outer.enter();
    {
        // Its parent is elsewhere, so it has no id, and neither has what happens in it.
        let served = for_caller(&fixture, "01");
        let _served = served.enter();
        telemetry.emit("tool.result_size", &[], &[], "");
    }
    telemetry.emit("tool.result_size", &[], &[], "");
    let events = fixture.memory.take();
    assert_eq!(ids(&events), ["id", "", "", "", "id"]);
}

#[tokio::test]
async fn a_future_takes_the_id_along_and_leaves_none_between_its_polls() {
    let fixture = Fixture::new();
    let telemetry = fixture.telemetry.clone();
    let work = telemetry
        .span("tool.execution")
        .correlation_id("id")
        .instrument(async {
            tokio::task::yield_now().await;
            telemetry
                .span("python.call")
                .instrument(async { telemetry.emit("tool.result_size", &[], &[], "") })
                .await;
        });
    let mut work = Box::pin(work);
    poll_fn(|cx| {
        let polled = work.as_mut().poll(cx);
        assert_eq!(current_span(), None);
        assert!(headers().is_empty());
        telemetry.emit("python.gc.completed", &[], &[], "");
        polled
    })
    .await;
    let events = fixture.memory.take();
    let of = |name: &str| -> HashSet<&str> {
        let named = events.iter().filter(|event| event.name() == name);
        named.map(|event| event.correlation_id.as_str()).collect()
    };
    assert_eq!(of("python.gc.completed"), HashSet::from([""]));
    for name in [
        "tool.execution.start",
        "python.call.start",
        "tool.result_size",
        "python.call.stop",
        "tool.execution.stop",
    ] {
        assert_eq!(of(name), HashSet::from(["id"]), "{name}");
    }
}

#[test]
fn a_request_carries_the_trace_and_the_correlation_id() {
    let fixture = Fixture::new();
    assert!(headers().is_empty());
    let span = fixture
        .telemetry
        .span("tool.execution")
        .correlation_id("request 1")
        .start();
    assert!(headers().is_empty(), "it was not entered");
    let _entered = span.enter();
    let own = span.trace_context().expect("it emits").to_string();
    assert!(own.ends_with("-01"), "a trace that begins here is sampled");
    let expected = vec![
        ("traceparent", own),
        (CORRELATION_HEADER, "request 1".to_owned()),
    ];
    assert_eq!(headers(), expected);
    for unfit in ["öä", "two\nlines", " indented", "\u{7f}"] {
        let span = fixture.telemetry.span("tool.execution");
        let span = span.correlation_id(unfit).start();
        let _entered = span.enter();
        let names: Vec<_> = headers().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["traceparent"], "{unfit:?}");
    }
}

#[test]
fn the_flags_of_a_caller_are_carried_onward() {
    let fixture = Fixture::new();
    // Of what comes later nothing is known, so it is cleared as the standard asks for.
    for (came, goes) in [
        ("00", "00"),
        ("01", "01"),
        ("02", "02"),
        ("03", "03"),
        ("fc", "00"),
    ] {
        let served = for_caller(&fixture, came);
        let own = served.trace_context().expect("it emits");
        assert_eq!(format!("{:02x}", own.flags), goes);
        let _served = served.enter();
        let within = fixture.telemetry.span("python.call").start();
        let _within = within.enter();
        let id = within.context().expect("it emits").span_id;
        let expected = vec![("traceparent", format!("00-{TRACE}-{id}-{goes}"))];
        assert_eq!(headers(), expected, "came as {came}");
    }
}

#[test]
fn sampling_keeps_or_drops_what_inherits_an_id_as_a_whole() {
    let half = SamplingRule::of_all(0.5);
    let mut policy = PolicySpec::default();
    policy.sampling = vec![half];
    let fixture = fixture(policy);
    let telemetry = &fixture.telemetry;
    let mut seen = HashSet::new();
    for number in 0..200 {
        let outer = telemetry
            .span("tool.execution")
            .correlation_id(format!("request-{number}"))
            .start();
        let entered = outer.enter();
        telemetry.span("python.call").start().finish();
        telemetry.emit("tool.result_size", &[], &[], "");
        drop(entered);
        outer.finish();
        seen.insert(fixture.memory.take().len());
    }
    assert_eq!(seen, HashSet::from([0, 5]), "a tree is whole or not there");
    let ledger = telemetry.ledger();
    assert!(ledger.dropped.get(Reason::SampledOut) > 0);
    ledger.check().expect("balance");
}

#[test]
fn ids_are_unique_over_threads() {
    const THREADS: usize = 64;
    const SPANS: usize = 500;
    let fixture = Fixture::new();
    let span = || {
        let span = fixture.telemetry.span("tool.execution").start();
        span.context().expect("it emits")
    };
    let made: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| scope.spawn(|| (0..SPANS).map(|_| span()).collect::<Vec<_>>()))
            .collect();
        let made = threads.into_iter().flat_map(|it| it.join().unwrap());
        made.collect()
    });
    let spans: HashSet<_> = made.iter().map(|span| span.span_id).collect();
    let traces: HashSet<_> = made.iter().map(|span| span.trace_id).collect();
    assert_eq!(
        (spans.len(), traces.len()),
        (THREADS * SPANS, THREADS * SPANS)
    );
}
