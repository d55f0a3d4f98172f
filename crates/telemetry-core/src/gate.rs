//! The front that every backend shares: may this event pass, and how is it counted if not?
//!
//! It joins callsites, policy and ledger. It never sees an event's contents, and it waits only in
//! write-through mode (`settle.rs`), once the outcome is counted.

mod limited;
mod ruled;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use atomic_waker::AtomicWaker;
use rustc_hash::FxHashMap;

use crate::callsite::{Callsite, CallsiteTable, DEFAULT_MAX_CALLSITES, Ended};
use crate::control::{Control, ControlError, PolicySpec};
use crate::correlation::{SpanContext, correlation_draw};
use crate::ledger::{NameCount, Note, Reading, Reason, WorkerLedger, WorkerSnapshot};
use crate::name::NameError;
use crate::policy::{Limiters, Policy, Threshold, Verdict, next_draw};
use crate::queue::{Queue, Resting};
use crate::region::{Layout, Part, Region};
use crate::settle::Settle;
use crate::time::{Clock, SystemClock};
use ruled::Ruled;

/// How often a reading of the ledger is repeated to find a moment with no event under way.
const READ_ATTEMPTS: usize = 8;

/// What became of one emit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It was taken over by the backend.
    Accepted,
    /// Telemetry is toggled off or absent: nothing was emitted and nothing counted.
    Off,
    /// It was dropped and counted.
    Dropped(Reason),
}

/// The decision about a span's events, made once when it starts.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct SpanDecision {
    /// About the start event.
    pub start: Drawn,
    /// About the stop event.
    pub stop: Drawn,
    /// About the exception event.
    pub exception: Drawn,
}

/// What sampling decided about one event before it was emitted: the draw of its span, against the
/// rate that the event had when the span started.
#[derive(Debug, Clone, Copy)]
pub struct Drawn {
    /// The threshold at the start of the span; of a name that was filtered then it tells no rate.
    threshold: Threshold,
    /// The draw, one for the whole span.
    draw: u64,
}

/// Callsites, policy and ledger of one worker incarnation.
#[derive(Debug)]
pub struct Gate {
    /// Names with their thresholds.
    sites: CallsiteTable,
    /// Counters that are not kept by name.
    ledger: WorkerLedger,
    /// The policy as it was last set, and what was refused since.
    control: Mutex<ControlState>,
    /// Who waits for outcomes to be written.
    settle: Settle,
    /// What says how many events a second pass.
    limiters: Limiters,
    /// Tells when rules end, and how many events a second there are.
    clock: Arc<dyn Clock>,
    /// Who turns the clock of rules.
    timer: AtomicWaker,
}

/// Where control stands; touched only when a control arrives or a report is made.
#[derive(Debug, Clone, Default)]
struct ControlState {
    /// The policy in force.
    spec: PolicySpec,
    /// Revision of the last policy that was refused; 0 if none.
    rejected_revision: u64,
    /// Why the last control was refused; empty if it was not.
    error: String,
    /// The rules in force.
    ruled: Ruled,
}

/// Where control stands.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ControlStatus {
    /// The policy in force.
    pub spec: PolicySpec,
    /// Revision of the last policy that was refused; 0 if none.
    pub rejected_revision: u64,
    /// Why the last control was refused; empty if it was not.
    pub error: String,
    /// Whether nothing is emitted, because it was toggled off or a rule says so.
    pub is_off: bool,
}

impl Gate {
    /// A gate with an initial policy and a bound on the names it keeps.
    ///
    /// # Errors
    ///
    /// [`ControlError`] if the policy has an invalid rate or pattern.
    pub fn new(spec: PolicySpec, max_callsites: usize) -> Result<Self, ControlError> {
        let region = Region::heap(Layout::new(0, max_callsites));
        let ledger = WorkerLedger::in_part(region.counters);
        let clock = Arc::new(SystemClock::new());
        Self::in_parts(
            spec,
            max_callsites,
            ledger,
            region.sites,
            region.names,
            clock,
        )
    }

