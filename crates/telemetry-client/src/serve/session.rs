//! One stream of a worker: what its manager said, and how far it got.
//!
//! Plain state that the pump reads and the control reader writes; whose turn it is to drain is the
//! business of `sessions`.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::Waker;

use atomic_waker::AtomicWaker;
use telemetry_core::wire::{Greeting, Position};
use telemetry_proto::WorkerReport;

/// The place of a stream among those of its worker.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// Its number in the order of streams of the recorder.
    pub(super) number: u64,
    /// The stream before it, if its manager acknowledges: what that one has handled is not sent again.
    pub(super) before: Weak<Session>,
    /// Sequence of the last event that was sent before it.
    pub(super) sent_before: u64,
}

/// One stream.
#[derive(Debug, Default)]
pub(crate) struct Session {
    /// Whether the request announced a hello.
    pub(super) expects_hello: bool,
    /// Its place; none as long as it only asks for the stream that another manager has.
    pub(super) place: OnceLock<Place>,
    /// Who waits for the end of this one.
    pub(super) after: AtomicWaker,
    /// It is over, as far as anything is to be heard of it.
    pub(super) is_over: AtomicBool,
    /// Sequence of the last event it was given; 0 before the first one. Written while it drains.
    pub(super) position: AtomicU64,
    /// How many events it was given. Written while it drains.
    pub(super) given: AtomicU64,
    /// The ledger at the moment it took over from a stream whose manager gets reports.
    pub(super) first_report: Mutex<Option<WorkerReport>>,
    /// The ledger at the moment another one took over: the same reading.
    pub(super) last_report: Mutex<Option<WorkerReport>>,
    /// Wakes the pump for anything that is not an event.
    pub(super) waker: AtomicWaker,
    /// A newer stream has begun.
    pub(super) replaced: AtomicBool,
    /// The manager said hello.
    pub(super) greeted: AtomicBool,
    /// What it calls itself.
    pub(super) manager: OnceLock<String>,
    /// Where it stands with this worker, as it says.
    pub(super) stands: OnceLock<Position>,
    /// The revision of the wire that it speaks.
    pub(super) revision: AtomicU32,
    /// Whether it acknowledges what it has handled.
    pub(super) acknowledges: AtomicBool,
    /// The stream has gone on behind what it has handled.
    pub(super) resumed: AtomicBool,
    /// It was refused: nothing that it says counts.
    pub(super) refused: AtomicBool,
    /// It leaves, and waits for what was sent.
    pub(super) said_goodbye: AtomicBool,
    /// The manager said what it wants; events may go.
    pub(super) instructed: AtomicBool,
    /// The manager that said hello also said goodbye, by ending its side.
    pub(super) dismissed: AtomicBool,
    /// The manager's side is over; nothing more will be heard.
    pub(super) heard_all: AtomicBool,
    /// The manager that said hello is about to end the process.
    pub(super) draining: AtomicBool,
    /// Set when the manager's side can no longer be read: the gRPC status to end with.
    pub(super) broken: Mutex<Option<tonic::Status>>,
}

impl Session {
    /// Sets who is woken by anything that is not an event.
    pub(crate) fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    /// Sequence of the last event that was sent before it.
    pub(crate) fn sent_before(&self) -> u64 {
        self.place.get().map_or(0, |place| place.sent_before)
    }

    /// Whether it only asks for the stream that another manager has: it is given nothing, and what it says
    /// does not count, until its manager says hello.
    pub(crate) fn is_asking(&self) -> bool {
        self.place.get().is_none()
    }

    /// Whether its manager is known to acknowledge nothing: it said so, or it is a stock one, which gives
    /// orders and no greeting. Of one that has said nothing so far it is not known.
    pub(super) fn is_unacknowledged(&self) -> bool {
        if self.is_greeted() {
            return !self.acknowledges();
        }
        let has_ended = self.heard_all.load(Ordering::Acquire);
        self.is_instructed() && !self.expects_hello && !has_ended
    }

    /// Whether the stream before it may still acknowledge something. The waker is woken when not.
    pub(super) fn awaits_other(&self, waker: &Waker) -> bool {
        let before = self.place.get().and_then(|place| place.before.upgrade());
        let Some(before) = before else {
            return false;
        };
        before.after.register(waker);
        !before.is_over.load(Ordering::Acquire)
    }

    /// Whether a newer stream has begun.
    pub(crate) fn is_replaced(&self) -> bool {
        self.replaced.load(Ordering::Acquire)
    }

