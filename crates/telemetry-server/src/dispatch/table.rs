//! Who gets which event: an immutable table that is swapped whole when a handler comes or goes.
//!
//! Matching happens here, once for each handler and event of the catalog, so that dispatching an
//! event is one array access. This room neither calls handlers nor decides who may attach.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use telemetry_core::{
    EventRef,
    catalog::{Catalog, Pattern},
    ledger::{Counts, Reason},
};

use super::handler::Handler;
use super::info::{HandlerInfo, HandlerLedger};
use super::isolate::{self, Failure};
use super::queued::Queue;
use super::tally::Tally;

/// One attached handler.
pub(super) struct Entry {
    pub(super) id: Arc<str>,
    patterns: Vec<Pattern>,
    /// For each event of the catalog, by its id, whether a pattern covers it.
    matching: Box<[bool]>,
    /// Monotonic time of the attachment, nanoseconds.
    pub(super) attached_at: u64,
    /// Set by whoever detaches it, once; dispatchers that still see an older table skip it.
    gone: AtomicBool,
    pub(super) kind: Kind,
}

/// How its events reach a handler.
pub(super) enum Kind {
    /// On the caller.
    Inline(Inline),
    /// Through a queue; the handler itself is with the queue's thread.
    Queued(Arc<Queue>),
}

/// A handler that runs on whoever dispatches, and its counters. One counter is touched for each
/// event, so what is inside the handler right now is not counted until it comes out.
pub(super) struct Inline {
    handler: Contained,
    delivered: Tally,
    /// Failures by error and by panic. More than one when several callers were inside at once.
    errors: AtomicU64,
    panics: AtomicU64,
}

/// A handler whose destructor cannot unwind into whoever drops the last table that holds it.
pub(super) struct Contained(Option<Box<dyn Handler>>);

impl Contained {
    pub(super) fn new(handler: impl Handler + 'static) -> Self {
        Self(Some(Box::new(handler)))
    }

    pub(super) fn get(&self) -> &dyn Handler {
        // Empty only while it is dropped, when nobody can hold a reference.
        self.0.as_deref().unwrap_or(&super::handler::Discard)
    }
}

impl Drop for Contained {
    fn drop(&mut self) {
        let handler = self.0.take();
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(handler))) {
            // Its destructor might panic as well.
            std::mem::forget(payload);
        }
    }
}

impl Inline {
    pub(super) fn new(handler: Contained) -> Self {
        Self {
            handler,
            delivered: Tally::default(),
            errors: AtomicU64::new(0),
            panics: AtomicU64::new(0),
        }
    }

    fn ledger(&self) -> HandlerLedger {
        let mut dropped = Counts::default();
        dropped.add(Reason::ExporterError, self.errors.load(Ordering::Relaxed));
        dropped.add(
            Reason::ExporterPanicked,
            self.panics.load(Ordering::Relaxed),
        );
        let delivered = self.delivered.total();
        let dispatched = delivered + dropped.total();
        HandlerLedger {
            dispatched,
            delivered,
            dropped,
            queued: 0,
            in_flight: 0,
        }
    }
}

impl Entry {
    pub(super) fn new(
        id: Arc<str>,
        patterns: Vec<Pattern>,
        catalog: &Catalog,
        attached_at: u64,
        kind: Kind,
    ) -> Self {
        let covers = |name: &str| patterns.iter().any(|pattern| pattern.matches(name));
        let matching = catalog
            .events()
            .iter()
            .map(|event| covers(&event.name))
            .collect();
        Self {
            id,
            patterns,
            matching,
            attached_at,
            gone: AtomicBool::new(false),
            kind,
        }
    }

    /// Gives the event to the handler and has `count` count an inline call that went well. The error
    /// is the end of the handler.
    #[inline(always)]
    pub(super) fn offer(
        &self,
        event: &EventRef<'_>,
        catalog: &Catalog,
        count: impl FnOnce(&Tally),
    ) -> Result<(), Failure> {
        match &self.kind {
            Kind::Queued(queue) => queue.offer(event, catalog),
            Kind::Inline(inline) => match isolate::call(inline.handler.get(), event) {
                Ok(()) => count(&inline.delivered),
                Err(failure) => {
                    let failed = match failure.kind {
                        isolate::FailureKind::Error => &inline.errors,
                        isolate::FailureKind::Panic => &inline.panics,
                    };
                    failed.fetch_add(1, Ordering::Relaxed);
                    return Err(failure);
                }
            },
        }
        Ok(())
    }

    /// Whether a pattern covers an event of this name.
    pub(super) fn covers(&self, name: &str) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(name))
    }

    /// Marks it as detached. False when somebody else did before.
    pub(super) fn retire(&self) -> bool {
        !self.gone.swap(true, Ordering::AcqRel)
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    pub(super) fn info(&self) -> HandlerInfo {
        let (capacity, ledger) = match &self.kind {
            Kind::Inline(inline) => (0, inline.ledger()),
            Kind::Queued(queue) => (queue.capacity(), queue.ledger()),
        };
        HandlerInfo {
            id: self.id.to_string(),
            patterns: self
                .patterns
                .iter()
                .map(|pattern| pattern.as_str().to_owned())
                .collect(),
            matching_events: self.matching.iter().filter(|covered| **covered).count(),
            queued: matches!(self.kind, Kind::Queued(_)),
            capacity,
            ledger,
        }
    }
}

/// All attached handlers.
#[derive(Default)]
pub(super) struct Table {
    /// In the order in which they were attached.
    entries: Vec<Arc<Entry>>,
    /// For each event of the catalog, by its id, the handlers that get it, in the same order.
    by_event: Box<[Box<[Arc<Entry>]>]>,
}

impl Table {
    pub(super) fn new(entries: Vec<Arc<Entry>>, catalog: &Catalog) -> Self {
        let handlers_of = |index: usize| {
            let covers = |entry: &&Arc<Entry>| entry.matching.get(index).copied().unwrap_or(false);
            entries.iter().filter(covers).map(Arc::clone).collect()
        };
        let by_event = (0..catalog.events().len()).map(handlers_of).collect();
        Self { entries, by_event }
    }

    /// The handlers of the event of the dispatcher's catalog with this index.
    pub(super) fn handlers(&self, index: usize) -> &[Arc<Entry>] {
        self.by_event.get(index).map_or(&[], |handlers| handlers)
    }

    /// The handlers of an event of another catalog, by its name. Slow: every pattern is tried.
    pub(super) fn handlers_by_name(&self, name: &str) -> Vec<Arc<Entry>> {
        let covers = |entry: &&Arc<Entry>| entry.covers(name);
        self.entries.iter().filter(covers).map(Arc::clone).collect()
    }

    pub(super) fn entries(&self) -> &[Arc<Entry>] {
        &self.entries
    }
}