    /// [`new`](Self::new) with its counters in parts of a region.
    pub(crate) fn in_parts(
        spec: PolicySpec,
        max_callsites: usize,
        ledger: WorkerLedger,
        sites: Part<[AtomicU64]>,
        names: Part<[AtomicU64]>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ControlError> {
        let policy = Policy::compile(&spec)?;
        Ok(Self::with(
            spec,
            ledger,
            CallsiteTable::in_parts(max_callsites, policy, sites, names),
            clock,
        ))
    }

    fn with(
        spec: PolicySpec,
        ledger: WorkerLedger,
        sites: CallsiteTable,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            sites,
            ledger,
            control: Mutex::new(ControlState {
                spec,
                ..ControlState::default()
            }),
            settle: Settle::default(),
            limiters: Limiters::default(),
            clock,
            timer: AtomicWaker::new(),
        }
    }

    /// The callsite of a wire name. A name that breaks the rules is counted as `invalid_name`,
    /// unless telemetry is off.
    ///
    /// # Errors
    ///
    /// [`NameError`] if the name breaks the rules for names.
    pub fn callsite(&self, name: &str) -> Result<Arc<Callsite>, NameError> {
        self.sites.resolve(name).inspect_err(|_| {
            if !self.sites.policy().is_off() {
                self.ledger.together(|| {
                    self.sites.count_nameless();
                    self.ledger.drop_event(Reason::InvalidName);
                });
                self.settle.after_outcome();
            }
        })
    }

    /// Decides about one event and counts it if it does not pass. With a correlation id the
    /// decision is a function of it, else of the span's trace, so that all who share it agree.
    #[inline]
    pub fn admit(
        &self,
        site: &Callsite,
        correlation_id: &str,
        span: Option<&SpanContext>,
    ) -> Result<Threshold, Outcome> {
        let threshold = self.sites.threshold(site);
        let verdict = threshold.decide(|| draw(correlation_id, span));
        if verdict == Verdict::Limited {
            if self.is_let_pass(site) {
                return Ok(Threshold::KEEP);
            }
            return limited::passed(self.admit_limited(site, correlation_id, span));
        }
        self.count(site, threshold, verdict)
    }

