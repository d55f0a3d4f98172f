//! Facts about dispatching: who is called, what a failure does, what a full queue counts.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Weak};
use std::time::Duration;

use telemetry_core::{
    EventParts, EventRef, ManualClock, Source, ValueRef, catalog::Catalog, ledger::Reason,
};

use super::{
    AttachError, Dispatcher, EmitError, Handler, MAX_DISPATCH_DEPTH, MemoryHandler, QueuedConfig,
    Shared, fallible,
};

mod queued;

const PATIENCE: Duration = Duration::from_secs(60);
const STATUS: &str = "snakepit.pool.status";
const STOP: &str = "snakepit.python.call.stop";
const FAILURE: &str = "telemetry.handler.failure";

fn dispatcher() -> Dispatcher {
    let clock = Arc::new(ManualClock::new(1_700_000_000_000_000_000));
    Dispatcher::new(
        Arc::clone(Catalog::builtin()),
        Source::of_node("here"),
        clock,
    )
}

/// Dispatches one event of a worker.
fn execute(dispatcher: &Dispatcher, name: &str) {
    let source = Source {
        worker_id: Some("w1".into()),
        pool_name: Some("pool".into()),
        ..Source::of_node("here")
    };
    dispatcher.execute(&EventRef::new(EventParts {
        spec: dispatcher
            .catalog()
            .by_name(name)
            .expect("a built-in event"),
        measurements: &[("duration", ValueRef::Int(5))],
        metadata: &[("command", "run")],
        timestamp_ns: 7,
        correlation_id: "job",
        sampling_rate: 0.5,
        span: None,
        source: &source,
    }));
}

fn names(memory: &MemoryHandler) -> Vec<String> {
    memory
        .events()
        .iter()
        .map(|event| event.name.to_string())
        .collect()
}

fn ids(dispatcher: &Dispatcher, prefix: &str) -> Vec<String> {
    dispatcher
        .list_handlers(prefix)
        .into_iter()
        .map(|info| info.id)
        .collect()
}

#[test]
fn only_covered_events_reach_a_handler() {
    let dispatcher = dispatcher();
    let memory = MemoryHandler::new(10);
    dispatcher
        .attach("memory", "snakepit.python.call.*", memory.clone())
        .unwrap();
    execute(&dispatcher, STOP);
    execute(&dispatcher, STATUS);
    assert_eq!(names(&memory), [STOP]);
    let event = &memory.events()[0];
    assert_eq!(event.metadata("worker_id"), Some("w1"));
    assert_eq!(event.correlation_id, "job");
    assert!(dispatcher.has_handlers(dispatcher.catalog().by_name(STOP).unwrap().id));
    assert!(!dispatcher.has_handlers(dispatcher.catalog().by_name(STATUS).unwrap().id));
}

#[test]
fn an_event_that_two_patterns_cover_is_handled_once() {
    let dispatcher = dispatcher();
    let memory = MemoryHandler::new(10);
    dispatcher
        .attach_many("memory", &["*", STOP], memory.clone())
        .unwrap();
    execute(&dispatcher, STOP);
    assert_eq!(memory.seen(), 1);
}

