//! Facts about queued handlers: what is dropped, what is drained, and that the ledger balances.

use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use telemetry_core::{EventRef, ledger::Reason};

use super::{AttachError, FAILURE, PATIENCE, STOP, dispatcher, execute, ids, names};
use crate::dispatch::{
    Dispatcher, Handler, HandlerError, HandlerLedger, MemoryHandler, QueuedConfig,
};

/// A handler that says when it is entered and stays until it is let go.
struct Gated {
    entered: Sender<()>,
    go: Mutex<Receiver<()>>,
}

impl Handler for Gated {
    fn handle(&self, _: &EventRef<'_>) -> Result<(), HandlerError> {
        self.entered.send(())?;
        // An error is the test letting go of the gate: from then on it is open.
        let _ = self.go.lock().expect("one thread").recv();
        Ok(())
    }
}

/// The handler, what it says, and the gate.
fn gated() -> (Gated, Receiver<()>, SyncSender<()>) {
    let (entered, says) = channel();
    let (gate, go) = sync_channel(1_000);
    (
        Gated {
            entered,
            go: Mutex::new(go),
        },
        says,
        gate,
    )
}

fn config(capacity: usize, drain: Duration) -> QueuedConfig {
    QueuedConfig {
        capacity,
        drain,
        ..QueuedConfig::default()
    }
}

fn ledger(dispatcher: &Dispatcher, id: &str) -> HandlerLedger {
    let infos = dispatcher.list_handlers("");
    infos
        .into_iter()
        .find(|info| info.id == id)
        .expect("attached")
        .ledger
}

#[test]
fn full_queue_drops_and_counts() {
    let dispatcher = dispatcher();
    let (handler, entered, gate) = gated();
    dispatcher
        .attach_queued("slow", &["*"], handler, config(4, PATIENCE))
        .unwrap();
    execute(&dispatcher, STOP);
    entered.recv_timeout(PATIENCE).unwrap();
    for _ in 0..10 {
        execute(&dispatcher, STOP);
    }
    let now = ledger(&dispatcher, "slow");
    assert_eq!(
        (now.dispatched, now.queued, now.in_flight, now.delivered),
        (11, 4, 1, 0)
    );
    assert_eq!(now.dropped.get(Reason::ExporterQueueFull), 6);
    now.check().unwrap();

    drop(gate);
    let end = dispatcher.detach_and_wait("slow", PATIENCE).unwrap().ledger;
    assert_eq!(
        (end.dispatched, end.delivered, end.queued, end.in_flight),
        (11, 5, 0, 0)
    );
    end.check().unwrap();
}

#[test]
fn a_queue_is_bounded_in_bytes_too_but_lets_one_event_in() {
    let dispatcher = dispatcher();
    let (handler, entered, gate) = gated();
    let config = QueuedConfig {
        capacity: 100,
        bytes: 1,
        drain: PATIENCE,
    };
    dispatcher
        .attach_queued("slow", &["*"], handler, config)
        .unwrap();
    execute(&dispatcher, STOP);
    entered.recv_timeout(PATIENCE).unwrap();
    execute(&dispatcher, STOP);
    execute(&dispatcher, STOP);
    let now = ledger(&dispatcher, "slow");
    assert_eq!(
        (now.queued, now.dropped.get(Reason::ExporterQueueFull)),
        (1, 1)
    );
    drop(gate);
    assert_eq!(
        dispatcher
            .detach_and_wait("slow", PATIENCE)
            .unwrap()
            .ledger
            .delivered,
        2
    );
}

#[test]
fn a_slow_handler_slows_nobody() {
    let dispatcher = dispatcher();
    let (handler, entered, _gate) = gated();
    dispatcher
        .attach_queued("stuck", &["*"], handler, config(2, Duration::ZERO))
        .unwrap();
    let quick = MemoryHandler::new(0);
    dispatcher
        .attach_queued("quick", &["*"], quick.clone(), config(1_000, PATIENCE))
        .unwrap();
    for _ in 0..500 {
        execute(&dispatcher, STOP);
    }
    entered.recv_timeout(PATIENCE).unwrap();
    assert!(quick.wait_for(500, PATIENCE));
    let end = dispatcher
        .detach_and_wait("stuck", Duration::ZERO)
        .unwrap()
        .ledger;
    assert_eq!((end.delivered, end.in_flight, end.queued), (0, 1, 0));
    end.check().unwrap();
}