    /// Decides about all events of a span with one draw, as [`admit`](Self::admit) does; `None` while its
    /// start is toggled off, and then the span as a whole emits nothing.
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
        let threshold = self.sites.threshold(start);
        if threshold == Threshold::OFF {
            return None;
        }
        if threshold == Threshold::LIMITED {
            return self.decide_limited_span(start, stop, exception, correlation_id, span);
        }
        let draw = draw(correlation_id, span);
        let drawn = |site| Drawn {
            threshold: self.sites.threshold(site),
            draw,
        };
        Some(SpanDecision {
            start: drawn(start),
            stop: drawn(stop),
            exception: drawn(exception),
        })
    }

    /// Lets an event of a span pass according to the span's decision, whatever the rate is by now.
    /// Toggle and filter of the moment still apply.
    ///
    /// An event that was toggled off or filtered when the span started has no rate from then; the
    /// draw of the span is held against the rate of the moment.
    #[inline]
    pub fn admit_decided(&self, site: &Callsite, drawn: Drawn) -> Result<Threshold, Outcome> {
        let now = self.sites.threshold(site);
        let threshold = if now.is_share() && drawn.threshold.is_share() {
            drawn.threshold
        } else {
            now
        };
        let verdict = threshold.decide(|| drawn.draw);
        if verdict == Verdict::Limited {
            return limited::passed(self.admit_limited_end(site, drawn));
        }
        self.count(site, threshold, verdict)
    }

    /// Whether a name would pass the toggle and the filter right now; draws nothing, counts nothing.
    #[must_use]
    pub fn is_enabled(&self, site: &Callsite) -> bool {
        self.sites.threshold(site).is_share()
    }

    /// Counts an event that passed the gate and that a backend which is no stream took: it is
    /// delivered there, has no sequence and is in no count by name, which are those of the stream.
    pub fn count_delivered(&self) -> Outcome {
        self.ledger.hand_over();
        Outcome::Accepted
    }

    /// Counts an event that leaves the queue for the hands of a backend which is no stream.
    pub(crate) fn pick_up(&self) {
        self.ledger.pick_up();
    }

    /// Counts what became of an event in a backend's hands, unless that was counted already.
    pub(crate) fn put_down(&self, end: Result<(), Reason>) {
        self.ledger.settle(end);
    }

    /// Counts as dropped what is in the hands of backends, and returns how many events that were.
    pub(crate) fn drop_in_hands(&self, reason: Reason) -> u64 {
        self.ledger.drop_in_hands(reason)
    }

    /// Counts an event that passed the gate and was dropped behind it.
    #[cold]
    pub fn count_dropped(&self, site: &Callsite, reason: Reason) -> Outcome {
        self.ledger.together(|| {
            self.sites.count_dropped(site, reason);
            self.ledger.drop_event(reason);
        });
        self.settle.after_outcome();
        Outcome::Dropped(reason)
    }

    /// Counts by name an event that left the queue; the tag is that of its callsite.
    pub(crate) fn count_left(&self, tag: u32) {
        self.sites.count(tag, Ended::Accepted);
    }

    /// Counts events that had been accepted and were dropped from the queue.
    pub fn count_dropped_late(&self, reason: Reason, count: u64) {
        self.ledger.drop_accepted(reason, count);
    }

    /// Counts a note.
    pub fn note(&self, note: Note) {
        self.ledger.note(note);
    }

    /// Events handed to a stream so far; also the sequence of the last one.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.ledger.sent()
    }

    /// Counts an event that was handed to a stream for the first time, with its sequence.
    pub(crate) fn count_sent(&self, sequence: u64) {
        self.ledger.count_sent(sequence);
    }

    /// Counts events that were sent again.
    pub(crate) fn count_repeated(&self, events: u64) {
        self.ledger.count_repeated(events);
    }

    /// Counts events that were sent and let go of before they were acknowledged.
    pub(crate) fn count_forgotten(&self, events: u64) {
        self.ledger.count_forgotten(events);
    }

    /// Takes in that the events up to this sequence are acknowledged.
    pub(crate) fn count_acknowledged(&self, sequence: u64) {
        self.ledger.count_acknowledged(sequence);
    }

    /// Sequence of the last event that was acknowledged.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.ledger.acknowledged()
    }

    /// Keeps for the next report that a control was refused before it could be applied, as one with
    /// too many patterns is. `revision` is that of a refused policy.
    pub fn refuse(&self, revision: Option<u64>, error: &impl fmt::Display) {
        let mut state = self.lock();
        state.rejected_revision = revision.unwrap_or(state.rejected_revision);
        state.error = error.to_string();
    }

    /// Where control stands.
    #[must_use]
    pub fn control_status(&self) -> ControlStatus {
        let state = self.lock().clone();
        ControlStatus {
            spec: state.spec,
            rejected_revision: state.rejected_revision,
            error: state.error,
            is_off: self.sites.policy().is_off(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, ControlState> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who waits for outcomes to be written.
    #[inline]
    pub(crate) fn settle(&self) -> &Settle {
        &self.settle
    }

    /// Has every emit wait for its outcome from now on. What is read of the ledger afterwards holds
    /// every emit that will not wait.
    pub(crate) fn begin_write_through(&self) {
        self.settle.begin_write_through();
        // An emit that found the mode off has counted before; these two let us see it.
        fence(Ordering::SeqCst);
        let _synchronized = self.ledger.is_quiet();
    }

    /// Counts by event name, sorted by name; of those in `queue` too.
    pub(crate) fn names(&self, queue: &Queue) -> Vec<NameCount> {
        // Nothing leaves the queue while it is counted.
        let resting = queue.at_rest();
        self.sites.names(&waiting_in(&resting))
    }

    /// Reads the ledger together with its queue, and again a few times if events under way make the
    /// numbers disagree. The second is whether the reading is settled: it balances, or it stood still
    /// around a moment at which no event was under way. A settled reading that breaks a law shows a
    /// defect, another one may only show events under way.
    pub(crate) fn snapshot(&self, queue: &Queue) -> (WorkerSnapshot, bool) {
        let mut snapshot = self.read(queue);
        for _ in 0..READ_ATTEMPTS {
            if snapshot.check().is_ok() {
                break;
            }
            std::thread::yield_now();
            let was_quiet = self.ledger.is_quiet();
            let next = self.read(queue);
            if was_quiet && next == snapshot {
                return (next, true);
            }
            snapshot = next;
        }
        let balanced = snapshot.check().is_ok();
        (snapshot, balanced)
    }

    /// One reading, counter by counter, while nothing leaves the queue.
    fn read(&self, queue: &Queue) -> WorkerSnapshot {
        let resting = queue.at_rest();
        let handed_over = self.ledger.handed_over();
        let sent = self.ledger.sent();
        let taken_over = self.ledger.taken_over();
        let in_hands = self.ledger.in_hands();
        let ended_in_sites = self.sites.totals();
        let (dropped, notes) = self.ledger.counts();
        let reading = Reading {
            pushed: resting.pushed(),
            waiting: resting.queued(),
            retained: resting.retained(),
            handed_over,
            taken_over,
            in_hands,
            dropped_late: self.ledger.dropped_late(),
            sent,
            acknowledged: self.ledger.acknowledged(),
            forgotten: self.ledger.forgotten(),
            repeated: self.ledger.repeated(),
            ended_in_sites,
            dropped,
            notes,
        };
        reading.into_snapshot()
    }

    /// Counts a verdict that ends an emit, or lets it go on with its threshold.
    #[inline]
    fn count(
        &self,
        site: &Callsite,
        threshold: Threshold,
        verdict: Verdict,
    ) -> Result<Threshold, Outcome> {
        match verdict {
            Verdict::Keep => Ok(threshold),
            // That of a limited name was answered before.
            Verdict::Off | Verdict::Limited => Err(Outcome::Off),
            Verdict::Filtered => Err(self.ended(site, Ended::Filtered, Reason::Filtered)),
            Verdict::SampledOut => Err(self.ended(site, Ended::SampledOut, Reason::SampledOut)),
        }
    }

    /// Counts by name an emit that did not pass. Apart, so that those that do are not in its way.
    #[inline(never)]
    fn ended(&self, site: &Callsite, ended: Ended, reason: Reason) -> Outcome {
        self.sites.count_in_order(site.tag(), ended);
        self.settle.after_outcome();
        Outcome::Dropped(reason)
    }
}

impl Default for Gate {
    fn default() -> Self {
        let region = Region::heap(Layout::new(0, DEFAULT_MAX_CALLSITES));
        let (counts, names) = (region.sites, region.names);
        let policy = Policy::default();
        Self::with(
            PolicySpec::default(),
            WorkerLedger::in_part(region.counters),
            CallsiteTable::in_parts(DEFAULT_MAX_CALLSITES, policy, counts, names),
            Arc::new(SystemClock::new()),
        )
    }
}

/// How many events of each tag wait in a queue.
fn waiting_in(resting: &Resting<'_>) -> FxHashMap<u32, u64> {
    let mut waiting = FxHashMap::default();
    for tag in resting.tags() {
        *waiting.entry(tag).or_default() += 1;
    }
    waiting
}

/// The draw that decides about an event.
fn draw(correlation_id: &str, span: Option<&SpanContext>) -> u64 {
    match span {
        _ if !correlation_id.is_empty() => correlation_draw(correlation_id),
        Some(span) => span.trace_id.draw(),
        None => next_draw(),
    }
}
