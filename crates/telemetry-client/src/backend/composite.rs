//! Several backends at once: each gets every event and judges it by its own policy.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use telemetry_core::{
    Outcome,
    catalog::NameError,
    emit::{Fields, Ties},
    ledger::{Reason, WorkerSnapshot},
    wire::{Control, ControlError},
};

use super::{Backend, Draw, Site, SpanFate, SpanSites};
use crate::deadline::deadline_after;
use crate::region::RegionKind;

/// Hands everything to each of its parts.
///
/// Parts are independent: a manager that mutes the stream does not mute stderr, a part that is full
/// or that panics takes nothing from the others. The ledger is the sum over the parts, so an event
/// counts once for each; that of a part which panicked while it recorded it, as `backend_error`.
#[derive(Debug)]
pub struct CompositeBackend {
    /// In the order they are asked.
    parts: Vec<Arc<dyn Backend>>,
    /// Events that a part panicked over.
    panicked: AtomicU64,
}

impl CompositeBackend {
    /// A backend over `parts`.
    #[must_use]
    pub fn new(parts: Vec<Arc<dyn Backend>>) -> Self {
        Self {
            parts,
            panicked: AtomicU64::new(0),
        }
    }

    /// Runs every part to the end of one time budget; one that panics does not keep it from the
    /// others.
    fn until(&self, timeout: Duration, mut run: impl FnMut(&dyn Backend, Duration)) {
        let deadline = deadline_after(timeout);
        for part in &self.parts {
            let left = deadline.saturating_duration_since(Instant::now());
            let _panicked = catch_unwind(AssertUnwindSafe(|| run(&**part, left)));
        }
    }

    /// A ledger of the events that parts panicked over.
    fn of_panics(&self) -> WorkerSnapshot {
        let panicked = self.panicked.load(Ordering::Relaxed);
        let mut sum = WorkerSnapshot::default();
        sum.emitted = panicked;
        sum.dropped.add(Reason::BackendError, panicked);
        sum
    }
}

impl Backend for CompositeBackend {
    /// Fails if one part refuses the name; the others have been asked, so that each counts it.
    fn resolve(&self, name: &str) -> Result<Site, NameError> {
        let resolved: Vec<_> = self.parts.iter().map(|part| part.resolve(name)).collect();
        let sites: Result<Vec<_>, _> = resolved.into_iter().collect();
        Ok(Site::Many(sites?.into()))
    }

    /// Accepted if one part accepted it, else the first part's reason to drop it, else off.
    fn record(&self, site: &Site, draw: Draw<'_>, fields: &Fields<'_>) -> Outcome {
        let Site::Many(sites) = site else {
            return Outcome::Off;
        };
        let mut result = Outcome::Off;
        for (index, (part, site)) in self.parts.iter().zip(sites).enumerate() {
            let draw = match draw {
                Draw::Own => Draw::Own,
                Draw::Span(SpanFate::Many(fates), phase) => match fates.get(index) {
                    Some(Some(fate)) => Draw::Span(fate, phase),
                    _ => continue,
                },
                Draw::Span(SpanFate::One(_), _) => continue,
            };
            let outcome = catch_unwind(AssertUnwindSafe(|| part.record(site, draw, fields)))
                .unwrap_or_else(|_panic| {
                    self.panicked.fetch_add(1, Ordering::Relaxed);
                    Outcome::Dropped(Reason::BackendError)
                });
            result = match (result, outcome) {
                (Outcome::Off, other) | (Outcome::Dropped(_), other @ Outcome::Accepted) => other,
                (kept, _) => kept,
            };
        }
        result
    }

    fn decide(&self, sites: &SpanSites, ties: &Ties<'_>) -> Option<SpanFate> {
        let (Site::Many(start), Site::Many(stop), Site::Many(exception)) =
            (&sites.start, &sites.stop, &sites.exception)
        else {
            return None;
        };
        let fates: Box<[_]> = self
            .parts
            .iter()
            .enumerate()
            .map(|(index, part)| {
                let sites = SpanSites {
                    start: start.get(index)?.clone(),
                    stop: stop.get(index)?.clone(),
                    exception: exception.get(index)?.clone(),
                };
                part.decide(&sites, ties)
            })
            .collect();
        fates
            .iter()
            .any(Option::is_some)
            .then_some(SpanFate::Many(fates))
    }

    /// Applied to every part that does not refuse it; the first refusal is returned. What is invalid
    /// by itself is refused by all of them.
    fn apply(&self, control: &Control) -> Result<(), ControlError> {
        let refusals = self.parts.iter().map(|part| part.apply(control));
        refusals.fold(Ok(()), Result::and)
    }

    fn flush(&self, timeout: Duration) -> bool {
        let mut flushed = 0;
        self.until(timeout, |part, left| {
            flushed += usize::from(part.flush(left));
        });
        flushed == self.parts.len()
    }

    fn flush_acknowledged(&self, timeout: Duration) -> bool {
        let mut flushed = 0;
        self.until(timeout, |part, left| {
            flushed += usize::from(part.flush_acknowledged(left));
        });
        flushed == self.parts.len()
    }

    /// That of the part that has one.
    fn region(&self) -> RegionKind {
        let mut parts = self.parts.iter().map(|part| part.region());
        parts
            .find(|region| *region == RegionKind::Shared)
            .unwrap_or(RegionKind::Heap)
    }

    fn shutdown(&self, timeout: Duration) -> WorkerSnapshot {
        let mut sum = self.of_panics();
        self.until(timeout, |part, left| sum.merge(&part.shutdown(left)));
        sum
    }

    fn ledger(&self) -> WorkerSnapshot {
        let mut sum = self.of_panics();
        for part in &self.parts {
            sum.merge(&part.ledger());
        }
        sum
    }
}
