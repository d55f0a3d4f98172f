//! The queue at its bounds: floods, eviction, closing, and waking who drains it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Wake, Waker};
use std::time::Duration;
use telemetry_core::{
    Outcome,
    emit::{Fields, Overflow, QueueLimits, RecorderConfig},
    ledger::Reason,
};

use crate::{ALL, drain, emit, recorder, small_queue};

#[test]
fn eight_threads_flooding_a_queue_of_64_balance_exactly() {
    let recorder = small_queue(64, Overflow::DropNewest);
    let done = AtomicBool::new(false);
    let mut received = 0;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let site = recorder.callsite("a.b").expect("valid");
                    (0..5_000)
                        .filter(|_| recorder.record(&site, &Fields::default()) == Outcome::Accepted)
                        .count()
                })
            })
            .collect();
        let drainer = scope.spawn(|| {
            let mut received = 0;
            while !done.load(Ordering::Acquire) {
                received += drain(&recorder).len();
                std::thread::yield_now();
            }
            received + drain(&recorder).len()
        });
        let accepted: usize = threads
            .into_iter()
            .map(|t| t.join().expect("no panic"))
            .sum();
        done.store(true, Ordering::Release);
        received = drainer.join().expect("no panic");
        assert_eq!(accepted, received);
    });
    let snapshot = recorder.snapshot();
    assert_eq!(snapshot.check(), Ok(()));
    assert_eq!(snapshot.emitted, 40_000);
    assert_eq!(snapshot.sent, received as u64);
    assert_eq!(
        snapshot.dropped.get(Reason::QueueFull),
        40_000 - snapshot.accepted
    );
}

#[test]
fn drop_oldest_keeps_the_newest_and_counts_the_rest() {
    let recorder = small_queue(4, Overflow::DropOldest);
    for name in ["a", "b", "c", "d", "e", "f"] {
        assert_eq!(emit(&recorder, name), Outcome::Accepted);
    }
    let snapshot = recorder.snapshot();
    assert_eq!(snapshot.check(), Ok(()));
    assert_eq!(snapshot.dropped.get(Reason::EvictedOldest), 2);
    let names: Vec<_> = drain(&recorder)
        .iter()
        .map(|e| e.event_parts.join("."))
        .collect();
    assert_eq!(names, ["c", "d", "e", "f"]);
}

#[test]
fn closing_refuses_new_events_and_counts_what_is_left() {
    let recorder = small_queue(64, Overflow::DropNewest);
    for _ in 0..10 {
        emit(&recorder, "a.b");
    }
    recorder.close();
    assert_eq!(emit(&recorder, "a.b"), Outcome::Dropped(Reason::NotRunning));
    assert!(!recorder.wait_drained(Duration::from_millis(5)));
    assert_eq!(recorder.discard_queued(Reason::ShutdownDeadline), 10);
    let snapshot = recorder.snapshot();
    assert_eq!(snapshot.check(), Ok(()));
    assert_eq!((snapshot.emitted, snapshot.accepted), (11, 0));
}

#[test]
fn waiting_for_ever_is_allowed() {
    let recorder = recorder(RecorderConfig::default());
    assert!(recorder.wait_drained(Duration::MAX));
    emit(&recorder, "a");
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| recorder.wait_drained(Duration::MAX));
        recorder.discard_queued(Reason::ShutdownDeadline);
        assert!(waiter.join().expect("no panic"));
    });
}

#[test]
fn an_event_larger_than_the_queue_evicts_nothing() {
    let mut config = RecorderConfig::default();
    config.queue = QueueLimits::new(64, 500);
    config.overflow = Overflow::DropOldest;
    let recorder = recorder(config);
    emit(&recorder, "a");
    let site = recorder.callsite("b").expect("valid");
    let text = "x".repeat(1_000);
    let fields = Fields {
        metadata: &[("tool", &text)],
        ..Fields::default()
    };
    assert_eq!(
        recorder.record(&site, &fields),
        Outcome::Dropped(Reason::QueueFull)
    );
    assert_eq!(drain(&recorder)[0].event_parts, ["a"]);
}

