//! The whole emit path in one place: callsite → gate → encode → queue → ledger, and its other end,
//! where a pump drains the queue into gRPC frames.
//!
//! Shared by Rust and Python workers. It knows no runtime: the pump hands in a [`Waker`], and a
//! blocked `flush` waits on a condition variable of its own.

mod draft;
mod scratch;

use std::cmp::Reverse;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use atomic_waker::AtomicWaker;
use telemetry_proto::{NameCount as ProtoNameCount, WorkerReport};

use crate::callsite::{Callsite, DEFAULT_MAX_CALLSITES};
use crate::control::{ControlError, PolicySpec};
use crate::gate::{Drawn, Gate, Outcome, SpanDecision};
use crate::ledger::{Reason, WorkerSnapshot, snapshot_to_report};
use crate::name::NameError;
use crate::queue::{Budget, Pushed, Queue, QueueLimits, Record, Refused, Sleep};
use crate::sanitize::{Limits, Redactor};
use crate::time::Clock;
use crate::value::ValueRef;
use crate::wire::{DecodeLimits, append_sequence, decode_event, frame_header, sequence_len};

pub use draft::Draft;

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

/// What one event carries beside its name.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fields<'a> {
    /// Measurements by key.
    pub measurements: &'a [(&'a str, ValueRef<'a>)],
    /// Metadata by key.
    pub metadata: &'a [(&'a str, &'a str)],
    /// Ties events together; may be empty.
    pub correlation_id: &'a str,
    /// Wall clock in Unix nanoseconds; `None` is now.
    pub timestamp_ns: Option<i64>,
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
    /// How to wake the pump.
    pump: AtomicWaker,
    /// Those in `wait_drained`: while there are any, no event waits for others.
    awaited: AtomicUsize,
    /// Wakes `wait_drained` after each drain.
    drained: Condvar,
    /// How many wait for a drain; a drain that nobody waits for makes no system call.
    waiters: Mutex<usize>,
}

impl Recorder {
    /// An open recorder.
    ///
    /// # Errors
    ///
    /// [`ControlError`] if the initial policy has an invalid rate or pattern.
    pub fn new(config: RecorderConfig, clock: Arc<dyn Clock>) -> Result<Self, ControlError> {
        Ok(Self {
            gate: Gate::new(config.policy, config.max_callsites)?,
            queue: Queue::new(config.queue),
            overflow: config.overflow,
            limits: config.limits,
            redactor: config.redactor,
            clock,
            to_recheck: AtomicUsize::new(0),
            pump: AtomicWaker::new(),
            awaited: AtomicUsize::new(0),
            drained: Condvar::new(),
            waiters: Mutex::new(0),
        })
    }

    /// Names, policy and ledger of this recorder.
    #[must_use]
    pub fn gate(&self) -> &Gate {
        &self.gate
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
        match self.gate.admit(site, fields.correlation_id) {
            Ok(threshold) => {
                Draft::start(self, site, threshold, fields.correlation_id).fill(fields)
            }
            Err(outcome) => outcome,
        }
    }

