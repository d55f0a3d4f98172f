//! A flood against a small queue and a manager that stands still: everything is counted.

use std::time::{Duration, Instant};

use telemetry_core::{EventRef, Outcome, ledger::Reason};
use telemetry_server::WorkerId;
use telemetry_tests::{PATIENCE, TestManager, Turnstile, Worker, worker};

const THREADS: u64 = 8;
const EVENTS_PER_THREAD: u64 = 3_000;
const QUEUE: usize = 64;
/// A stream on which nothing moved for so long, so many times in a row, is full.
const STANDSTILL: Duration = Duration::from_millis(500);
const STANDSTILLS: u32 = 4;
/// Text in each event, in bytes.
const TEXT: usize = 1_000;
const NAME: &str = "tool.execution.start";

/// What the threads of a flood were told.
#[derive(Debug, Default)]
struct Told {
    accepted: u64,
    refused: u64,
}

impl Told {
    /// Emits one big event.
    fn emit(&mut self, worker: &Worker, operation: &str) {
        let metadata = [("operation", operation)];
        match worker
            .telemetry()
            .emit(NAME, &[("count", 1_i64.into())], &metadata, "")
        {
            Outcome::Accepted => self.accepted += 1,
            Outcome::Dropped(Reason::QueueFull) => self.refused += 1,
            other => panic!("{other:?}"),
        }
    }

    fn emitted(&self) -> u64 {
        self.accepted + self.refused
    }
}

/// Emits until a stream that nobody reads, and then the queue, are full.
fn fill(worker: &Worker, told: &mut Told) {
    let operation = "x".repeat(TEXT);
    let mut standstills = 0;
    while standstills < STANDSTILLS {
        let sent = worker.ledger().sent;
        let moves = worker.telemetry().flush(STANDSTILL) || worker.ledger().sent > sent;
        // A machine that is merely slow stands still too, but not so often.
        standstills = if moves { 0 } else { standstills + 1 };
        // Once nothing moves, this is what fills the queue to the last place.
        for _ in 0..QUEUE {
            told.emit(worker, &operation);
        }
    }
}

/// Emits from eight threads at once.
fn flood(worker: &Worker) -> Told {
    let operation = "x".repeat(TEXT);
    let one_thread = || {
        let mut told = Told::default();
        for _ in 0..EVENTS_PER_THREAD {
            told.emit(worker, &operation);
        }
        told
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(one_thread)).collect();
        threads.into_iter().fold(Told::default(), |sum, thread| {
            let told = thread.join().expect("no thread panics");
            Told {
                accepted: sum.accepted + told.accepted,
                refused: sum.refused + told.refused,
            }
        })
    })
}

/// A manager that stands still inside an inline handler, with the stream of a worker full.
async fn paused() -> (Turnstile, TestManager, Worker, WorkerId, Told) {
    let (manager, worker) = (TestManager::blind(), worker().queue(QUEUE).start());
    let (turnstile, gate) = Turnstile::closed();
    let pause = move |_: &EventRef<'_>| gate.pass();
    manager
        .dispatcher()
        .attach("pause", "snakepit.python.tool.*", pause)
        .expect("a free id");
    let id = manager.connect(&worker).await;
    let mut told = Told::default();
    told.emit(&worker, "the one that is held");
    turnstile.somebody_waits().await;
    fill(&worker, &mut told);
    (turnstile, manager, worker, id, told)
}

#[tokio::test]
async fn a_flood_against_a_paused_manager_is_counted_to_the_last_event() {
    let (turnstile, manager, worker, _, filled) = paused().await;

    let flooded = flood(&worker);

    assert_eq!(flooded.emitted(), THREADS * EVENTS_PER_THREAD);
    let accepted = filled.accepted + flooded.accepted;
    let refused = filled.refused + flooded.refused;
    let ledger = worker.ledger();
    assert_eq!(ledger.check(), Ok(()), "while the manager stands still");
    assert_eq!(ledger.emitted, filled.emitted() + flooded.emitted());
    assert_eq!(ledger.accepted, accepted);
    assert_eq!(ledger.dropped.get(Reason::QueueFull), refused);
    assert_eq!(ledger.dropped.total(), refused);
    assert!(ledger.queued > 0, "nobody reads");
    assert!(
        flooded.refused > 0,
        "the queue never overflowed, so this shows nothing"
    );

    turnstile.open();
    let account = manager.balanced(&worker).await;
    assert_eq!(account.manager.ledger.dispatched, accepted);
    assert_eq!(account.manager.ledger.gaps, 0);
    let seen = account.manager.report.unwrap();
    assert_eq!(
        seen.dropped.get(Reason::QueueFull),
        refused,
        "the manager sees the count"
    );
}

#[tokio::test]
async fn shutdown_with_a_full_queue_and_no_manager_ends_in_time_and_counts_the_rest() {
    let worker = worker().queue(QUEUE).start();
    for _ in 0..QUEUE + 36 {
        worker.emit(NAME);
    }
    assert_eq!(worker.ledger().queued, QUEUE as u64, "the queue is full");

    let began = Instant::now();
    let ledger = worker.telemetry().shutdown(Duration::from_millis(200));
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());

    assert_eq!(ledger.check(), Ok(()));
    assert_eq!(ledger.dropped.get(Reason::ShutdownDeadline), QUEUE as u64);
    assert_eq!(ledger.dropped.get(Reason::QueueFull), 36);
    assert_eq!(ledger.accepted, 0);
    assert_eq!(worker.emit(NAME), Outcome::Dropped(Reason::NotRunning));
    let again = worker.telemetry().shutdown(Duration::from_secs(60));
    assert_eq!(
        again.emitted,
        ledger.emitted + 1,
        "a second call returns at once, with the ledger"
    );
}

#[tokio::test]
async fn shutdown_before_a_paused_manager_ends_in_time_and_counts_the_rest() {
    let (turnstile, manager, worker, id, told) = paused().await;
    assert!(worker.ledger().queued > 0, "nobody reads");

    let began = Instant::now();
    let ledger = worker.telemetry().shutdown(Duration::from_millis(300));
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    assert_eq!(ledger.check(), Ok(()));
    let left = ledger.dropped.get(Reason::ShutdownDeadline);
    assert!((1..=QUEUE as u64).contains(&left), "{left}");
    assert_eq!(ledger.sent + left, told.accepted);

    turnstile.open();
    // The manager never got to read the last report, so what was under way on a stream that the
    // worker had to tear down is known to the worker alone: it is in its `sent`. What did arrive is
    // counted as ever.
    let info = manager
        .until("the end of the stream", &id, |info| {
            info.last_error.is_some()
        })
        .await;
    assert_eq!(info.ledger.check(), Ok(()));
    assert!(
        info.ledger.received + info.ledger.gaps <= ledger.sent,
        "{:?}",
        info.ledger
    );
}
