//! From the bytes of one message to the handlers: decode, look up, validate, enrich, dispatch, count.
//!
//! One pipeline belongs to one session (or one stderr capture) and runs on its task. It knows the
//! catalog, the dispatcher and its own ledger; it knows nothing of sockets and streams.
//!
//! **Invariant.** Handlers get a worker's text raw: valid UTF-8, cut to its limit, nothing more.
//! Whatever writes it for a human or a parser (log, HTTP, tap, exposition) escapes it there.

mod enrich;
mod quarantine;
mod validate;

use std::sync::{Arc, LazyLock};

use telemetry_core::{
    EventParts, EventRef, Source, ValueRef,
    catalog::{Catalog, EventSpec, Limits, Redactor, truncate},
    ledger::{Note, Reason, StreamSnapshot},
    wire::{Content, DecodeError, DecodeLimits, DecodedEvent},
};

use crate::accounts::{Arrival, LedgerWriter};
use crate::dispatch::{Dispatcher, Lane};
use crate::policy::Enforcer;

pub(crate) use enrich::source_of;

pub use quarantine::{MAX_QUARANTINED_NAMES, Quarantine, QuarantinedName};
use validate::{Measurements, Metadata};

/// What keys of stock workers hide their values; one for all, since it is a table of some kilobytes.
static REDACTOR: LazyLock<Redactor> = LazyLock::new(Redactor::default);

/// What one message was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    /// An event; it was dispatched and counted.
    Dispatched,
    /// An event that was refused and counted.
    Rejected(Reason),
    /// An event that had arrived before; counted as a note, not dispatched.
    Duplicate,
    /// The bytes of a `WorkerHello`.
    Hello(&'a [u8]),
    /// The bytes of a `WorkerReport`.
    Report(&'a [u8]),
}

/// Checks the events of one worker and hands them to the dispatcher.
///
/// On the way of a known event nothing is allocated, locked or interned: texts are borrowed from
/// the message, fields are collected on the stack. An unknown name costs an allocation and a short
/// lock on the [`Quarantine`].
#[derive(Debug)]
pub struct Pipeline {
    checks: Checks,
    /// The counters of the stream, or whatever the events come from.
    ledger: LedgerWriter,
    /// The way to the handlers.
    lane: Lane,
}

/// What the events of a worker are checked with and against.
#[derive(Debug)]
struct Checks {
    catalog: Arc<Catalog>,
    /// Who the manager says the events are from.
    source: Source,
    /// Names that the catalog does not know; shared by all pipelines of a manager.
    quarantine: Arc<Quarantine>,
    limits: Limits,
    decode_limits: DecodeLimits,
    redactor: &'static Redactor,
    /// What is wanted of a worker that does not see to that itself.
    policy: Option<Box<Enforcer>>,
    /// No text in a message of this length can be beyond its limit, the correlation id excepted.
    plain_bytes: usize,
}

/// A pipeline while it takes one message after the other; see [`Pipeline::batch`].
#[derive(Debug)]
pub struct Batch<'p> {
    pipeline: &'p mut Pipeline,
}

impl Pipeline {
    /// A pipeline for events from `source`, with a ledger of its own and the default limits.
    #[must_use]
    pub fn new(dispatcher: Dispatcher, source: Source, quarantine: Arc<Quarantine>) -> Self {
        Self::with_ledger(dispatcher, source, quarantine, LedgerWriter::default())
    }

    /// A pipeline that counts with `ledger`.
    pub(crate) fn with_ledger(
        dispatcher: Dispatcher,
        source: Source,
        quarantine: Arc<Quarantine>,
        ledger: LedgerWriter,
    ) -> Self {
        let limits = Limits::default();
        Self {
            checks: Checks {
                catalog: Arc::clone(dispatcher.catalog()),
                source,
                quarantine,
                plain_bytes: limits.value_bytes,
                limits,
                decode_limits: DecodeLimits::default(),
                redactor: &REDACTOR,
                policy: None,
            },
            ledger,
            lane: Lane::new(dispatcher),
        }
    }