    /// Records one event of a span whose sampling was decided at its start.
    pub fn record_decided(&self, site: &Callsite, drawn: Drawn, fields: &Fields<'_>) -> Outcome {
        match self.gate.admit_decided(site, drawn) {
            Ok(threshold) => {
                Draft::start(self, site, threshold, fields.correlation_id).fill(fields)
            }
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
    ) -> Option<SpanDecision> {
        self.gate
            .decide_span(start, stop, exception, correlation_id)
    }

    /// Starts an event that is filled field by field. Neither a lock nor a queue slot is held until
    /// [`Draft::commit`].
    ///
    /// # Errors
    ///
    /// The [`Outcome`] of an event that does not pass the gate.
    #[inline]
    pub fn draft<'a>(
        &'a self,
        site: &'a Callsite,
        correlation_id: &'a str,
    ) -> Result<Draft<'a>, Outcome> {
        let threshold = self.gate.admit(site, correlation_id)?;
        Ok(Draft::start(self, site, threshold, correlation_id))
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
        correlation_id: &'a str,
    ) -> Result<Draft<'a>, Outcome> {
        let threshold = self.gate.admit_decided(site, drawn)?;
        Ok(Draft::start(self, site, threshold, correlation_id))
    }

    /// Moves queued events into `out` as gRPC frames, each stamped with its sequence, and returns how
    /// many.
    pub fn drain_frames(&self, out: &mut Vec<u8>, budget: Budget) -> usize {
        let mut to_recheck = self.to_recheck.swap(0, Ordering::Relaxed);
        let mut filtered = 0;
        let drained = self.queue.drain_into(
            |event| {
                self.gate.count_left(event.tag());
                if to_recheck > 0 {
                    to_recheck -= 1;
                    if !self.passes(event) {
                        filtered += 1;
                        return self.gate.count_dropped_late(Reason::Filtered, 1);
                    }
                }
                let sequence = self.gate.next_sequence();
                out.extend_from_slice(&frame_header(event.len() + sequence_len(sequence)));
                event.append_to(out);
                append_sequence(out, sequence);
            },
            budget,
        );
        self.to_recheck.fetch_add(to_recheck, Ordering::Relaxed);
        if drained.events > 0 {
            self.wake_waiters();
        }
        drained.events - filtered
    }

    /// Has what is queued now pass the toggle and the filter of the present policy before it is
    /// drained; what does not is dropped as `filtered`. A pump asks for it when the first control of
    /// a stream has arrived, so that a worker which started before it leaks nothing.
    pub fn recheck_queued(&self) {
        self.to_recheck.store(self.queue.len(), Ordering::Relaxed);
    }

    /// Whether a queued event passes the toggle and the filter of the present policy.
    fn passes(&self, event: Record<'_>) -> bool {
        let mut bytes = Vec::with_capacity(event.len());
        event.append_to(&mut bytes);
        let name = decode_event(&bytes, &DecodeLimits::default()).and_then(|it| it.parts.dotted());
        // What we encoded we can decode; were it not so, the manager is the one to count it.
        name.map_or(true, |name| {
            self.gate
                .callsite(&name)
                .map_or(true, |site| self.gate.is_enabled(&site))
        })
    }

    /// Puts the pump to sleep: returns true once `waker` is set to be woken by the next event, and
    /// false if there is an event already.
    pub fn sleep_until_event(&self, waker: &Waker) -> bool {
        self.pump.register(waker);
        match self.queue.try_sleep() {
            Sleep::Granted => true,
            Sleep::Records => false,
            Sleep::Stalled => {
                // The thread that is about to finish the event may need this very core.
                std::thread::yield_now();
                false
            }
        }
    }

    /// Lets events gather: returns true once `waker` is set to be woken by the event that makes a
    /// batch, by `close` and by whoever waits for the queue to be empty; false if there is no time for
    /// that. Nobody is woken for a single event.
    pub fn sleep_until_batch(&self, waker: &Waker) -> bool {
        self.pump.register(waker);
        !self.queue.has_batch() && !self.is_closed() && self.awaited.load(Ordering::SeqCst) == 0
    }

    /// Wakes the pump whether or not there is an event, as when a stream is replaced.
    pub fn wake_pump(&self) {
        self.pump.wake();
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

    /// Waits until the queue was empty for a moment, and says whether it was in time.
    pub fn wait_drained(&self, timeout: Duration) -> bool {
        self.awaited.fetch_add(1, Ordering::SeqCst);
        self.wake_pump();
        let drained = self.wait_until_empty(timeout);
        self.awaited.fetch_sub(1, Ordering::SeqCst);
        drained
    }

    fn wait_until_empty(&self, timeout: Duration) -> bool {
        // No deadline if it lies beyond what the clock can tell.
        let deadline = Instant::now().checked_add(timeout);
        let mut waiters = self.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        while !self.queue.is_empty() {
            let left = deadline.map_or(timeout, |deadline| {
                deadline.saturating_duration_since(Instant::now())
            });
            if left.is_zero() {
                return false;
            }
            *waiters += 1;
            waiters = self
                .drained
                .wait_timeout(waiters, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            *waiters -= 1;
        }
        true
    }

    /// Drops everything queued under `reason` and returns how many events that were.
    pub fn discard_queued(&self, reason: Reason) -> u64 {
        let count = self.queue.drain_all(|event| {
            self.gate.count_left(event.tag());
            self.gate.count_dropped_late(reason, 1);
        });
        if count > 0 {
            self.wake_waiters();
        }
        count
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

    /// Lets those in `wait_drained` look at the queue again.
    fn wake_waiters(&self) {
        // Whoever saw a full queue holds the lock until it waits, so the wake comes after.
        if *self.waiters.lock().unwrap_or_else(PoisonError::into_inner) > 0 {
            self.drained.notify_all();
        }
    }

    /// Queues an encoded event.
    #[inline]
    fn push(&self, site: &Callsite, event: &[u8]) -> Outcome {
        match self.queue.try_push(event, site.tag()) {
            Ok(pushed) => self.pushed(pushed),
            Err(refused) => self.push_refused(site, event, refused),
        }
    }

    /// Wakes the pump if that is on us.
    #[inline]
    fn pushed(&self, pushed: Pushed) -> Outcome {
        if pushed.wake {
            self.pump.wake();
        }
        Outcome::Accepted
    }

    /// Counts an event that was refused, or makes room for it where the configuration says so.
    #[cold]
    fn push_refused(&self, site: &Callsite, event: &[u8], mut refused: Refused) -> Outcome {
        let mut attempts = 0;
        while refused == Refused::Full
            && self.overflow == Overflow::DropOldest
            && self.queue.can_hold(event.len())
            && attempts < EVICT_ATTEMPTS
        {
            let evicted = self.queue.take_oldest(|oldest| {
                self.gate.count_left(oldest.tag());
                self.gate.count_dropped_late(Reason::EvictedOldest, 1);
            });
            if !evicted {
                // Somebody made room, or is about to publish what he claimed.
                attempts += 1;
                std::thread::yield_now();
            }
            match self.queue.try_push(event, site.tag()) {
                Ok(pushed) => return self.pushed(pushed),
                Err(still) => refused = still,
            }
        }
        self.gate.count_dropped(
            site,
            match refused {
                Refused::Full => Reason::QueueFull,
                Refused::Closed => Reason::NotRunning,
            },
        )
    }
}