#[test]
fn drop_oldest_refuses_nothing_while_another_thread_drains() {
    let recorder = small_queue(1, Overflow::DropOldest);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                recorder.drain_frames(&mut Vec::new(), ALL);
            }
        });
        let site = recorder.callsite("a").expect("valid");
        for _ in 0..100_000 {
            recorder.record(&site, &Fields::default());
        }
        done.store(true, Ordering::Release);
    });
    let snapshot = recorder.snapshot();
    assert_eq!(snapshot.check(), Ok(()));
    assert_eq!(snapshot.dropped.get(Reason::QueueFull), 0);
}

#[test]
fn closing_ends_under_a_flood_and_loses_nothing() {
    let recorder = small_queue(64, Overflow::DropNewest);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let site = recorder.callsite("a").expect("valid");
                while !done.load(Ordering::Acquire) {
                    recorder.record(&site, &Fields::default());
                }
            });
        }
        while recorder.queued() == 0 {
            std::thread::yield_now();
        }
        recorder.close();
        let left = recorder.queued() as u64;
        assert_eq!(recorder.discard_queued(Reason::ShutdownDeadline), left);
        assert_eq!(recorder.queued(), 0);
        done.store(true, Ordering::Release);
    });
    assert_eq!(recorder.queued(), 0);
    assert_eq!(recorder.snapshot().check(), Ok(()));
}

/// Counts how often it is woken.
#[derive(Default)]
struct Bell(AtomicU64);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn only_a_sleeping_pump_is_woken_and_only_once() {
    let recorder = recorder(RecorderConfig::default());
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(Arc::clone(&bell));
    emit(&recorder, "a");
    assert_eq!(bell.0.load(Ordering::Relaxed), 0);
    assert!(!recorder.sleep_until_event(&waker), "an event is waiting");
    drain(&recorder);
    assert!(recorder.sleep_until_event(&waker));
    emit(&recorder, "a");
    emit(&recorder, "a");
    assert_eq!(bell.0.load(Ordering::Relaxed), 1);
}

#[test]
fn a_pump_that_lets_events_gather_is_woken_by_a_batch_and_by_whoever_waits() {
    let recorder = small_queue(64, Overflow::DropNewest);
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(Arc::clone(&bell));
    assert!(recorder.sleep_until_batch(&waker));
    for _ in 0..31 {
        emit(&recorder, "a");
    }
    assert_eq!(bell.0.load(Ordering::Relaxed), 0);
    assert!(recorder.sleep_until_batch(&waker));
    emit(&recorder, "a");
    assert_eq!(
        bell.0.load(Ordering::Relaxed),
        1,
        "half of the queue is a batch"
    );
    assert!(!recorder.sleep_until_batch(&waker));
    drain(&recorder);
    assert!(recorder.sleep_until_batch(&waker));
    emit(&recorder, "a");
    assert!(!recorder.wait_drained(Duration::ZERO));
    assert_eq!(bell.0.load(Ordering::Relaxed), 2);
    recorder.close();
    assert!(!recorder.sleep_until_batch(&waker));
}

#[test]
fn what_nobody_takes_out_is_counted_for_why_nobody_does() {
    for (is_inherited, reason) in [(false, Reason::NotStarted), (true, Reason::ForkInherited)] {
        let recorder = small_queue(4, Overflow::DropOldest);
        recorder.set_started(false);
        if is_inherited {
            recorder.set_inherited();
        }
        for _ in 0..6 {
            emit(&recorder, "a.b");
        }
        assert_eq!(recorder.snapshot().dropped.get(reason), 2);
        assert_eq!(recorder.reason_at_end(), reason);
        // Once something is started, it is as with any other.
        recorder.set_started(true);
        emit(&recorder, "a.b");
        assert_eq!(recorder.snapshot().dropped.get(Reason::EvictedOldest), 1);
        assert_eq!(recorder.reason_at_end(), Reason::ShutdownDeadline);
    }
}
