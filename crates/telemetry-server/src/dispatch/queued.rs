//! A queued handler: a thread of its own, a bounded queue of owned events, and the ledger between.
//!
//! Whoever dispatches only copies the event and pushes it; it never waits, and when the queue is
//! full the newest event is dropped and counted. This room knows nothing of patterns or the table;
//! it is told when to close and tells, through a closure, when its handler failed.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crossbeam_queue::ArrayQueue;
use telemetry_core::{
    Event, EventParts, EventRef, Source, Value, ValueRef,
    catalog::{Catalog, EventId, EventSpec},
    ledger::{Counts, Reason},
};

use super::handler::Handler;
use super::info::HandlerLedger;
use super::isolate::{self, Failure};
use crate::deadline::std_deadline;

/// Most events in a handler's queue, by default.
pub const DEFAULT_HANDLER_QUEUE: usize = 1_024;

/// Most bytes of text and values in a handler's queue, by default.
pub const DEFAULT_HANDLER_QUEUE_BYTES: usize = 4 * 1_024 * 1_024;

/// How long a detached handler may go on to empty its queue, by default.
pub const DEFAULT_HANDLER_DRAIN: Duration = Duration::from_secs(2);

/// Most events a queue may be configured to hold; its slots are allocated at once.
pub const MAX_HANDLER_QUEUE: usize = 1 << 20;

/// How a queued handler is kept apart from those who dispatch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct QueuedConfig {
    /// Most events waiting, from 1 to [`MAX_HANDLER_QUEUE`]; the newest beyond it are dropped.
    pub capacity: usize,
    /// Most bytes of text and values waiting. One event alone is always let in.
    pub bytes: usize,
    /// How long the handler may go on to empty its queue after it was detached. What is left then
    /// is counted as `shutdown_deadline`.
    pub drain: Duration,
}

impl Default for QueuedConfig {
    fn default() -> Self {
        Self {
            capacity: DEFAULT_HANDLER_QUEUE,
            bytes: DEFAULT_HANDLER_QUEUE_BYTES,
            drain: DEFAULT_HANDLER_DRAIN,
        }
    }
}

/// The reasons under which a queued handler loses events, in the order of `Tally::dropped`.
const REASONS: [Reason; 4] = [
    Reason::ExporterQueueFull,
    Reason::ExporterError,
    Reason::ExporterPanicked,
    Reason::ExporterShutdownDeadline,
];

/// Counters that only rise. An event passes them in the order of the fields; a reader that goes the
/// other way never sees it come out of a stage that it has not entered.
#[derive(Default)]
struct Tally {
    /// Offered to the handler.
    dispatched: AtomicU64,
    /// Turned away because the queue was full, before they were copied.
    refused: AtomicU64,
    /// Given to the queue.
    accepted: AtomicU64,
    /// Taken out of the queue again.
    popped: AtomicU64,
    /// Taken out and handled.
    delivered: AtomicU64,
    /// Taken out and lost, by `REASONS`.
    dropped: [AtomicU64; REASONS.len()],
}

impl Tally {
    fn lose(&self, reason: Reason) {
        self.popped.fetch_add(1, SeqCst);
        self.fail(reason);
    }

    fn fail(&self, reason: Reason) {
        let place = REASONS
            .iter()
            .position(|known| *known == reason)
            .unwrap_or_default();
        self.dropped[place].fetch_add(1, SeqCst);
    }

    fn snapshot(&self) -> HandlerLedger {
        let mut dropped = Counts::default();
        for (reason, count) in REASONS.into_iter().zip(&self.dropped) {
            dropped.add(reason, count.load(SeqCst));
        }
        let delivered = self.delivered.load(SeqCst);
        let finished = delivered + dropped.total();
        let popped = self.popped.load(SeqCst);
        let accepted = self.accepted.load(SeqCst);
        let refused = self.refused.load(SeqCst);
        let dispatched = self.dispatched.load(SeqCst);
        dropped.add(Reason::ExporterQueueFull, refused);
        // A stage that gave out more than it took in shows as an imbalance, not as a huge number.
        let being_handed_over = dispatched.saturating_sub(accepted + refused);
        let being_handled = popped.saturating_sub(finished);
        HandlerLedger {
            dispatched,
            delivered,
            dropped,
            queued: accepted.saturating_sub(popped),
            in_flight: being_handed_over + being_handled,
        }
    }
}

