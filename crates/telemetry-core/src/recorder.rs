//! The whole emit path in one place: callsite → gate → encode → queue → ledger. Its other end, where a
//! pump drains the queue into gRPC frames, is in `drain`.
//!
//! Shared by Rust and Python workers. It knows no runtime: the pump hands in a waker, and a blocked
//! `flush` waits on a condition variable (`settled`).

mod draft;
mod drain;
mod fields;
mod handed;
mod retained;
mod scratch;
mod settled;

use std::cmp::Reverse;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use telemetry_proto::{NameCount as ProtoNameCount, WorkerReport};

use crate::callsite::{Callsite, DEFAULT_MAX_CALLSITES};
use crate::control::{ControlError, PolicySpec};
use crate::correlation::SpanContext;
use crate::gate::{Drawn, Gate, Outcome, SpanDecision};
use crate::ledger::{Reason, WorkerLedger, WorkerSnapshot, snapshot_to_report};
use crate::name::NameError;
use crate::open_spans::OpenSpans;
use crate::queue::{Pushed, Queue, QueueLimits, Record, Refused};
use crate::region::{Layout, Lease, Region};
use crate::sanitize::{Limits, Redactor};
use crate::time::Clock;

pub use draft::Draft;
pub use drain::{FramedOut, Keep};
pub use fields::{Fields, Ties};
pub use handed::Handed;
pub use settled::Mark;

/// Most bytes of counts by name in one report; the names with fewest events are left out.
const MAX_REPORT_NAME_BYTES: usize = 256 * 1024;
/// How often an event that evicts others looks for one in a queue that others just emptied.
const EVICT_ATTEMPTS: usize = 8;

/// What happens to a full queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Overflow {
    /// The new event is dropped as `queue_full`.
    #[default]
    DropNewest,
    /// The oldest events make room and are dropped as `evicted_oldest`.
    DropOldest,
}

/// How a [`Recorder`] is set up.
#[derive(Debug, Clone)]
pub struct RecorderConfig {
    /// Bounds of the queue.
    pub queue: QueueLimits,
    /// What a full queue does.
    pub overflow: Overflow,
    /// Limits of one event.
    pub limits: Limits,
    /// Which metadata values are secret.
    pub redactor: Redactor,
    /// The policy until a manager sends one.
    pub policy: PolicySpec,
    /// Names that are kept, up to [`MAX_CALLSITES`](crate::MAX_CALLSITES); more are still recorded,
    /// at a higher cost each.
    pub max_callsites: usize,
}

impl RecorderConfig {
    /// The layout of the region of such a recorder.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.queue.layout(self.max_callsites)
    }
}

impl Default for RecorderConfig {
    fn default() -> Self {
        Self {
            queue: QueueLimits::default(),
            overflow: Overflow::default(),
            limits: Limits::default(),
            redactor: Redactor::default(),
            policy: PolicySpec::default(),
            max_callsites: DEFAULT_MAX_CALLSITES,
        }
    }
}

/// Records events of one worker incarnation and gives them out as frames.
#[derive(Debug)]
pub struct Recorder {
    /// Names, policy, ledger.
    gate: Gate,
    /// Encoded events without sequence.
    queue: Queue,
    /// What a full queue does.
    overflow: Overflow,
    /// Limits of one event.
    limits: Limits,
    /// Which metadata values are secret.
    redactor: Redactor,
    /// Timestamps.
    clock: Arc<dyn Clock>,
    /// Events at the front of the queue that were let in under a policy that is no longer in force
    /// and have to pass the present one before they are drained.
    to_recheck: AtomicUsize,
    /// Nobody has begun to take events out yet, and perhaps nobody will.
    unstarted: AtomicBool,
    /// It belongs to a fork of a process that served, and nothing of that reaches here.
    inherited: AtomicBool,
    /// Spans under way.
    open_spans: OpenSpans,
    /// For how long the program has not been able to run, milliseconds; 0 if it runs.
    stalled_ms: AtomicU64,
    /// Of the memory that all of this lies in. Dropped last.
    _lease: Lease,
}

