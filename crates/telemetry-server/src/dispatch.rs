//! Attach, detach, execute: how events reach handlers, with the semantics of Erlang's `:telemetry`.
//!
//! Dispatching reads one snapshot of the table of handlers and takes no lock. Handlers are called
//! only through the wall in `isolate`, so none of them can stop another, or the caller. This room
//! knows events and the catalog; it must know nothing of workers, streams or exporters.

mod attach;
mod emit;
mod handler;
mod info;
mod isolate;
mod lane;
mod queued;
mod table;
mod tally;

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use telemetry_core::{
    Clock, EventRef, Source,
    catalog::{Catalog, EventId},
};

pub use attach::AttachError;
pub use emit::EmitError;
pub use handler::{Discard, Handler, HandlerError, MemoryHandler, fallible};
pub use info::{HandlerInfo, HandlerLedger};
pub use queued::{
    DEFAULT_HANDLER_DRAIN, DEFAULT_HANDLER_QUEUE, DEFAULT_HANDLER_QUEUE_BYTES, MAX_HANDLER_QUEUE,
    QueuedConfig,
};

use crate::deadline::std_deadline;
use isolate::Failure;
pub(crate) use lane::{Lane, Matched};
use table::{Entry, Kind, Table};
use tally::Tally;

/// How deep handlers may dispatch from inside handlers, on one thread. Deeper events are dropped and
/// counted: a handler that emits what it is attached to would otherwise never end.
pub const MAX_DISPATCH_DEPTH: u32 = 8;

/// Hands events to handlers. Clones share the handlers.
///
/// All methods may be called from any thread or task, also from inside a handler, and none of them
/// waits for a handler, save [`detach_and_wait`](Self::detach_and_wait) and
/// [`shutdown`](Self::shutdown).
///
/// When the last clone is dropped, queued handlers get their drain time and then end.
#[derive(Clone)]
pub struct Dispatcher {
    shared: Arc<Shared>,
}

struct Shared {
    catalog: Arc<Catalog>,
    /// Who events of our own are from.
    own: Source,
    clock: Arc<dyn Clock>,
    /// What dispatching reads.
    table: ArcSwap<Table>,
    /// Rises after each replacement of the table.
    version: AtomicU64,
    /// Held while the table is replaced. No handler's code runs under it.
    writing: Mutex<()>,
    /// Events dropped because they were dispatched too deep inside handlers.
    too_deep: AtomicU64,
}

impl Dispatcher {
    /// A dispatcher without handlers, for events of `catalog`.
    ///
    /// `own` says who the events are from that [`emit_own`](Self::emit_own) makes; `clock` stamps
    /// them.
    #[must_use]
    pub fn new(catalog: Arc<Catalog>, own: Source, clock: Arc<dyn Clock>) -> Self {
        Self {
            shared: Arc::new(Shared {
                table: ArcSwap::from_pointee(Table::new(Vec::new(), &catalog)),
                version: AtomicU64::new(0),
                catalog,
                own,
                clock,
                writing: Mutex::new(()),
                too_deep: AtomicU64::new(0),
            }),
        }
    }

    /// Calls every handler whose pattern covers the event, in the order in which they were
    /// attached: inline handlers here and now, queued ones by a push into their queue.
    ///
    /// Never fails and never panics because of a handler. A handler that does is detached, and
    /// `telemetry.handler.failure` is dispatched to the others once the event itself is through.
    ///
    /// An event of another catalog than the dispatcher's is matched by name, slowly.
    pub fn execute(&self, event: &EventRef<'_>) {
        self.shared.execute(event);
    }

    /// Whether any handler would get events with this id; lets a caller skip work for nobody.
    #[must_use]
    pub fn has_handlers(&self, event: EventId) -> bool {
        !self.shared.table.load().handlers(event.index()).is_empty()
    }

