//! Every host event of the catalog has a helper, seen at a handler; every guard ends exactly once.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use telemetry_core::{
    Event, ManualClock,
    catalog::{Catalog, EventSpec, KeyId, KeySpec, Origin},
};

use super::*;
use crate::dispatch::MemoryHandler;

/// A host on a manual clock, and the handler that sees all it emits.
pub(super) struct Rig {
    pub(super) host: Host,
    clock: Arc<ManualClock>,
    pub(super) seen: MemoryHandler,
}

impl Rig {
    pub(super) fn new() -> Self {
        let clock = Arc::new(ManualClock::new(1_700_000_000_000_000_000));
        let source = Source::of_node("node-a");
        let dispatcher = Dispatcher::new(Arc::clone(Catalog::builtin()), source, clock.clone());
        let seen = MemoryHandler::new(1_000);
        dispatcher.attach("rig", "*", seen.clone()).unwrap();
        Self {
            host: Host::new(&dispatcher),
            clock,
            seen,
        }
    }

    /// The only event seen.
    fn one(&self) -> Event {
        let mut events = self.seen.events();
        assert_eq!(events.len(), 1, "{events:?}");
        events.remove(0)
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.seen
            .events()
            .iter()
            .map(|event| event.name.to_string())
            .collect()
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// Calls every helper once, with everything it takes.
fn call_every_helper(host: &Host) {
    let context = QueueContext {
        command: "run",
        session_id: "s",
        correlation_id: "c",
    };
    host.queue().enqueued(3, &context);
    host.queue().dequeued(SECOND, 2, "c");
    host.queue().timeout(SECOND, 2, SECOND, "c");

    host.session().created("s");
    host.session().destroyed("s", SECOND, 7, "closed");
    host.session().affinity_assigned("s");
    host.session()
        .affinity_broken("s", SECOND, 7, "worker_gone");

    host.session_store().session_created("s");
    host.session_store().session_accessed("s");
    host.session_store().session_deleted("s");
    host.session_store().session_expired("s");
    host.session_store().program_stored("s");
    host.session_store().program_retrieved("s");
    host.session_store().program_deleted("s");

    let exception = PythonException {
        error_type: "oom",
        python_type: "torch.OutOfMemoryError",
        library: "torch",
        function: "forward",
    };
    host.python_exception().mapped(&exception);
    host.python_exception().unmapped(&exception);

    host.grpc_call("Execute", "c").finish("OK", Some(SECOND));
    host.grpc_call("Execute", "c")
        .fail("UNAVAILABLE", "connection refused");

    host.heartbeat().monitor_started();
    host.heartbeat().monitor_stopped("shutdown");
    host.heartbeat().monitor_failure(3, "timeout");
    host.heartbeat().ping_sent();
    host.heartbeat().pong_received(SECOND);
    host.heartbeat().timeout(1);

    host.circuit_breaker().opened("failures");
    host.circuit_breaker().closed(SECOND);
    host.circuit_breaker().half_open(SECOND);
    host.circuit_breaker().call_allowed();
    host.circuit_breaker().call_rejected("open");
    host.circuit_breaker().call_succeeded(SECOND);
    host.circuit_breaker().call_failed(SECOND, "timeout");

    host.retry("connect").attempt(1, "refused");
    host.retry("connect").success(1, SECOND);
    host.retry("connect").exhausted(1, SECOND, "refused");
    host.retry("connect").backoff(1, SECOND, "refused");

    let mut shutdown = host.script_shutdown("done");
    shutdown.stopped();
    shutdown.cleaned_up();
    shutdown.exit(0);

    let buffer = Buffer {
        kind: "dlpack",
        device: "cuda:0",
        dtype: "f32",
        shape: "2x3",
        bytes: 24,
    };
    host.zero_copy().exported(&buffer, SECOND);
    host.zero_copy().imported(&buffer, SECOND);
    host.zero_copy().fell_back(&buffer, SECOND);

    host.hardware().detect("cuda").found("cuda:0");
    host.hardware().select("cuda").found("cuda:0");
    host.hardware().cache_hit("cuda:0", "cuda");
    host.hardware().cache_miss("cuda");
}

/// Names of `ids`, and the keys that any event may carry.
fn allowed(ids: &[KeyId], table: &[KeySpec]) -> HashSet<String> {
    let everywhere = [
        "node",
        "pool_name",
        "worker_id",
        "timestamp_ns",
        "correlation_id",
    ];
    let documented = ids.iter().map(|id| table[id.index()].name.to_string());
    documented.chain(everywhere.map(str::to_owned)).collect()
}

#[test]
fn every_host_event_has_a_helper_that_arrives() {
    let rig = Rig::new();
    call_every_helper(&rig.host);
    let seen: HashSet<String> = rig.names().into_iter().collect();
    let host_events = Catalog::builtin()
        .events()
        .iter()
        .filter(|e| e.origin == Origin::Host);
    let expected: HashSet<String> = host_events.map(|event| event.name.to_string()).collect();
    let missing: Vec<_> = expected.difference(&seen).collect();
    assert!(
        missing.is_empty(),
        "host events without a helper: {missing:?}"
    );
    let foreign: Vec<_> = seen.difference(&expected).collect();
    assert!(
        foreign.is_empty(),
        "helpers for events that are not the host's: {foreign:?}"
    );
}

#[test]
fn helpers_carry_only_what_the_catalog_documents() {
    let rig = Rig::new();
    call_every_helper(&rig.host);
    let catalog = Catalog::builtin();
    for event in rig.seen.events() {
        let spec: &EventSpec = catalog.by_name(&event.name).unwrap();
        let measurements = allowed(&spec.measurements, catalog.measurement_keys());
        assert!(
            !event.measurements.is_empty(),
            "{} measures nothing",
            event.name
        );
        for (key, _) in &event.measurements {
            assert!(measurements.contains(key), "{} measures {key}", event.name);
        }
        let metadata = allowed(&spec.metadata, catalog.metadata_keys());
        for (key, value) in &event.metadata {
            assert!(metadata.contains(key), "{} has metadata {key}", event.name);
            assert_ne!(value, "[redacted]", "{} hides {key}", event.name);
        }
    }
}

#[test]
fn events_say_when_and_for_whom() {
    let rig = Rig::new();
    let context = QueueContext {
        command: "run",
        session_id: "",
        correlation_id: "c-9",
    };
    rig.host
        .in_pool("gpu")
        .for_worker("gpu-1")
        .queue()
        .enqueued(3, &context);
    let event = rig.one();
    assert_eq!(event.measurement("queue_depth"), Some(ValueRef::Int(3)));
    let now = ValueRef::Int(1_700_000_000_000_000_000);
    assert_eq!(event.measurement("system_time"), Some(now));
    assert_eq!(event.metadata("node"), Some("node-a"));
    assert_eq!(event.metadata("pool_name"), Some("gpu"));
    assert_eq!(event.metadata("worker_id"), Some("gpu-1"));
    assert_eq!(event.metadata("command"), Some("run"));
    assert_eq!(
        event.metadata("session_id"),
        None,
        "what is not known is left out"
    );
    assert_eq!(event.correlation_id, "c-9");
}

#[test]
fn narrowing_leaves_the_host_as_it_was() {
    let rig = Rig::new();
    let _narrowed = rig.host.in_pool("gpu").for_worker("gpu-1");
    rig.host.session().created("s");
    assert_eq!(rig.one().metadata("pool_name"), None);
    assert_eq!(rig.one().metadata("worker_id"), None);
}

#[test]
fn a_call_is_measured_and_ends_once() {
    let rig = Rig::new();
    let call = rig.host.grpc_call("Execute", "c-1");
    rig.clock.advance(Duration::from_millis(250));
    call.finish("OK", Some(Duration::from_millis(50)));
    assert_eq!(
        rig.names(),
        ["snakepit.grpc.call.start", "snakepit.grpc.call.stop"]
    );
    let stop = &rig.seen.events()[1];
    assert_eq!(
        stop.measurement("duration"),
        Some(ValueRef::Int(250_000_000))
    );
    assert_eq!(
        stop.measurement("network_time"),
        Some(ValueRef::Int(50_000_000))
    );
    assert_eq!(stop.metadata("grpc_status"), Some("OK"));
    assert_eq!(stop.correlation_id, "c-1");
}

#[test]
fn an_abandoned_call_ends_as_exception() {
    let rig = Rig::new();
    drop(rig.host.grpc_call("Execute", ""));
    let host = rig.host.clone();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _call = host.grpc_call("Execute", "");
        panic!("in the middle of a call");
    }));
    assert!(panicked.is_err());
    let (start, exception) = ("snakepit.grpc.call.start", "snakepit.grpc.call.exception");
    assert_eq!(rig.names(), [start, exception, start, exception]);
    let events = rig.seen.events();
    assert_eq!(events[1].metadata("grpc_status"), Some("CANCELLED"));
    assert_eq!(
        events[1].metadata("error_message"),
        Some("the call was abandoned")
    );
    assert_eq!(
        events[3].metadata("error_message"),
        Some("the call was abandoned by a panic")
    );
}