/// One event on its way to the handler's thread.
struct Waiting {
    event: Event,
    spec: Spec,
    source: Source,
    /// Its share of the queue's bytes.
    bytes: usize,
}

/// Where the event's spec is. Copying one for each event would be wasteful.
enum Spec {
    /// In the dispatcher's catalog.
    Known(EventId),
    /// In another catalog than the dispatcher's: a copy.
    Foreign(Box<EventSpec>),
}

/// The part of a queued handler that dispatchers, its thread and operators share.
pub(super) struct Queue {
    waiting: ArrayQueue<Waiting>,
    config: QueuedConfig,
    /// Bytes of what is waiting.
    bytes: AtomicUsize,
    tally: Tally,
    /// Set when no more events will come: the moment until which the thread may go on.
    closing: OnceLock<Instant>,
    /// Set when nobody will take what is still pushed; whoever pushes then takes it out again.
    finished: AtomicBool,
    /// The thread, once it runs.
    thread: OnceLock<Thread>,
    /// Whether the thread sleeps, or is about to, and needs a wake-up.
    asleep: AtomicBool,
    /// Whether the thread has ended.
    ended: Mutex<bool>,
    /// Signalled when it has.
    on_end: Condvar,
}

impl Queue {
    pub(super) fn new(config: QueuedConfig) -> Arc<Self> {
        Arc::new(Self {
            waiting: ArrayQueue::new(config.capacity),
            config,
            bytes: AtomicUsize::new(0),
            tally: Tally::default(),
            closing: OnceLock::new(),
            finished: AtomicBool::new(false),
            thread: OnceLock::new(),
            asleep: AtomicBool::new(false),
            ended: Mutex::new(false),
            on_end: Condvar::new(),
        })
    }

    pub(super) fn capacity(&self) -> usize {
        self.config.capacity
    }

    pub(super) fn ledger(&self) -> HandlerLedger {
        self.tally.snapshot()
    }