    /// Takes the handler away. False when there is none of this id.
    ///
    /// Returns at once. A call that another thread has already begun goes on; new events do not
    /// reach the handler. A queued handler goes on with what is in its queue for at most its drain
    /// time, in the background; what is left then is dropped as `shutdown_deadline`. Use
    /// [`detach_and_wait`](Self::detach_and_wait) to learn how that ended.
    pub fn detach(&self, id: &str) -> bool {
        self.shared.take(id).is_some()
    }

    /// Takes the handler away and waits until its queue is empty, its drain time is over, or
    /// `timeout` is. `None` when there is no handler of this id.
    ///
    /// The final ledger has nothing `queued`. It has one event `in_flight` if the handler is stuck
    /// in it. Blocks the calling thread, except on the handler's own thread.
    #[must_use = "the final ledger says what was lost; use `detach` if nobody wants to know"]
    pub fn detach_and_wait(&self, id: &str, timeout: Duration) -> Option<HandlerInfo> {
        let deadline = std_deadline(timeout);
        let entry = self.shared.take(id)?;
        if let Kind::Queued(queue) = &entry.kind {
            queue.wait(deadline);
        }
        Some(entry.info())
    }

    /// Detaches every handler and waits for the queued ones, for at most `timeout` in all. The final
    /// state of each, in the order in which they were attached.
    ///
    /// Blocks the calling thread. The dispatcher can be used again afterwards.
    pub fn shutdown(&self, timeout: Duration) -> Vec<HandlerInfo> {
        let deadline = std_deadline(timeout);
        let entries = self.shared.take_all();
        let final_state = |entry: &Arc<Entry>| {
            if let Kind::Queued(queue) = &entry.kind {
                queue.wait(deadline);
            }
            entry.info()
        };
        entries.iter().map(final_state).collect()
    }

    /// The attached handlers of which some pattern begins with `prefix`, in the order in which they
    /// were attached. An empty prefix lists all.
    #[must_use]
    pub fn list_handlers(&self, prefix: &str) -> Vec<HandlerInfo> {
        let table = self.shared.table.load_full();
        let infos = table.entries().iter().map(|entry| entry.info());
        infos
            .filter(|info| info.patterns.iter().any(|one| one.starts_with(prefix)))
            .collect()
    }