#[test]
fn handlers_are_called_in_the_order_of_attachment() {
    let dispatcher = dispatcher();
    let (sender, called) = mpsc::channel();
    for id in ["b", "a", "c"] {
        let sender = sender.clone();
        dispatcher
            .attach(id, "*", move |_: &EventRef<'_>| sender.send(id).unwrap())
            .unwrap();
    }
    execute(&dispatcher, STOP);
    assert_eq!(called.try_iter().collect::<Vec<_>>(), ["b", "a", "c"]);
}

#[test]
fn an_id_is_taken_once_and_free_again_after_detach() {
    let dispatcher = dispatcher();
    dispatcher
        .attach("one", "*", MemoryHandler::new(1))
        .unwrap();
    let again = dispatcher.attach("one", STOP, MemoryHandler::new(1));
    assert!(matches!(again, Err(AttachError::AlreadyExists { id }) if id == "one"));
    assert!(dispatcher.detach("one"));
    assert!(!dispatcher.detach("one"));
    dispatcher
        .attach("one", STOP, MemoryHandler::new(1))
        .unwrap();
}

#[test]
fn a_misspelt_exact_name_is_refused_with_the_right_one() {
    let dispatcher = dispatcher();
    let check = |pattern: &str, expected: &str| {
        let error = dispatcher
            .attach("h", pattern, MemoryHandler::new(1))
            .unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    };
    check(
        "snakepit.python.call.stpo",
        "did you mean \"snakepit.python.call.stop\"",
    );
    check(
        "tool.execution.stop",
        "did you mean \"snakepit.python.tool.execution.stop\"",
    );
    check("nothing.like.it.at.all.anywhere", "no event");
    check("snakepit.pool.own", "no event");
    check("", "empty");
    check("a[", "no valid glob");
    // What workers may send beyond the catalog can be waited for.
    let own = "snakepit.python.entirely.own";
    dispatcher
        .attach("own", own, MemoryHandler::new(1))
        .unwrap();
    assert!(
        dispatcher
            .attach_many("h", &[], MemoryHandler::new(1))
            .is_err()
    );
    dispatcher
        .attach("glob", "nothing.like.*", MemoryHandler::new(1))
        .unwrap();
}

#[test]
fn list_handlers_goes_by_the_prefix_of_the_pattern() {
    let dispatcher = dispatcher();
    dispatcher
        .attach("calls", "snakepit.python.*", MemoryHandler::new(1))
        .unwrap();
    dispatcher
        .attach("all", "*", MemoryHandler::new(1))
        .unwrap();
    assert_eq!(ids(&dispatcher, "snakepit.python"), ["calls"]);
    assert_eq!(ids(&dispatcher, ""), ["calls", "all"]);
    execute(&dispatcher, STOP);
    let info = dispatcher.list_handlers("snakepit").remove(0);
    assert_eq!((info.ledger.dispatched, info.ledger.delivered), (1, 1));
    assert!(info.matching_events > 5);
    info.ledger.check().unwrap();
}

#[track_caller]
fn check_failure(handler: impl Handler + 'static, kind: &str, reason: &str) {
    let dispatcher = dispatcher();
    let before = MemoryHandler::new(10);
    let after = MemoryHandler::new(10);
    dispatcher.attach("before", "*", before.clone()).unwrap();
    dispatcher.attach("bad", "*", handler).unwrap();
    dispatcher.attach("after", "*", after.clone()).unwrap();
    execute(&dispatcher, STOP);
    execute(&dispatcher, STOP);
    assert_eq!(ids(&dispatcher, ""), ["before", "after"]);
    for memory in [before, after] {
        assert_eq!(names(&memory), [STOP, FAILURE, STOP]);
        let event = &memory.events()[1];
        assert_eq!(event.metadata("handler_id"), Some("bad"));
        assert_eq!(event.metadata("event_name"), Some(STOP));
        assert_eq!(event.metadata("kind"), Some(kind));
        assert_eq!(event.metadata("reason"), Some(reason));
        assert_eq!(event.metadata("node"), Some("here"));
        assert!(event.measurement("system_time").is_some());
        assert!(event.measurement("duration").is_some());
    }
}

#[test]
fn a_handler_that_panics_is_detached_and_reported() {
    check_failure(
        |_: &EventRef<'_>| panic!("broken {}", 7),
        "panic",
        "broken 7",
    );
}

#[test]
fn a_handler_that_errs_is_detached_and_reported() {
    check_failure(
        fallible(|_| Err("no\u{1b}[31m room".into())),
        "error",
        "no\\u{001B}[31m room",
    );
}

#[test]
fn a_panic_whose_payload_panics_is_contained() {
    struct Grenade;
    impl Drop for Grenade {
        fn drop(&mut self) {
            panic!("payload");
        }
    }
    let reason = "panicked with something that is no text";
    check_failure(
        |_: &EventRef<'_>| std::panic::panic_any(Grenade),
        "panic",
        reason,
    );
}

#[test]
fn handlers_that_fail_on_failures_are_each_reported_once() {
    let dispatcher = dispatcher();
    let memory = MemoryHandler::new(1_000);
    dispatcher
        .attach("memory", FAILURE, memory.clone())
        .unwrap();
    for number in 0..500 {
        let bad = |_: &EventRef<'_>| panic!("always");
        dispatcher
            .attach(&format!("bad-{number}"), FAILURE, bad)
            .unwrap();
    }
    dispatcher
        .attach("first", STOP, |_: &EventRef<'_>| panic!("once"))
        .unwrap();
    execute(&dispatcher, STOP);
    assert_eq!(memory.seen(), 501);
    assert_eq!(ids(&dispatcher, ""), ["memory"]);
}

#[test]
fn a_handler_may_attach_and_detach_from_inside() {
    let dispatcher = dispatcher();
    let weak: Weak<Shared> = Arc::downgrade(&dispatcher.shared);
    let memory = MemoryHandler::new(10);
    let inner = memory.clone();
    dispatcher
        .attach("outer", STOP, move |_: &EventRef<'_>| {
            let dispatcher = Dispatcher {
                shared: weak.upgrade().expect("the caller's"),
            };
            assert!(dispatcher.detach("outer"));
            dispatcher
                .attach("inner", STOP, inner.clone())
                .expect("a free id");
            assert_eq!(dispatcher.list_handlers("").len(), 1);
        })
        .unwrap();
    execute(&dispatcher, STOP);
    assert_eq!(memory.seen(), 0, "attached for the events to come");
    execute(&dispatcher, STOP);
    assert_eq!(memory.seen(), 1);
    assert_eq!(ids(&dispatcher, ""), ["inner"]);
}

#[test]
fn a_handler_that_emits_what_it_is_attached_to_comes_to_an_end() {
    let dispatcher = dispatcher();
    let weak = Arc::downgrade(&dispatcher.shared);
    let calls = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&calls);
    dispatcher
        .attach("loop", STATUS, move |_: &EventRef<'_>| {
            counted.fetch_add(1, Ordering::Relaxed);
            let dispatcher = Dispatcher {
                shared: weak.upgrade().expect("the caller's"),
            };
            dispatcher
                .emit_own(STATUS, &[], &[])
                .expect("a known event");
        })
        .unwrap();
    dispatcher.emit_own(STATUS, &[], &[]).unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), u64::from(MAX_DISPATCH_DEPTH));
    assert_eq!(dispatcher.dropped_too_deep(), 1);
}