impl Recorder {
    /// An open recorder.
    ///
    /// # Errors
    ///
    /// [`ControlError`] if the initial policy has an invalid rate or pattern.
    pub fn new(config: RecorderConfig, clock: Arc<dyn Clock>) -> Result<Self, ControlError> {
        let region = Region::heap(config.layout());
        Self::in_region(config, clock, region)
    }

    /// An open recorder whose events, counters and spans lie in a region: all zeros, but for what says
    /// whose it is. Of a region of another [layout](RecorderConfig::layout) it uses what is there.
    ///
    /// # Errors
    ///
    /// [`ControlError`] if the initial policy has an invalid rate or pattern.
    pub fn in_region(
        config: RecorderConfig,
        clock: Arc<dyn Clock>,
        region: Region,
    ) -> Result<Self, ControlError> {
        let monotonic = i64::try_from(clock.monotonic_nanos()).unwrap_or(i64::MAX);
        region.set_clock_zero(clock.unix_nanos().saturating_sub(monotonic));
        let ledger = WorkerLedger::in_part(region.counters);
        Ok(Self {
            gate: Gate::in_parts(
                config.policy,
                config.max_callsites,
                ledger,
                region.sites,
                region.names,
            )?,
            queue: Queue::in_parts(config.queue, region.control, region.ring),
            overflow: config.overflow,
            limits: config.limits,
            redactor: config.redactor,
            clock,
            to_recheck: AtomicUsize::new(0),
            unstarted: AtomicBool::new(false),
            inherited: AtomicBool::new(false),
            open_spans: OpenSpans::in_part(region.spans),
            stalled_ms: AtomicU64::new(0),
            _lease: region.lease,
        })
    }

    /// Names, policy and ledger of this recorder.
    #[must_use]
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Spans under way, which reports count.
    #[must_use]
    pub fn open_spans(&self) -> &OpenSpans {
        &self.open_spans
    }

    /// Says for how long the program has not been able to run, milliseconds; 0: it runs.
    pub fn set_stalled_ms(&self, stalled_ms: u64) {
        self.stalled_ms.store(stalled_ms, Ordering::Relaxed);
    }

    /// The clock that stamps events.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// The callsite of a wire name; see [`Gate::callsite`].
    ///
    /// # Errors
    ///
    /// [`NameError`] if the name breaks the rules for names; the event is counted.
    pub fn callsite(&self, name: &str) -> Result<Arc<Callsite>, NameError> {
        self.gate.callsite(name)
    }

    /// Records one event.
    #[inline]
    pub fn record(&self, site: &Callsite, fields: &Fields<'_>) -> Outcome {
        if site.switch().is_off() {
            return Outcome::Off;
        }
        self.record_enabled(site, fields)
    }

    /// The rest of [`record`](Self::record), apart so that the test before it is all that a disabled
    /// event costs.
    fn record_enabled(&self, site: &Callsite, fields: &Fields<'_>) -> Outcome {
        let admitted = self
            .gate
            .admit(site, fields.correlation_id, fields.span.as_ref());
        match admitted {
            Ok(threshold) => self.record_kept(site, threshold, fields),
            Err(outcome) => outcome,
        }
    }

    /// Records one event of a span whose sampling was decided at its start.
    pub fn record_decided(&self, site: &Callsite, drawn: Drawn, fields: &Fields<'_>) -> Outcome {
        match self.gate.admit_decided(site, drawn) {
            Ok(threshold) => self.record_kept(site, threshold, fields),
            Err(outcome) => outcome,
        }
    }

    /// Decides about a span; see [`Gate::decide_span`].
    #[must_use]
    pub fn decide_span(
        &self,
        start: &Callsite,
        stop: &Callsite,
        exception: &Callsite,
        correlation_id: &str,
        span: Option<&SpanContext>,
    ) -> Option<SpanDecision> {
        self.gate
            .decide_span(start, stop, exception, correlation_id, span)
    }

