//! What a process was started under is around all that it does. One test: a process has one environment.

use telemetry_client::backend::MemoryBackend;
use telemetry_client::{CORRELATION_HEADER, Config, Telemetry, current_span, inject};
use telemetry_core::{SystemClock, TraceContext, emit::RecorderConfig};

use std::sync::Arc;

const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

/// What a request would carry that is made now.
fn headers() -> Vec<(&'static str, String)> {
    let mut headers = Vec::new();
    inject(|name, value| headers.push((name, value)));
    headers
}

#[test]
fn spans_and_events_of_a_process_are_those_of_whoever_started_it() {
    assert_eq!((current_span(), headers()), (None, Vec::new()));
    let start = |caller: &str, id: &str| {
        let config = Config::from_lookup(|variable| match variable {
            "TRACEPARENT" => Some(caller.to_owned()),
            "BAGGAGE" => Some(format!("correlation_id={id}")),
            _ => None,
        });
        config.expect("settings").start().expect("nothing to start")
    };
    let _worker = start(CALLER, "request-1");
    // What was first stays, as the environment of a process does.
    let _other = start(&CALLER.replace('4', "5"), "request-2");

    let clock = Arc::new(SystemClock::new());
    let memory = MemoryBackend::new(RecorderConfig::default(), clock).expect("a policy");
    let memory = Arc::new(memory);
    let telemetry = Telemetry::builder().backend(memory.clone()).build();
    let caller = TraceContext::parse(CALLER).expect("a caller");
    let in_a_thread = std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            telemetry.emit("tool.result_size", &[], &[], "");
            let span = telemetry.span("tool.execution").start();
            let entered = span.enter();
            let own = headers();
            drop(entered);
            (span.context().expect("it emits"), own, headers())
        });
        worker.join().expect("no panic")
    });
    let (span, own, after) = in_a_thread;
    assert_eq!(
        (span.trace_id, span.parent_span_id),
        (caller.trace_id, Some(caller.span_id))
    );
    let id = (CORRELATION_HEADER, "request-1".to_owned());
    let traceparent = format!("00-{}-{}-00", span.trace_id, span.span_id);
    assert_eq!(own, [("traceparent", traceparent), id.clone()]);
    // What is requested outside of spans belongs to the caller's.
    assert_eq!(after, [("traceparent", CALLER.to_owned()), id]);

    let events = memory.take();
    assert_eq!(events.len(), 3, "an event, a start and a stop");
    assert!(events.iter().all(|it| it.correlation_id == "request-1"));
    assert_eq!(events[0].span.map(|it| it.span_id), Some(caller.span_id));
}