    /// The catalog whose events are dispatched.
    #[must_use]
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.shared.catalog
    }

    /// Who events of our own are from.
    #[must_use]
    pub fn own_source(&self) -> &Source {
        &self.shared.own
    }

    /// The clock that stamps events of our own.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.shared.clock
    }

    /// Events dropped because handlers dispatched them more than [`MAX_DISPATCH_DEPTH`] deep inside
    /// one another.
    #[must_use]
    pub fn dropped_too_deep(&self) -> u64 {
        self.shared.too_deep.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Dispatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = self.shared.table.load_full();
        let ids: Vec<&str> = table.entries().iter().map(|entry| &*entry.id).collect();
        f.debug_struct("Dispatcher")
            .field("own", &self.shared.own)
            .field("handlers", &ids)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn execute(&self, event: &EventRef<'_>) {
        let Some(_level) = Level::enter() else {
            self.count_too_deep();
            return;
        };
        let mut failed = Vec::new();
        self.offer_newest(event, &mut failed);
        if !failed.is_empty() {
            self.report(failed);
        }
    }

    #[cold]
    fn count_too_deep(&self) {
        self.too_deep.fetch_add(1, Ordering::Relaxed);
    }

    /// Offers the event to the handlers that are attached now.
    fn offer_newest(&self, event: &EventRef<'_>, failed: &mut Vec<(Arc<Entry>, Failure)>) {
        let table = self.table.load();
        self.offer(&table, event, failed, |_, tally| tally.add_one());
    }

    /// Offers the event to its handlers and has `count` count the calls that went well. Handlers that
    /// fail are out of the table when this returns.
    #[inline]
    fn offer(
        &self,
        table: &Table,
        event: &EventRef<'_>,
        failed: &mut Vec<(Arc<Entry>, Failure)>,
        mut count: impl FnMut(&Arc<Entry>, &Tally),
    ) {
        let by_name;
        let handlers = if self.knows(event) {
            table.handlers(event.id().index())
        } else {
            by_name = table.handlers_by_name(event.name());
            &by_name
        };
        for entry in handlers {
            self.offer_to(entry, event, failed, &mut count);
        }
    }

    /// Offers the event to one handler.
    #[inline(always)]
    fn offer_to(
        &self,
        entry: &Arc<Entry>,
        event: &EventRef<'_>,
        failed: &mut Vec<(Arc<Entry>, Failure)>,
        count: &mut impl FnMut(&Arc<Entry>, &Tally),
    ) {
        if entry.is_gone() {
            return;
        }
        if let Err(failure) = entry.offer(event, &self.catalog, |tally| count(entry, tally))
            && self.remove(entry)
        {
            failed.push((Arc::clone(entry), failure));
        }
    }

    /// Whether the event's id means the same event in our catalog.
    fn knows(&self, event: &EventRef<'_>) -> bool {
        let spec = self.catalog.get(event.id());
        spec.is_some_and(|ours| std::ptr::eq(ours, event.spec()) || ours.name == event.spec().name)
    }

    /// Dispatches a failure event for each handler that is gone, and for those that fail on one. A
    /// loop and not a recursion: a thousand failing handlers must not exhaust the stack.
    fn report(&self, failed: Vec<(Arc<Entry>, Failure)>) {
        let mut pending = VecDeque::from(failed);
        while let Some((entry, failure)) = pending.pop_front() {
            tracing::warn!(
                handler_id = %telemetry_core::catalog::escape(&entry.id),
                event_name = %failure.event_name,
                kind = failure.kind.as_str(),
                reason = %failure.reason,
                "handler failed and was detached"
            );
            let mut more = Vec::new();
            self.with_failure_event(&entry, &failure, |event| {
                self.offer_newest(event, &mut more);
            });
            pending.extend(more);
        }
    }

    /// Takes one handler out of the table. False when somebody else did.
    fn remove(&self, entry: &Arc<Entry>) -> bool {
        if !entry.retire() {
            return false;
        }
        self.replace(|entries| entries.retain(|other| !Arc::ptr_eq(other, entry)));
        if let Kind::Queued(queue) = &entry.kind {
            queue.close();
        }
        true
    }

    fn take(&self, id: &str) -> Option<Arc<Entry>> {
        let table = self.table.load_full();
        let entry = table
            .entries()
            .iter()
            .find(|entry| &*entry.id == id && !entry.is_gone())?;
        self.remove(entry).then(|| Arc::clone(entry))
    }

    fn take_all(&self) -> Vec<Arc<Entry>> {
        let table = self.table.load_full();
        table
            .entries()
            .iter()
            .filter(|entry| self.remove(entry))
            .map(Arc::clone)
            .collect()
    }

    /// Replaces the table by one with changed entries. The old one, and with it perhaps the last
    /// hold on a handler, is let go outside the lock: a handler's destructor may come back here.
    fn replace<T>(&self, change: impl FnOnce(&mut Vec<Arc<Entry>>) -> T) -> T {
        let guard = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.table.load_full();
        let mut entries = old.entries().to_vec();
        let result = change(&mut entries);
        self.table
            .store(Arc::new(Table::new(entries, &self.catalog)));
        self.version.fetch_add(1, Ordering::Release);
        drop(guard);
        result
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        for entry in self.table.load_full().entries() {
            if let Kind::Queued(queue) = &entry.kind {
                queue.close();
            }
        }
    }
}

thread_local! {
    /// How many dispatches this thread is inside of.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// One level of dispatching inside dispatching.
struct Level;

impl Level {
    fn enter() -> Option<Self> {
        let depth = DEPTH.get();
        (depth < MAX_DISPATCH_DEPTH).then(|| {
            DEPTH.set(depth + 1);
            Self
        })
    }
}

impl Drop for Level {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}

#[cfg(test)]
mod tests;