    /// Copies the event into the queue, or counts why not. Never waits.
    pub(super) fn offer(&self, event: &EventRef<'_>, catalog: &Catalog) {
        self.tally.dispatched.fetch_add(1, SeqCst);
        let bytes = weight(event);
        let full = self.waiting.is_full() || !self.reserve(bytes);
        if full {
            self.tally.refused.fetch_add(1, SeqCst);
            return;
        }
        let known = catalog
            .get(event.id())
            .is_some_and(|spec| spec.name == event.spec().name);
        let spec = if known {
            Spec::Known(event.id())
        } else {
            Spec::Foreign(Box::new(event.spec().clone()))
        };
        let source = event.source().clone();
        let waiting = Waiting {
            event: event.to_owned(),
            spec,
            source,
            bytes,
        };
        self.tally.accepted.fetch_add(1, SeqCst);
        if self.waiting.push(waiting).is_err() {
            // Others were quicker since the first look.
            self.bytes.fetch_sub(bytes, SeqCst);
            self.tally.lose(Reason::ExporterQueueFull);
        } else if self.finished.load(SeqCst) {
            self.discard(Reason::ExporterShutdownDeadline);
        } else if self.asleep.swap(false, SeqCst)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    /// Whether there is room for `bytes` more; takes it then.
    fn reserve(&self, bytes: usize) -> bool {
        let before = self.bytes.fetch_add(bytes, SeqCst);
        let fits = before == 0 || before.saturating_add(bytes) <= self.config.bytes;
        if !fits {
            self.bytes.fetch_sub(bytes, SeqCst);
        }
        fits
    }

    /// Takes the oldest event; counts it as being handled.
    fn pop(&self) -> Option<Waiting> {
        let waiting = self.waiting.pop()?;
        self.bytes.fetch_sub(waiting.bytes, SeqCst);
        Some(waiting)
    }

    /// Loses everything that waits, and what will still be pushed.
    fn discard(&self, reason: Reason) {
        self.finished.store(true, SeqCst);
        while self.pop().is_some() {
            self.tally.lose(reason);
        }
    }

    /// Lets the thread empty the queue until the configured drain time is over, then end. Returns
    /// at once.
    pub(super) fn close(&self) {
        let deadline = std_deadline(self.config.drain);
        if self.closing.set(deadline).is_ok()
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    /// Waits until the thread has ended or `deadline` is reached; then what still waits is lost.
    /// Returns at once on the handler's own thread, which cannot wait for itself.
    pub(super) fn wait(&self, deadline: Instant) {
        if self
            .thread
            .get()
            .is_some_and(|thread| thread.id() == thread::current().id())
        {
            return;
        }
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        while !*ended {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(ended);
                return self.discard(Reason::ExporterShutdownDeadline);
            }
            let woken = self.on_end.wait_timeout(ended, left);
            ended = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn expired(&self) -> bool {
        self.closing
            .get()
            .is_some_and(|deadline| Instant::now() >= *deadline)
    }

    /// Sleeps until an event is pushed or the queue is closed.
    fn sleep(&self) {
        self.asleep.store(true, SeqCst);
        // A push or a close before this line is seen by the looks, one after it wakes the thread.
        if self.waiting.is_empty() && self.closing.get().is_none() {
            thread::park();
        }
        self.asleep.store(false, SeqCst);
    }

    /// The thread: calls the handler until the queue is closed and empty, its time is over, or the
    /// handler fails. What is left is counted.
    pub(super) fn run(
        &self,
        handler: &dyn Handler,
        catalog: &Catalog,
        on_failure: impl FnOnce(Failure),
    ) {
        // The only place that sets it.
        let _ = self.thread.set(thread::current());
        let mut left_for = Reason::ExporterShutdownDeadline;
        let mut failed = None;
        while !self.expired() {
            let Some(waiting) = self.pop() else {
                if self.closing.get().is_some() {
                    break;
                }
                self.sleep();
                continue;
            };
            self.tally.popped.fetch_add(1, SeqCst);
            match waiting.deliver(handler, catalog) {
                Ok(()) => {
                    self.tally.delivered.fetch_add(1, SeqCst);
                }
                Err(failure) => {
                    left_for = failure.kind.reason();
                    self.tally.fail(left_for);
                    failed = Some(failure);
                    break;
                }
            }
        }
        if let Some(failure) = failed {
            // First out of the table, so that nobody goes on pushing.
            on_failure(failure);
        }
        self.discard(left_for);
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.on_end.notify_all();
    }
}

impl Waiting {
    fn deliver(&self, handler: &dyn Handler, catalog: &Catalog) -> Result<(), Failure> {
        let spec = match &self.spec {
            Spec::Known(id) => catalog.get(*id),
            Spec::Foreign(spec) => Some(&**spec),
        };
        // A known id is in the catalog it was looked up in.
        let Some(spec) = spec else { return Ok(()) };
        let event = &self.event;
        let measurements: Vec<(&str, ValueRef<'_>)> = event
            .measurements
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_ref()))
            .collect();
        let metadata: Vec<(&str, &str)> = event
            .metadata
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        isolate::call(
            handler,
            &EventRef::new(EventParts {
                spec,
                measurements: &measurements,
                metadata: &metadata,
                timestamp_ns: event.timestamp_ns,
                correlation_id: &event.correlation_id,
                sampling_rate: event.sampling_rate,
                span: event.span.as_ref(),
                source: &self.source,
            }),
        )
    }
}

/// What a copy of the event holds, in bytes, without the allocator's own share.
fn weight(event: &EventRef<'_>) -> usize {
    let measurements = event.measurements().map(|(key, value)| {
        let text = value.as_str().map_or(0, str::len);
        size_of::<(String, Value)>() + key.len() + text
    });
    let metadata = event
        .metadata_iter()
        .map(|(key, value)| size_of::<(String, String)>() + key.len() + value.len());
    size_of::<Waiting>()
        + event.correlation_id().len()
        + measurements.sum::<usize>()
        + metadata.sum::<usize>()
}