#[test]
fn a_destructor_that_panics_stays_with_its_handler() {
    struct Mine(Arc<AtomicBool>);
    impl Handler for Mine {
        fn handle(&self, _: &EventRef<'_>) -> Result<(), super::HandlerError> {
            Ok(())
        }
    }
    impl Drop for Mine {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
            panic!("in drop");
        }
    }
    let dispatcher = dispatcher();
    let dropped = Arc::new(AtomicBool::new(false));
    dispatcher
        .attach("mine", "*", Mine(Arc::clone(&dropped)))
        .unwrap();
    assert!(dispatcher.detach("mine"));
    assert!(dropped.load(Ordering::SeqCst));
}

#[test]
fn events_of_our_own_are_stamped_and_checked() {
    let dispatcher = dispatcher();
    let memory = MemoryHandler::new(10);
    dispatcher.attach("memory", "*", memory.clone()).unwrap();
    let queue_depth = ("queue_depth", ValueRef::Int(3));
    dispatcher
        .emit_own(STATUS, &[queue_depth], &[("correlation_id", "c")])
        .unwrap();
    let event = memory.events().remove(0);
    assert_eq!(event.timestamp_ns, 1_700_000_000_000_000_000);
    assert_eq!(event.metadata("node"), Some("here"));
    assert_eq!(event.correlation_id, "c");

    let source = Source {
        worker_id: Some("w9".into()),
        ..Source::of_node("here")
    };
    dispatcher
        .emit_for(&source, "snakepit.worker.crash", &[], &[("reason", "x")])
        .unwrap();
    assert_eq!(memory.events()[1].metadata("worker_id"), Some("w9"));

    let error = dispatcher
        .emit_own("snakepit.pool.stats", &[], &[])
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("did you mean \"snakepit.pool.status\""),
        "{error}"
    );
    let error = dispatcher
        .emit_own(STATUS, &[("depth", ValueRef::Int(1))], &[])
        .unwrap_err();
    assert!(matches!(error, EmitError::UnknownMeasurement { key, .. } if key == "depth"));
    let error = dispatcher.emit_own(STOP, &[], &[]).unwrap_err();
    assert!(matches!(error, EmitError::WorkerEvent { .. }));
    assert_eq!(memory.seen(), 2);
}

#[test]
fn an_event_of_another_catalog_is_matched_by_its_name() {
    let catalog = |name| {
        let builder = Catalog::builder().event(name, &["duration"], &[]);
        builder.build().unwrap()
    };
    let (ours, theirs) = (catalog("ours.done"), catalog("theirs.done"));
    let clock = Arc::new(ManualClock::new(0));
    let dispatcher = Dispatcher::new(ours, Source::of_node("here"), clock);
    let (right, wrong) = (MemoryHandler::new(4), MemoryHandler::new(4));
    dispatcher
        .attach("right", "snakepit.python.theirs.*", right.clone())
        .unwrap();
    let queued = right.clone();
    let config = QueuedConfig::default();
    dispatcher
        .attach_queued("queued", &["*.theirs.*"], queued, config)
        .unwrap();
    dispatcher
        .attach("wrong", "snakepit.python.ours.done", wrong.clone())
        .unwrap();
    dispatcher.execute(&EventRef::new(EventParts {
        spec: theirs.by_wire_name("theirs.done").unwrap(),
        measurements: &[],
        metadata: &[],
        timestamp_ns: 0,
        correlation_id: "",
        sampling_rate: 1.0,
        span: None,
        source: &Source::of_node("here"),
    }));
    assert!(right.wait_for(2, PATIENCE));
    assert_eq!(names(&right), ["snakepit.python.theirs.done"; 2]);
    assert_eq!(wrong.seen(), 0);
}

#[test]
fn many_threads_dispatch_while_handlers_come_and_go() {
    let dispatcher = dispatcher();
    let steady = MemoryHandler::new(0);
    dispatcher.attach("steady", "*", steady.clone()).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..2_000).for_each(|_| execute(&dispatcher, STOP)));
        }
        scope.spawn(|| {
            for _ in 0..200 {
                dispatcher
                    .attach("fleeting", "*", |_: &EventRef<'_>| ())
                    .unwrap();
                dispatcher
                    .attach("bad", "*", fallible(|_| Err("bad".into())))
                    .ok();
                assert!(dispatcher.detach("fleeting"));
            }
        });
    });
    let failures = dispatcher.list_handlers("");
    let info = failures.iter().find(|info| info.id == "steady").unwrap();
    assert!(info.ledger.delivered >= 8_000);
    assert_eq!(info.ledger.dropped.get(Reason::ExporterError), 0);
    assert_eq!(steady.seen(), info.ledger.delivered);
}
