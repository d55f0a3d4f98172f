//! From the bytes of one message to the handlers: decode, look up, validate, enrich, dispatch, count.
//!
//! One pipeline belongs to one session (or one stderr capture) and runs on its task. It knows the
//! catalog, the dispatcher and its own ledger; it knows nothing of sockets and streams.
//!
//! **Invariant.** Handlers get a worker's text raw: valid UTF-8, cut to its limit, nothing more.
//! Whatever writes it for a human or a parser (log, HTTP, tap, exposition) escapes it there.

mod beyond;
mod enrich;
mod learned;
mod quarantine;
mod seen;
mod validate;

use std::sync::{Arc, LazyLock};

use telemetry_core::{
    EventParts, EventRef, Source, ValueRef,
    catalog::{Catalog, EventSpec, Limits, Redactor, truncate},
    ledger::{Note, Reason, StreamSnapshot},
    wire::{Content, DecodeError, DecodeLimits, DecodedEvent, RejectedName, encode_event_parts},
};

use crate::accounts::{Arrival, LedgerWriter};
use crate::dispatch::{Dispatcher, Lane};
use crate::policy::Enforcer;

pub(crate) use enrich::source_of;

use beyond::Beyond;
pub use learned::{
    CatalogMode, Learned, LearnedEvent, LearnedKey, MAX_LEARNED_KEYS, MAX_LEARNED_NAMES,
    MAX_LEARNING_POOLS,
};
pub use quarantine::{MAX_QUARANTINED_NAMES, Quarantine, QuarantinedName};
use seen::{Seen, SeenEvent};
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
/// the message, fields are collected on the stack. Nor is it for a name that was learned and its keys,
/// once this pipeline has seen them. An unknown name that is refused costs an allocation and a short
/// lock on the [`Quarantine`].
#[derive(Debug)]
pub struct Pipeline {
    checks: Checks,
    /// The counters of the stream, or whatever the events come from.
    ledger: LedgerWriter,
    /// The way to the handlers.
    lane: Lane,
    /// What came that the catalog does not have.
    beyond: Beyond,
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
            beyond: Beyond::default(),
        }
    }

    /// Lets events pass that the catalog does not have, as far as `learned` has room for them.
    pub(crate) fn learning(mut self, learned: &Arc<Learned>) -> Self {
        let pool = self.checks.source.pool_name.as_ref();
        self.beyond.seen = Some(Box::new(Seen::new(Arc::clone(learned), pool)));
        self
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

    /// Names that were refused since they were last taken; of one pipeline the first 64 names alone.
    pub(crate) fn take_refused(&mut self) -> &[RejectedName] {
        self.beyond.refused.take()
    }

    /// Changes who the events are from.
    pub(crate) fn set_source(&mut self, source: Source) {
        if let Some(seen) = &mut self.beyond.seen
            && source.pool_name != self.checks.source.pool_name
        {
            seen.set_pool(source.pool_name.as_ref());
        }
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
            beyond,
        } = &mut *self.pipeline;
        checks.process(message, ledger, lane, beyond)
    }

    /// The pipeline itself.
    pub(crate) fn pipeline(&mut self) -> &mut Pipeline {
        self.pipeline
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        self.pipeline.lane.rest();
        if let Some(seen) = &mut self.pipeline.beyond.seen {
            seen.rest();
        }
    }
}

