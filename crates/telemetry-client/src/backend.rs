//! Where a worker's events go: one trait, and the backends that ship.
//!
//! Every backend that keeps events is built on a [`Recorder`], so policy, sampling, limits, redaction
//! and the ledger are the same whichever is chosen; they differ in what takes events out of the
//! queue. A backend never blocks its caller, but for a bounded time after a manager's `drain`.

mod composite;
mod line;
mod memory;
mod noop;
mod stderr;
mod stream;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use telemetry_core::{
    Outcome,
    catalog::NameError,
    emit::{Callsite, Fields, Recorder, SpanDecision, Ties},
    ledger::WorkerSnapshot,
    wire::{Control, ControlError},
};

use crate::region::RegionKind;

pub use composite::CompositeBackend;
pub use line::MAX_LINE_BYTES;
pub use memory::MemoryBackend;
pub use noop::NoopBackend;
pub use stderr::StderrBackend;
pub use stream::StreamBackend;

/// Where events go.
///
/// A backend of your own is easiest made around a [`Recorder`], which implements this trait itself:
/// hand every call through and take events out with [`Recorder::hand_out`], which has you say of each
/// how it ended, so that the ledger balances.
pub trait Backend: fmt::Debug + Send + Sync {
    /// Resolves a wire name once, so that recording needs no lookup. A name that breaks the rules is
    /// counted.
    ///
    /// # Errors
    ///
    /// [`NameError`] says what is wrong with the name.
    fn resolve(&self, name: &str) -> Result<Site, NameError>;

    /// Records one event at a site of this backend. Never blocks; after a manager's `drain` it waits
    /// a bounded time for its outcome to be written.
    fn record(&self, site: &Site, draw: Draw<'_>, fields: &Fields<'_>) -> Outcome;

    /// Decides about all events of a span at once, by its correlation id or else by its trace; `None` if
    /// the span emits nothing.
    fn decide(&self, sites: &SpanSites, ties: &Ties<'_>) -> Option<SpanFate>;

    /// Applies a control, as a manager would.
    ///
    /// # Errors
    ///
    /// [`ControlError`] if a rate or pattern is invalid; nothing has changed then.
    fn apply(&self, control: &Control) -> Result<(), ControlError>;

    /// Waits until every event recorded so far has left the worker; false if that took too long, or
    /// at once if there is nobody to send it to.
    fn flush(&self, timeout: Duration) -> bool;

    /// [`flush`](Self::flush), and waits until the manager has taken responsibility for all of it. False
    /// if that took too long, or the manager acknowledges nothing. Without a manager it is a flush.
    fn flush_acknowledged(&self, timeout: Duration) -> bool {
        self.flush(timeout)
    }

    /// Where what was not sent lies: whether a manager can still read it when this process has been killed.
    fn region(&self) -> RegionKind {
        RegionKind::Heap
    }

    /// Takes no more events, lets queued ones go and drops the rest at the deadline as
    /// `shutdown_deadline`. A second call changes nothing. Returns the final ledger.
    fn shutdown(&self, timeout: Duration) -> WorkerSnapshot;

    /// Reads the ledger.
    fn ledger(&self) -> WorkerSnapshot;

    /// The recorder behind this backend, if recording is nothing else than handing events to it: who
    /// resolves a name once can then emit without asking the backend.
    fn recorder(&self) -> Option<Arc<Recorder>> {
        None
    }
}

/// A name as one backend resolved it; of no use to another.
#[derive(Debug, Clone)]
pub enum Site {
    /// Of a backend that keeps nothing.
    Nowhere,
    /// Of a backend with one recorder.
    One(Arc<Callsite>),
    /// Of a composite: one for each part.
    Many(Box<[Site]>),
}

impl Site {
    /// Whether events are off here, as far as can be told without the backend: at the cost of one
    /// load, and never of a composite or of a name beyond the bound of names that are kept.
    #[must_use]
    #[inline]
    pub fn is_off(&self) -> bool {
        match self {
            Self::Nowhere => true,
            Self::One(site) => site.switch().is_off(),
            Self::Many(_) => false,
        }
    }
}

/// The three names of a span.
#[derive(Debug, Clone)]
pub struct SpanSites {
    /// `{operation}.start`.
    pub start: Site,
    /// `{operation}.stop`.
    pub stop: Site,
    /// `{operation}.exception`.
    pub exception: Site,
}

/// Which event of a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It began.
    Start,
    /// It ended well.
    Stop,
    /// It ended otherwise.
    Exception,
}