#[test]
fn what_the_drain_time_does_not_suffice_for_is_counted() {
    let dispatcher = dispatcher();
    let (handler, entered, gate) = gated();
    dispatcher
        .attach_queued("slow", &["*"], handler, config(10, Duration::ZERO))
        .unwrap();
    for _ in 0..5 {
        execute(&dispatcher, STOP);
    }
    entered.recv_timeout(PATIENCE).unwrap();
    assert!(dispatcher.detach("slow"));
    execute(&dispatcher, STOP);
    drop(gate);
    // A second handler of the same id has nothing to do with the first.
    dispatcher
        .attach_queued("slow", &["*"], MemoryHandler::new(1), config(1, PATIENCE))
        .unwrap();
    assert_eq!(ledger(&dispatcher, "slow").dispatched, 0);

    let (handler, entered, gate) = gated();
    dispatcher
        .attach_queued("second", &["*"], handler, config(10, Duration::ZERO))
        .unwrap();
    for _ in 0..5 {
        execute(&dispatcher, STOP);
    }
    entered.recv_timeout(PATIENCE).unwrap();
    let end = dispatcher
        .detach_and_wait("second", Duration::from_millis(1))
        .unwrap()
        .ledger;
    assert_eq!(end.dropped.get(Reason::ExporterShutdownDeadline), 4);
    assert_eq!((end.queued, end.in_flight), (0, 1));
    end.check().unwrap();
    drop(gate);
}

#[test]
fn a_queued_handler_sees_what_an_inline_one_sees() {
    let dispatcher = dispatcher();
    let (inline, queued) = (MemoryHandler::new(4), MemoryHandler::new(4));
    dispatcher.attach("inline", "*", inline.clone()).unwrap();
    dispatcher
        .attach_queued("queued", &["*"], queued.clone(), config(4, PATIENCE))
        .unwrap();
    execute(&dispatcher, STOP);
    assert!(queued.wait_for(1, PATIENCE));
    assert_eq!(inline.events(), queued.events());
}

#[test]
fn a_queued_handler_that_fails_is_detached_and_reported() {
    let dispatcher = dispatcher();
    let memory = MemoryHandler::new(10);
    dispatcher
        .attach("memory", FAILURE, memory.clone())
        .unwrap();
    let bad = |event: &EventRef<'_>| panic!("cannot take {}", event.name());
    dispatcher
        .attach_queued("bad", &[STOP], bad, config(10, PATIENCE))
        .unwrap();
    execute(&dispatcher, STOP);
    assert!(memory.wait_for(1, PATIENCE));
    let event = memory.events().remove(0);
    assert_eq!(event.metadata("handler_id"), Some("bad"));
    assert_eq!(event.metadata("kind"), Some("panic"));
    assert_eq!(
        event.metadata("reason"),
        Some("cannot take snakepit.python.call.stop")
    );
    assert_eq!(ids(&dispatcher, ""), ["memory"]);
    assert_eq!(names(&memory), [FAILURE]);
}

#[test]
fn a_handler_detached_by_itself_does_not_wait_for_itself() {
    let dispatcher = dispatcher();
    let weak = Arc::downgrade(&dispatcher.shared);
    let (sender, detached) = channel();
    let suicidal = move |_: &EventRef<'_>| {
        let dispatcher = Dispatcher {
            shared: weak.upgrade().expect("the test's"),
        };
        let info = dispatcher
            .detach_and_wait("self", PATIENCE)
            .expect("attached");
        sender
            .send(info.ledger.in_flight)
            .expect("the test listens");
    };
    dispatcher
        .attach_queued("self", &["*"], suicidal, config(4, PATIENCE))
        .unwrap();
    execute(&dispatcher, STOP);
    assert_eq!(detached.recv_timeout(PATIENCE), Ok(1));
    assert!(ids(&dispatcher, "").is_empty());
}

#[test]
fn the_ledger_balances_at_any_moment() {
    let dispatcher = dispatcher();
    dispatcher
        .attach_queued("one", &["*"], MemoryHandler::new(0), config(8, PATIENCE))
        .unwrap();
    std::thread::scope(|scope| {
        let busy: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| (0..3_000).for_each(|_| execute(&dispatcher, STOP))))
            .collect();
        while busy.iter().any(|thread| !thread.is_finished()) {
            ledger(&dispatcher, "one").check().unwrap();
        }
    });
    let end = dispatcher.shutdown(PATIENCE).remove(0).ledger;
    assert_eq!((end.dispatched, end.queued, end.in_flight), (9_000, 0, 0));
    end.check().unwrap();
}

#[test]
fn dropping_the_dispatcher_ends_the_thread() {
    let dispatcher = dispatcher();
    let (sender, dropped) = channel::<()>();
    let handler = move |_: &EventRef<'_>| sender.send(()).expect("the test listens");
    dispatcher
        .attach_queued("one", &["*"], handler, config(4, PATIENCE))
        .unwrap();
    drop(dispatcher);
    let gone = dropped.recv_timeout(PATIENCE);
    assert_eq!(gone, Err(std::sync::mpsc::RecvTimeoutError::Disconnected));
}

#[test]
fn an_impossible_capacity_is_refused() {
    let dispatcher = dispatcher();
    for capacity in [0, usize::MAX] {
        let config = config(capacity, PATIENCE);
        let refused = dispatcher.attach_queued("one", &["*"], MemoryHandler::new(1), config);
        assert!(matches!(refused, Err(AttachError::Capacity { .. })));
    }
}