    /// The manager said hello.
    pub(crate) fn greet(&self, greeting: Greeting) {
        if let Some(position) = greeting.position {
            let _first_word_counts = self.stands.set(position);
        }
        let _first_word_counts = self.manager.set(greeting.manager_id);
        self.revision
            .store(greeting.protocol_revision, Ordering::Relaxed);
        self.acknowledges
            .store(greeting.acknowledges, Ordering::Relaxed);
        self.greeted.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// The revision of the wire that the manager speaks; 0 before its hello.
    pub(crate) fn revision(&self) -> u32 {
        self.revision.load(Ordering::Relaxed)
    }

    /// Whether the manager said hello.
    pub(crate) fn is_greeted(&self) -> bool {
        self.greeted.load(Ordering::Acquire)
    }

    /// Whether its manager said hello and is still there: nobody takes its stream without a hello.
    pub(super) fn is_held(&self) -> bool {
        let is_leaving = self.is_dismissed() || self.has_said_goodbye();
        let is_heard = !self.heard_all.load(Ordering::Acquire);
        self.is_greeted() && is_heard && !is_leaving && !self.is_refused()
    }

    /// Whether the stream has gone on behind what its manager, who acknowledges, has handled.
    pub(super) fn is_resumed(&self) -> bool {
        self.resumed.load(Ordering::Relaxed)
    }

    /// What the manager calls itself; nothing before its hello.
    pub(super) fn manager_name(&self) -> &str {
        self.manager.get().map_or("", String::as_str)
    }

    /// Whether the manager acknowledges what it has handled.
    pub(crate) fn acknowledges(&self) -> bool {
        self.acknowledges.load(Ordering::Relaxed)
    }

    /// The manager leaves, and waits for what was sent to acknowledge it.
    pub(crate) fn say_goodbye(&self) {
        if self.acknowledges() {
            self.said_goodbye.store(true, Ordering::Release);
            self.waker.wake();
        } else {
            self.dismiss();
        }
    }

    /// Whether the manager leaves and waits for what was sent.
    pub(crate) fn has_said_goodbye(&self) -> bool {
        self.said_goodbye.load(Ordering::Acquire)
    }

    /// The manager said what it wants, or that it will say nothing.
    pub(crate) fn instruct(&self) {
        self.instructed.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Whether the manager said what it wants.
    pub(crate) fn is_instructed(&self) -> bool {
        self.instructed.load(Ordering::Acquire)
    }

    /// The manager's side is over, in order or not: nothing is waited for any more.
    pub(crate) fn hear_all(&self) {
        self.heard_all.store(true, Ordering::Release);
        self.instruct();
    }

    /// Whether the manager said all that events are held back for.
    pub(crate) fn may_send(&self) -> bool {
        self.is_instructed()
            && (!self.expects_hello || self.is_greeted() || self.heard_all.load(Ordering::Acquire))
    }

    /// Whether the request announced a hello.
    pub(crate) fn expects_hello(&self) -> bool {
        self.expects_hello
    }

    /// Sequence of the last event it was given; 0 before the first one.
    pub(crate) fn position(&self) -> u64 {
        self.position.load(Ordering::Relaxed)
    }

    /// The reading at which it took over from another stream.
    pub(crate) fn take_first_report(&self) -> Option<WorkerReport> {
        lock(&self.first_report).take()
    }

    /// Keeps the reading at which it took over from another stream.
    pub(super) fn set_first_report(&self, report: Option<WorkerReport>) {
        *lock(&self.first_report) = report;
    }

    /// Keeps the reading at which another stream took over.
    pub(super) fn set_last_report(&self, report: Option<WorkerReport>) {
        *lock(&self.last_report) = report;
    }

    /// The reading at which another stream took over.
    pub(crate) fn take_last_report(&self) -> Option<WorkerReport> {
        lock(&self.last_report).take()
    }

    /// The manager is about to end the process. One that said no hello does not know what it asks.
    pub(crate) fn drain(&self) {
        if self.is_greeted() {
            self.draining.store(true, Ordering::Release);
            self.instruct();
        }
    }

    /// Whether the manager is about to end the process.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// The manager ended its side in order. One that said hello means that it wants no more events;
    /// a stock one may go on to read.
    pub(crate) fn dismiss(&self) {
        if self.is_greeted() {
            self.dismissed.store(true, Ordering::Release);
            self.waker.wake();
        }
    }

    /// The stream is about to be cut from outside: it ends in order before, and what is queued stays.
    pub(crate) fn leave(&self) {
        self.dismissed.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Whether the manager wants no more events, or will not be there for them.
    pub(crate) fn is_dismissed(&self) -> bool {
        self.dismissed.load(Ordering::Acquire)
    }

    /// The manager may not have this worker: the stream ends like this, and nothing that it says counts.
    pub(super) fn refuse(&self, status: tonic::Status) {
        self.refused.store(true, Ordering::Release);
        self.break_off(status);
    }

    /// Whether nothing that the manager says counts.
    pub(super) fn is_refused(&self) -> bool {
        self.refused.load(Ordering::Acquire)
    }

    /// The manager's side cannot be read any further.
    pub(crate) fn break_off(&self, status: tonic::Status) {
        *lock(&self.broken) = Some(status);
        self.waker.wake();
    }

    /// The status to end with, if the manager's side cannot be read.
    pub(crate) fn take_broken(&self) -> Option<tonic::Status> {
        lock(&self.broken).take()
    }
}

/// Locks; what a panic left behind is still whole.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