/// What a backend decided about a span.
#[derive(Debug, Clone)]
pub enum SpanFate {
    /// Of a backend with one recorder.
    One(SpanDecision),
    /// Of a composite: one for each part.
    Many(Box<[Option<SpanFate>]>),
}

/// Who draws for an event.
#[derive(Debug, Clone, Copy)]
pub enum Draw<'a> {
    /// The event alone.
    Own,
    /// The span it belongs to.
    Span(&'a SpanFate, Phase),
}

impl SpanSites {
    /// Resolves the three names of an operation.
    ///
    /// # Errors
    ///
    /// [`NameError`] if the operation makes no valid name.
    pub fn resolve(backend: &dyn Backend, operation: &str) -> Result<Self, NameError> {
        let mut name = String::with_capacity(operation.len() + ".exception".len());
        let mut site = |ending: &str| {
            name.clear();
            name.push_str(operation);
            name.push_str(ending);
            backend.resolve(&name)
        };
        Ok(Self {
            start: site(".start")?,
            stop: site(".stop")?,
            exception: site(".exception")?,
        })
    }

    /// The site of one phase.
    #[must_use]
    pub fn of(&self, phase: Phase) -> &Site {
        match phase {
            Phase::Start => &self.start,
            Phase::Stop => &self.stop,
            Phase::Exception => &self.exception,
        }
    }
}

/// The backend under most others: events wait in its queue for whoever drains it.
impl Backend for Recorder {
    fn resolve(&self, name: &str) -> Result<Site, NameError> {
        self.callsite(name).map(Site::One)
    }

    fn record(&self, site: &Site, draw: Draw<'_>, fields: &Fields<'_>) -> Outcome {
        let Site::One(site) = site else {
            return Outcome::Off;
        };
        match draw {
            Draw::Own => Self::record(self, site, fields),
            Draw::Span(SpanFate::One(decision), phase) => {
                let kept = match phase {
                    Phase::Start => decision.start,
                    Phase::Stop => decision.stop,
                    Phase::Exception => decision.exception,
                };
                self.record_decided(site, kept, fields)
            }
            Draw::Span(SpanFate::Many(_), _) => Outcome::Off,
        }
    }

    fn decide(&self, sites: &SpanSites, ties: &Ties<'_>) -> Option<SpanFate> {
        let (Site::One(start), Site::One(stop), Site::One(exception)) =
            (&sites.start, &sites.stop, &sites.exception)
        else {
            return None;
        };
        let span = ties.span.as_ref();
        self.decide_span(start, stop, exception, ties.correlation_id, span)
            .map(SpanFate::One)
    }

    fn apply(&self, control: &Control) -> Result<(), ControlError> {
        Self::apply(self, control)
    }

    fn flush(&self, timeout: Duration) -> bool {
        self.wait_drained(timeout)
    }

    fn shutdown(&self, timeout: Duration) -> WorkerSnapshot {
        self.close();
        self.wait_drained(timeout);
        self.discard_queued(self.reason_at_end());
        self.snapshot()
    }

    fn ledger(&self) -> WorkerSnapshot {
        self.snapshot()
    }
}

/// Hands the calls that differ in nothing through to a recorder.
macro_rules! through_recorder {
    () => {
        fn resolve(&self, name: &str) -> Result<Site, NameError> {
            self.recorder.resolve(name)
        }

        fn decide(
            &self,
            sites: &SpanSites,
            ties: &telemetry_core::emit::Ties<'_>,
        ) -> Option<SpanFate> {
            self.recorder.decide(sites, ties)
        }

        fn apply(&self, control: &Control) -> Result<(), ControlError> {
            self.recorder.apply(control)
        }

        fn ledger(&self) -> WorkerSnapshot {
            self.recorder.snapshot()
        }
    };
}
use through_recorder;
