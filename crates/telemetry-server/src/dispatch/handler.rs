//! What a handler is, and the two that need nothing: one that forgets and one that remembers.
//!
//! This room knows events only. It must not know how handlers are stored, called or guarded.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::deadline::std_deadline;
use telemetry_core::{Event, EventRef};

/// Why a handler gave up. Any error will do; its text goes into `telemetry.handler.failure`.
pub type HandlerError = Box<dyn Error + Send + Sync>;

/// What the manager calls with an event.
///
/// Closures of the form `|event: &EventRef<'_>| { … }` are handlers; see [`fallible`] for those that
/// return a result.
///
/// Where it runs: an inline handler (`attach`) on the task or thread that dispatches the event,
/// often several at once, so it must be quick and must not block; a queued handler (`attach_queued`)
/// on a thread of its own, one event at a time, in the order of each worker's stream.
///
/// Not promised: that a handler is called again after it failed. An error or a panic detaches it for
/// good.
pub trait Handler: Send + Sync {
    /// Takes one event. The event is only good until this returns; `to_owned` keeps it.
    ///
    /// # Errors
    ///
    /// Any error detaches the handler and is reported as `telemetry.handler.failure`.
    fn handle(&self, event: &EventRef<'_>) -> Result<(), HandlerError>;
}

impl<F> Handler for F
where
    F: Fn(&EventRef<'_>) + Send + Sync,
{
    fn handle(&self, event: &EventRef<'_>) -> Result<(), HandlerError> {
        self(event);
        Ok(())
    }
}

/// A handler out of a closure that may fail.
///
/// ```
/// use telemetry_server::dispatch::{Handler, fallible};
///
/// let handler = fallible(|event| match event.measurement("duration") {
///     Some(_) => Ok(()),
///     None => Err("no duration".into()),
/// });
/// # fn takes(_: impl Handler) {}
/// # takes(handler);
/// ```
pub fn fallible<F>(closure: F) -> impl Handler + 'static
where
    F: Fn(&EventRef<'_>) -> Result<(), HandlerError> + Send + Sync + 'static,
{
    Fallible(closure)
}

struct Fallible<F>(F);

impl<F> Handler for Fallible<F>
where
    F: Fn(&EventRef<'_>) -> Result<(), HandlerError> + Send + Sync,
{
    fn handle(&self, event: &EventRef<'_>) -> Result<(), HandlerError> {
        (self.0)(event)
    }
}

/// A handler that does nothing, to measure what dispatching costs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Discard;

impl Handler for Discard {
    fn handle(&self, _event: &EventRef<'_>) -> Result<(), HandlerError> {
        Ok(())
    }
}

/// A handler that keeps the last events in memory, for tests and debugging. Clones share them.
#[derive(Clone)]
pub struct MemoryHandler {
    shared: Arc<Memory>,
}

struct Memory {
    /// Most events kept; the oldest makes room.
    capacity: usize,
    kept: Mutex<Kept>,
    /// Signalled for each event.
    arrived: Condvar,
}

#[derive(Default)]
struct Kept {
    events: VecDeque<Event>,
    /// All events ever taken, kept or not.
    seen: u64,
}

impl MemoryHandler {
    /// A handler that keeps at most `capacity` events; older ones make room for newer.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let kept = Mutex::new(Kept::default());
        Self {
            shared: Arc::new(Memory {
                capacity,
                kept,
                arrived: Condvar::new(),
            }),
        }
    }

    /// Copies of the kept events, oldest first.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.lock().events.iter().cloned().collect()
    }

    /// How many events it was called with since it was made.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.lock().seen
    }

    /// Blocks the calling thread until `count` events have been seen in all, or `timeout` is over.
    /// Whether they have.
    #[must_use]
    pub fn wait_for(&self, count: u64, timeout: Duration) -> bool {
        let deadline = std_deadline(timeout);
        let mut kept = self.lock();
        while kept.seen < count {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let woken = self.shared.arrived.wait_timeout(kept, left);
            kept = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.shared
            .kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handler for MemoryHandler {
    fn handle(&self, event: &EventRef<'_>) -> Result<(), HandlerError> {
        let event = event.to_owned();
        let mut kept = self.lock();
        if kept.events.len() >= self.shared.capacity {
            kept.events.pop_front();
        }
        if self.shared.capacity > 0 {
            kept.events.push_back(event);
        }
        kept.seen += 1;
        drop(kept);
        self.shared.arrived.notify_all();
        Ok(())
    }
}

impl fmt::Debug for MemoryHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryHandler")
            .field("capacity", &self.shared.capacity)
            .field("seen", &self.seen())
            .finish_non_exhaustive()
    }
}