impl Checks {
    /// See [`Pipeline::process`].
    fn process<'m>(
        &self,
        message: &'m [u8],
        ledger: &mut LedgerWriter,
        lane: &mut Lane,
        beyond: &mut Beyond,
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
        let outcome = self.judge(&event, message.len(), ledger, lane, beyond);
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
        beyond: &mut Beyond,
    ) -> Result<(), Reason> {
        let encoded = event.parts.encoded();
        let Some(spec) = encoded.and_then(|parts| self.catalog.by_encoded(parts)) else {
            return self.judge_unknown(event, ledger, lane, beyond);
        };
        if let Some(policy) = &self.policy
            && !is_wanted(policy, spec, event, lane)
        {
            return Err(Reason::Policy);
        }
        if event.is_plain() && len <= self.plain_bytes {
            let (measurements, metadata) = (&event.measurements, &event.metadata);
            self.dispatch(event, spec, measurements, metadata, ledger, |event| {
                lane.execute(event);
            });
            return Ok(());
        }
        self.judge_odd(event, spec, ledger, lane, &mut beyond.seen)
    }

    /// As `judge`, of an event of which something may have to be left out, cut or hidden.
    fn judge_odd(
        &self,
        event: &DecodedEvent<'_>,
        spec: &EventSpec,
        ledger: &mut LedgerWriter,
        lane: &mut Lane,
        seen: &mut Option<Box<Seen>>,
    ) -> Result<(), Reason> {
        let mut note = |note| ledger.note(note);
        let mut takes = |key: &str, value: ValueRef<'_>| {
            let seen = seen.as_deref_mut();
            seen.is_some_and(|seen| self.takes_more(seen, event, spec, (key, value), lane))
        };
        let mut measurements = Measurements::new();
        validate::measurements(
            &self.limits,
            event,
            &mut measurements,
            &mut note,
            |known, key, value| known || takes(key, value),
        )?;
        let mut metadata = Metadata::new();
        validate::metadata(&self.limits, self.redactor, event, &mut metadata, &mut note);
        self.dispatch(event, spec, &measurements, &metadata, ledger, |event| {
            lane.execute(event);
        });
        Ok(())
    }

    /// Whether an event of the catalog may carry a measurement that the catalog does not have.
    #[cold]
    fn takes_more(
        &self,
        seen: &mut Seen,
        event: &DecodedEvent<'_>,
        spec: &EventSpec,
        (key, value): (&str, ValueRef<'_>),
        lane: &Lane,
    ) -> bool {
        let (Some(encoded), Some(name)) = (event.parts.encoded(), &spec.wire_name) else {
            return false;
        };
        let now_ns = seen.now_ns(|| lane.dispatcher().clock().unix_nanos());
        let worker = self.source.worker_id.as_ref();
        let Some(seen) = seen.find_or_enter(encoded, name, worker, now_ns) else {
            return false;
        };
        seen.entry.touch(now_ns);
        seen.takes(key, value, &self.catalog)
    }

    /// As `judge`, of an event whose name is not in the catalog, at least not as it is encoded.
    #[inline(never)]
    fn judge_unknown(
        &self,
        event: &DecodedEvent<'_>,
        ledger: &mut LedgerWriter,
        lane: &mut Lane,
        Beyond { refused, seen }: &mut Beyond,
    ) -> Result<(), Reason> {
        let now_ns = || lane.dispatcher().clock().unix_nanos();
        let known = seen.as_deref_mut().and_then(|seen| {
            let now_ns = seen.now_ns(now_ns);
            Some((seen.find(event.parts.encoded()?)?, now_ns))
        });
        if let Some((seen, now_ns)) = known {
            return self.judge_learned(event, seen, now_ns, ledger, lane);
        }
        let name = event.parts.dotted().map_err(|_| Reason::DecodeError)?;
        if let Some(spec) = self.catalog.by_wire_name(&name) {
            if let Some(policy) = &self.policy
                && !is_wanted(policy, spec, event, lane)
            {
                return Err(Reason::Policy);
            }
            return self.judge_odd(event, spec, ledger, lane, seen);
        }
        let entered = seen.as_deref_mut().and_then(|seen| {
            let now_ns = seen.now_ns(now_ns);
            let encoded = match event.parts.encoded() {
                Some(encoded) => encoded,
                None => &encode_event_parts(&name),
            };
            let worker = self.source.worker_id.as_ref();
            Some((seen.find_or_enter(encoded, &name, worker, now_ns)?, now_ns))
        });
        if let Some((seen, now_ns)) = entered {
            return self.judge_learned(event, seen, now_ns, ledger, lane);
        }
        let suggest = |name: &str| self.catalog.suggest(name).map(str::to_owned);
        self.quarantine.add(&name, now_ns(), suggest);
        refused.add(&name, suggest);
        Err(Reason::UnknownEvent)
    }

    /// As `judge`, of an event that was learned.
    fn judge_learned(
        &self,
        event: &DecodedEvent<'_>,
        seen: &mut SeenEvent,
        now_ns: i64,
        ledger: &mut LedgerWriter,
        lane: &mut Lane,
    ) -> Result<(), Reason> {
        if let Some(policy) = &self.policy
            && !is_wanted(policy, &seen.entry.spec, event, lane)
        {
            return Err(Reason::Policy);
        }
        let mut note = |note| ledger.note(note);
        let mut measurements = Measurements::new();
        validate::measurements(
            &self.limits,
            event,
            &mut measurements,
            &mut note,
            |known, key, value| seen.takes(key, value, &self.catalog) || known,
        )?;
        let mut metadata = Metadata::new();
        validate::metadata(&self.limits, self.redactor, event, &mut metadata, &mut note);
        for (key, _) in &metadata {
            seen.note(key);
        }
        seen.entry.saw(now_ns);
        let SeenEvent { entry, matched, .. } = seen;
        self.dispatch(
            event,
            &entry.spec,
            &measurements,
            &metadata,
            ledger,
            |event| {
                lane.execute_matched(event, matched);
            },
        );
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
        give: impl FnOnce(&EventRef<'_>),
    ) {
        let correlation_id = truncate(event.correlation_id, self.limits.correlation_id_bytes);
        if correlation_id.len() < event.correlation_id.len() {
            ledger.note(Note::Truncated);
        }
        let span = event.span();
        give(&EventRef::new(EventParts {
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