    /// Takes one encoded `TelemetryEvent`. Inline handlers run before this returns.
    ///
    /// Never fails: what is wrong with an event is counted under a [`Reason`]. Bytes that are no
    /// event, too large or with too many fields are `decode_error`; a name that the catalog does
    /// not know is `unknown_event`; a measurement that is NaN or infinite makes the whole event
    /// `value_rejected`. A measurement without a value or with an unknown key is left out and noted.
    pub fn process<'m>(&mut self, message: &'m [u8]) -> Frame<'m> {
        self.batch().process(message)
    }

    /// For several messages in a row: what they have in common is fetched once. Every message is
    /// handled and counted at once, as by [`process`](Self::process).
    ///
    /// While it lives, handlers that are detached meanwhile are not yet dropped: let it go before
    /// waiting for more.
    pub fn batch(&mut self) -> Batch<'_> {
        Batch { pipeline: self }
    }

    /// Counts one event that arrived in a form from which no message could be made, such as a
    /// garbled line.
    pub fn reject(&mut self, reason: Reason) {
        self.ledger.count(Arrival::Unsequenced, Some(reason));
    }

    /// What was counted so far.
    #[must_use]
    pub fn snapshot(&self) -> StreamSnapshot {
        self.ledger.snapshot()
    }

    /// Who the events are from.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.checks.source
    }

    /// Sequence of the last event that was handled or is known to be lost.
    pub(crate) fn position(&self) -> u64 {
        self.ledger.position()
    }

    /// The counters, for who settles whose they are.
    pub(crate) fn ledger_mut(&mut self) -> &mut LedgerWriter {
        &mut self.ledger
    }

    /// The counters, when there is nothing more to count.
    pub(crate) fn into_ledger(self) -> LedgerWriter {
        self.ledger
    }

    /// From now on refuses what this does not let pass, as `policy`. `None`: the worker sees to it itself.
    pub(crate) fn enforce(&mut self, policy: Option<Enforcer>) {
        self.checks.policy = policy.map(Box::new);
    }

    /// Where events go.
    pub(crate) fn dispatcher(&self) -> &Dispatcher {
        self.lane.dispatcher()
    }

    /// Changes who the events are from.
    pub(crate) fn set_source(&mut self, source: Source) {
        self.checks.source = source;
    }
}

impl Batch<'_> {
    /// As [`Pipeline::process`].
    #[inline]
    pub fn process<'m>(&mut self, message: &'m [u8]) -> Frame<'m> {
        let Pipeline {
            checks,
            ledger,
            lane,
        } = &mut *self.pipeline;
        checks.process(message, ledger, lane)
    }

    /// The pipeline itself.
    pub(crate) fn pipeline(&mut self) -> &mut Pipeline {
        self.pipeline
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        self.pipeline.lane.rest();
    }
}