#[test]
fn a_hardware_step_ends_once_with_or_without_a_device() {
    let rig = Rig::new();
    let step = rig.host.hardware().detect("cuda");
    rig.clock.advance(SECOND);
    step.found("cuda:0");
    drop(rig.host.hardware().select("cuda"));
    let expected = ["detect.start", "detect.stop", "select.start", "select.stop"];
    assert_eq!(
        rig.names(),
        expected.map(|step| format!("snakepit.hardware.{step}"))
    );
    let events = rig.seen.events();
    assert_eq!(
        events[1].measurement("duration"),
        Some(ValueRef::Int(1_000_000_000))
    );
    assert_eq!(events[1].metadata("device"), Some("cuda:0"));
    assert_eq!(events[3].metadata("device"), None);
}

#[test]
fn a_shutdown_tells_each_step_once_and_always_its_exit() {
    let rig = Rig::new();
    let mut shutdown = rig.host.script_shutdown("signal");
    shutdown.stopped();
    shutdown.stopped();
    shutdown.exit(3);
    drop(rig.host.script_shutdown("error"));
    let expected = ["start", "stop", "exit", "start", "exit"];
    assert_eq!(
        rig.names(),
        expected.map(|step| format!("snakepit.script.shutdown.{step}"))
    );
    let events = rig.seen.events();
    assert_eq!(events[2].metadata("exit_code"), Some("3"));
    assert_eq!(events[4].metadata("exit_code"), None);
}

#[test]
fn text_of_workers_is_escaped_and_bounded() {
    let rig = Rig::new();
    let message = format!("\u{1b}[31mred\n{}", "x".repeat(5_000));
    rig.host.grpc_call("Execute", "").fail("INTERNAL", &message);
    let events = rig.seen.events();
    let told = events[1].metadata("error_message").unwrap();
    assert!(told.len() <= 1_024, "{} bytes", told.len());
    assert!(!told.contains(['\u{1b}', '\n']), "{told:?}");
}