    /// Starts an event that is filled field by field. Its wall clock, Unix nanoseconds, is now unless
    /// given. Neither a lock nor a queue slot is held until [`Draft::commit`].
    ///
    /// # Errors
    ///
    /// The [`Outcome`] of an event that does not pass the gate.
    #[inline]
    pub fn draft<'a>(
        &'a self,
        site: &'a Callsite,
        ties: Ties<'a>,
        timestamp_ns: Option<i64>,
    ) -> Result<Draft<'a>, Outcome> {
        let threshold = self
            .gate
            .admit(site, ties.correlation_id, ties.span.as_ref())?;
        Ok(Draft::start(self, site, threshold, ties, timestamp_ns))
    }

    /// [`draft`](Self::draft) for an event of a span whose sampling was decided at its start.
    ///
    /// # Errors
    ///
    /// The [`Outcome`] of an event that does not pass the gate.
    pub fn draft_decided<'a>(
        &'a self,
        site: &'a Callsite,
        drawn: Drawn,
        ties: Ties<'a>,
        timestamp_ns: Option<i64>,
    ) -> Result<Draft<'a>, Outcome> {
        let threshold = self.gate.admit_decided(site, drawn)?;
        Ok(Draft::start(self, site, threshold, ties, timestamp_ns))
    }

    /// Says whether somebody takes events out. A recorder begins as one that is started. In one that
    /// is not, events wait as long as there is room; what finds none is `not_started`, and nothing
    /// makes room.
    pub fn set_started(&self, started: bool) {
        self.unstarted.store(!started, Ordering::Relaxed);
    }

    /// Whether somebody takes events out, or has.
    #[must_use]
    pub fn is_started(&self) -> bool {
        !self.unstarted.load(Ordering::Relaxed)
    }

    /// Says that nobody takes events out because this process is a fork of one that serves: as long as
    /// nothing is started here, what is dropped for it is `fork_inherited` instead of `not_started`.
    pub fn set_inherited(&self) {
        self.inherited.store(true, Ordering::Relaxed);
    }

    /// Why events that are still queued at the end are dropped.
    #[must_use]
    pub fn reason_at_end(&self) -> Reason {
        if self.is_started() {
            Reason::ShutdownDeadline
        } else {
            self.reason_unstarted()
        }
    }

    /// Why events are dropped that nobody takes out.
    fn reason_unstarted(&self) -> Reason {
        if self.inherited.load(Ordering::Relaxed) {
            Reason::ForkInherited
        } else {
            Reason::NotStarted
        }
    }

    /// Refuses events from now on; those queued stay to be drained. When it returns, every event
    /// that was let in is in the queue.
    pub fn close(&self) {
        self.queue.close();
        self.wake_pump();
    }

    /// Whether it was closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }

    /// Events waiting to be drained.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Reads the ledger.
    #[must_use]
    pub fn snapshot(&self) -> WorkerSnapshot {
        self.gate.snapshot(&self.queue).0
    }

    /// The ledger and the state of control, for a manager that said hello.
    #[must_use]
    pub fn report(&self) -> WorkerReport {
        let control = self.gate.control_status();
        let (snapshot, settled) = self.gate.snapshot(&self.queue);
        let mut report = WorkerReport {
            policy_revision: control.spec.revision,
            rejected_policy_revision: control.rejected_revision,
            control_error: control.error,
            settled,
            stalled_ms: self.stalled_ms.load(Ordering::Relaxed),
            open_spans: u32::try_from(self.open_spans.len()).unwrap_or(u32::MAX),
            ..WorkerReport::default()
        };
        snapshot_to_report(&snapshot, &mut report);
        let mut bytes = 0;
        let mut names = self.gate.names(&self.queue);
        names.sort_by_key(|count| Reverse(count.emitted));
        for count in names {
            bytes += count.name.len() + 32;
            if bytes > MAX_REPORT_NAME_BYTES {
                break;
            }
            report.names.push(ProtoNameCount {
                name: count.name,
                emitted: count.emitted,
                accepted: count.accepted,
            });
        }
        report
    }

    /// Queues an encoded event.
    #[inline(always)]
    fn push(&self, site: &Callsite, event: &[u8]) -> Outcome {
        match self.queue.try_push(event, site.tag()) {
            Ok(pushed) => self.pushed(pushed),
            Err(refused) => self.push_refused(site, event, refused),
        }
    }

    /// Wakes the pump if that is on us, and waits for it in write-through mode.
    #[inline]
    fn pushed(&self, pushed: Pushed) -> Outcome {
        if pushed.wake {
            self.gate.settle().after_waking_push();
        }
        Outcome::Accepted
    }

    /// Counts an event that was refused, or makes room for it where the configuration says so.
    #[cold]
    fn push_refused(&self, site: &Callsite, event: &[u8], mut refused: Refused) -> Outcome {
        let mut attempts = 0;
        while refused == Refused::Full
            && self.is_started()
            && self.queue.can_hold(event.len())
            && attempts < EVICT_ATTEMPTS
        {
            let evict = |oldest: Record<'_>| {
                self.gate.count_left(oldest.tag());
                self.gate.count_dropped_late(Reason::EvictedOldest, 1);
            };
            let may_evict = self.overflow == Overflow::DropOldest;
            match self.queue.make_room(may_evict.then_some(evict)) {
                Some(forgotten) => self.gate.count_forgotten(forgotten),
                None if !may_evict => break,
                None => {
                    // Somebody made room, or is about to publish what he claimed.
                    attempts += 1;
                    std::thread::yield_now();
                }
            }
            match self.queue.try_push(event, site.tag()) {
                Ok(pushed) => return self.pushed(pushed),
                Err(still) => refused = still,
            }
        }
        self.gate.count_dropped(
            site,
            match refused {
                Refused::Full if !self.is_started() => self.reason_unstarted(),
                Refused::Full => Reason::QueueFull,
                Refused::Closed => Reason::NotRunning,
            },
        )
    }
}

