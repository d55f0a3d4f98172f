//! The whole emit path in one place: callsite → gate → encode → queue → ledger. Its other end, where a
//! pump drains the queue into gRPC frames, is in `drain`.
//!
//! Shared by Rust and Python workers. It knows no runtime: the pump hands in a waker, and a blocked
//! `flush` waits on a condition variable (`settled`).

mod config;
mod draft;
mod drain;
mod fields;
mod handed;
mod push;
mod retained;
mod scratch;
mod settled;

use std::cmp::Reverse;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::Waker;
use std::time::Duration;

use telemetry_proto::{
    NameCount as ProtoNameCount, RuleCount, RuleProblem as ProtoRuleProblem, WorkerReport,
};

use crate::callsite::Callsite;
use crate::control::{Control, ControlError};
use crate::correlation::SpanContext;
use crate::gate::{Drawn, Gate, Outcome, SpanDecision};
use crate::ledger::{Reason, WorkerLedger, WorkerSnapshot, snapshot_to_report};
use crate::name::NameError;
use crate::open_spans::OpenSpans;
use crate::queue::Queue;
use crate::region::{Lease, Region};
use crate::sanitize::{Limits, Redactor};
use crate::time::Clock;

pub use config::{Overflow, RecorderConfig};
pub use draft::Draft;
pub use drain::{FramedOut, Keep};
pub use fields::{Fields, Ties};
pub use handed::Handed;
pub use settled::Mark;

/// Most bytes of counts by name in one report; the names with fewest events are left out.
const MAX_REPORT_NAME_BYTES: usize = 256 * 1024;

/// Most problems with rules in one report.
const MAX_REPORT_PROBLEMS: usize = 16;

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
                Arc::clone(&clock),
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

    /// Applies one control. On an error the policy in force stays as it was, and the error is kept for the next
    /// report.
    ///
    /// # Errors
    ///
    /// [`ControlError`] if a rate or pattern is invalid, or a set of rules breaks a limit; nothing has changed
    /// then.
    pub fn apply(&self, control: &Control) -> Result<(), ControlError> {
        self.gate.apply_in(control, &self.queue)
    }

    /// Does what rules have due by now, such as to end by themselves. Returns how long it is until there is
    /// something to do again; `None` as long as no rules come. Whoever calls it does so again by then, and when
    /// `waker` is woken; one at a time.
    pub fn turn_rules(&self, waker: &Waker) -> Option<Duration> {
        self.gate.turn(waker, &self.queue)
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
    #[inline]
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
        self.report_rules(&mut report);
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
                sampled_out: count.sampled_out,
                filtered: count.filtered,
                dropped: count.dropped,
                last_reason: count.last_reason,
            });
        }
        report
    }

    /// Says where rules stand.
    fn report_rules(&self, report: &mut WorkerReport) {
        let status = self.gate.rule_status(&self.queue);
        report.policy_fingerprint = status.fingerprint;
        report.expired_rules = status.expired;
        let tallies = status.tallies.into_iter();
        report.rules = tallies
            .map(|(number, tally)| RuleCount {
                number,
                matched: tally.matched,
                kept: tally.kept,
                dropped: tally.dropped,
            })
            .collect();
        let problems = status.problems.into_iter().take(MAX_REPORT_PROBLEMS);
        report.problems = problems
            .map(|problem| ProtoRuleProblem {
                rule: problem.rule,
                field: problem.field,
                error: problem.error,
            })
            .collect();
    }
}

#[cfg(all(test, not(loom)))]
mod w3;