impl Checks {
    /// See [`Pipeline::process`].
    fn process<'m>(
        &self,
        message: &'m [u8],
        ledger: &mut LedgerWriter,
        lane: &mut Lane,
    ) -> Frame<'m> {
        let mut event = DecodedEvent::empty();
        match event.read(message, &self.decode_limits, &*self.catalog) {
            Ok(Content::Event) => {}
            Ok(Content::Hello(hello)) => return Frame::Hello(hello),
            Ok(Content::Report(report)) => return Frame::Report(report),
            Err(error) => return self.refuse_undecoded(&error, ledger),
        }
        let arrival = ledger.arrival(event.sequence);
        if arrival == Arrival::Duplicate {
            ledger.note(Note::Duplicate);
            return Frame::Duplicate;
        }
        let outcome = self.judge(&event, message.len(), ledger, lane);
        ledger.count(arrival, outcome.err());
        match outcome {
            Ok(()) => Frame::Dispatched,
            Err(reason) => Frame::Rejected(reason),
        }
    }

    fn worker(&self) -> &str {
        self.source.worker_id.as_deref().unwrap_or_default()
    }

    #[cold]
    fn refuse_undecoded(&self, error: &DecodeError, ledger: &mut LedgerWriter) -> Frame<'static> {
        tracing::debug!(worker = self.worker(), %error, "undecodable message");
        ledger.reject_undecoded();
        Frame::Rejected(Reason::DecodeError)
    }

    /// Dispatches the event of a message of `len` bytes, or says why not.
    #[inline]
    fn judge(
        &self,
        event: &DecodedEvent<'_>,
        len: usize,
        ledger: &mut LedgerWriter,
        lane: &mut Lane,
    ) -> Result<(), Reason> {
        let spec = self.look_up(event, lane)?;
        if let Some(policy) = &self.policy
            && !is_wanted(policy, spec, event, lane)
        {
            return Err(Reason::Policy);
        }
        if event.is_plain() && len <= self.plain_bytes {
            self.dispatch(
                event,
                spec,
                &event.measurements,
                &event.metadata,
                ledger,
                lane,
            );
            return Ok(());
        }
        self.judge_odd(event, spec, ledger, lane)
    }

    /// As `judge`, of an event of which something may have to be left out, cut or hidden.
    fn judge_odd(
        &self,
        event: &DecodedEvent<'_>,
        spec: &EventSpec,
        ledger: &mut LedgerWriter,
        lane: &mut Lane,
    ) -> Result<(), Reason> {
        let mut note = |note| ledger.note(note);
        let mut measurements = Measurements::new();
        validate::measurements(&self.limits, event, &mut measurements, &mut note)?;
        let mut metadata = Metadata::new();
        validate::metadata(&self.limits, self.redactor, event, &mut metadata, &mut note);
        self.dispatch(event, spec, &measurements, &metadata, ledger, lane);
        Ok(())
    }

    /// Dispatches what passed of the event.
    #[inline]
    fn dispatch(
        &self,
        event: &DecodedEvent<'_>,
        spec: &EventSpec,
        measurements: &[(&str, ValueRef<'_>)],
        metadata: &[(&str, &str)],
        ledger: &mut LedgerWriter,
        lane: &mut Lane,
    ) {
        let correlation_id = truncate(event.correlation_id, self.limits.correlation_id_bytes);
        if correlation_id.len() < event.correlation_id.len() {
            ledger.note(Note::Truncated);
        }
        let span = event.span();
        lane.execute(&EventRef::new(EventParts {
            spec,
            measurements,
            metadata,
            timestamp_ns: event.timestamp_ns,
            correlation_id,
            sampling_rate: self.sampling_rate(event),
            span: span.as_ref(),
            source: &self.source,
        }));
    }

    /// With which probability such an event gets to the handlers.
    #[inline]
    fn sampling_rate(&self, event: &DecodedEvent<'_>) -> f64 {
        let claimed = validate::sampling_rate(event.sampling_rate);
        match &self.policy {
            None => claimed.unwrap_or(1.0),
            Some(policy) => policy.rate(claimed),
        }
    }

    /// The catalog's entry; an unknown name goes into quarantine.
    #[inline]
    fn look_up(&self, event: &DecodedEvent<'_>, lane: &Lane) -> Result<&EventSpec, Reason> {
        let by_bytes = event
            .parts
            .encoded()
            .and_then(|parts| self.catalog.by_encoded(parts));
        by_bytes.map_or_else(|| self.look_up_by_name(event, lane), Ok)
    }

    /// The entry of an event of an odd encoder, or of none.
    #[cold]
    fn look_up_by_name(&self, event: &DecodedEvent<'_>, lane: &Lane) -> Result<&EventSpec, Reason> {
        let name = event.parts.dotted().map_err(|_| Reason::DecodeError)?;
        if let Some(spec) = self.catalog.by_wire_name(&name) {
            return Ok(spec);
        }
        let now = lane.dispatcher().clock().unix_nanos();
        self.quarantine.add(&name, now, |name| {
            self.catalog.suggest(name).map(str::to_owned)
        });
        Err(Reason::UnknownEvent)
    }
}

/// Whether what is left of the policy lets an event through.
#[cold]
fn is_wanted(policy: &Enforcer, spec: &EventSpec, event: &DecodedEvent<'_>, lane: &Lane) -> bool {
    let name = spec.wire_name.as_deref().unwrap_or_default();
    let now_ns = || lane.dispatcher().clock().unix_nanos();
    policy.lets(name, event.correlation_id, now_ns)
}

#[cfg(test)]
mod tests;