#[cfg(all(test, not(loom)))]
mod w3 {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::drain::Keep;
    use super::{Recorder, RecorderConfig};
    use crate::SystemClock;
    use crate::queue::Budget;

    /// The law that `check` states holds in every settled reading.
    #[test]
    fn a_reading_between_the_count_and_the_release_breaks_no_law() {
        let recorder =
            Recorder::new(RecorderConfig::default(), Arc::new(SystemClock::new())).unwrap();
        let site = recorder.callsite("a.b").unwrap();
        let done = AtomicBool::new(false);
        let mut broken = 0_u64;
        let mut settled_and_broken = 0_u64;
        let mut looked = 0_u64;
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        let _ = recorder.gate.snapshot(&recorder.queue);
                    }
                });
            }
            scope.spawn(|| {
                let mut out = Vec::new();
                for _ in 0..3_000 {
                    for _ in 0..100 {
                        recorder.record(&site, &crate::Fields::default());
                    }
                    out.clear();
                    let all = Budget {
                        events: 1_000,
                        bytes: usize::MAX,
                    };
                    let framed = recorder.frame_out(&mut out, all, Keep::UntilAcknowledged);
                    recorder.acknowledge(framed.last_sequence);
                }
                done.store(true, Ordering::Relaxed);
            });
            while !done.load(Ordering::Relaxed) {
                let (snapshot, settled) = recorder.gate.snapshot(&recorder.queue);
                looked += 1;
                if let Err(law) = snapshot.check() {
                    broken += 1;
                    if settled && law.law == "W3" {
                        settled_and_broken += 1;
                    }
                }
            }
        });
        assert_eq!((broken, settled_and_broken), (0, 0), "of {looked}");
    }
}
