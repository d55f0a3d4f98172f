//! The streams of one worker and who of them may drain its queue.
//!
//! The newest stream is the current one; only it takes events, and it stops the moment a newer one
//! takes over. From a manager that said hello only one takes over that says hello as well: whoever opens a
//! stream and says nothing takes nothing away. This room knows no HTTP: the pump and the control reader bring that.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Waker;

use telemetry_core::{
    Mistake,
    emit::{Budget, IsWritten, Keep, Recorder},
    is_planted,
    ledger::Reason,
};

use super::config::StreamConfig;
use super::managers::Managers;
use super::recipients::Recipients;
use super::session::{Place, Session, lock};

/// All streams of one worker.
#[derive(Debug)]
pub(crate) struct Sessions {
    /// Where events come from and controls go.
    recorder: Arc<Recorder>,
    /// Settings that every stream shares.
    config: StreamConfig,
    /// The newest stream. Held while it drains, so that a newer one begins between two drains.
    current: Mutex<Option<Arc<Session>>>,
    /// What the streams before it were given.
    managers: Mutex<Managers>,
    /// Whom each event was sent to last.
    recipients: Mutex<Recipients>,
    /// The highest epoch of a manager so far.
    epoch: AtomicU64,
    /// An event that a stream was given and did not get rid of; the next drain gives it out again.
    given_back: Mutex<Option<GivenBack>>,
    /// Streams whose response is still alive, replaced ones included.
    open: AtomicUsize,
    /// Set once: streams end when the queue is empty.
    ending: AtomicBool,
    /// Set once: streams end at once.
    abandoned: AtomicBool,
    /// Set once: somebody turns the clock of rules.
    ends_rules: AtomicBool,
}

/// An event that was given out in vain.
#[derive(Debug)]
struct GivenBack {
    /// Its number.
    sequence: u64,
    /// The message, with its gRPC header.
    framed: Vec<u8>,
}

/// Where a stream goes on whose manager acknowledges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Resumed {
    /// Sequence of the oldest event that can be sent again.
    pub(super) retained_from: u64,
    /// Events before it that were sent to this manager last and that it has not handled.
    pub(super) missed: u64,
}

impl Sessions {
    /// No stream yet.
    pub(crate) fn new(recorder: Arc<Recorder>, config: StreamConfig) -> Self {
        Self {
            recorder,
            config,
            current: Mutex::new(None),
            managers: Mutex::default(),
            recipients: Mutex::default(),
            epoch: AtomicU64::new(0),
            given_back: Mutex::default(),
            open: AtomicUsize::new(0),
            ending: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
            ends_rules: AtomicBool::new(false),
        }
    }

    /// Where events come from and controls go.
    pub(crate) fn recorder(&self) -> &Arc<Recorder> {
        &self.recorder
    }

    /// Settings that every stream shares.
    pub(crate) fn config(&self) -> &StreamConfig {
        &self.config
    }

    /// Whether the caller is the first one to be asked to turn the clock of rules.
    pub(super) fn begin_to_end_rules(&self) -> bool {
        !self.ends_rules.swap(true, Ordering::Relaxed)
    }

    /// Begins a new stream. It is the current one from now on, unless that is the stream of a manager that
    /// said hello: then it asks for it until its own manager says hello, and all goes on meanwhile.
    pub(crate) fn begin(&self, expects_hello: bool) -> Arc<Session> {
        let session = Arc::new(Session {
            expects_hello,
            ..Session::default()
        });
        self.open.fetch_add(1, Ordering::Relaxed);
        let current = self.lock();
        if current.as_ref().is_none_or(|current| !current.is_held()) {
            self.install(current, &session);
        }
        session
    }

    /// Makes a stream that asks for it the current one: its manager said hello.
    pub(super) fn take_over(&self, session: &Arc<Session>) {
        let current = self.lock();
        if session.is_asking() {
            self.install(current, session);
        }
    }

    /// Makes a stream that asks for it the current one if nobody holds that any more. Whether it is.
    pub(super) fn take_over_from_nobody(&self, session: &Arc<Session>) -> bool {
        let current = self.lock();
        if session.is_asking() && current.as_ref().is_none_or(|it| !it.is_held()) {
            self.install(current, session);
        }
        !session.is_asking()
    }

    /// Makes a stream the current one. When it returns, the one before drains no more.
    ///
    /// One reading of the ledger is the last report of the one before and the first of the new one:
    /// what either manager is told of, the other one is not. The new one does not wait for that.
    fn install(&self, mut current: MutexGuard<'_, Option<Arc<Session>>>, session: &Arc<Session>) {
        let before = current.take();
        let report = before
            .as_ref()
            .filter(|before| before.is_greeted())
            .map(|_| self.recorder.report());
        if let Some(before) = &before {
            before.set_last_report(report.clone());
            self.note_given(before);
        }
        session.set_first_report(report);
        let place = Place {
            number: self.recorder.begin_stream(),
            sent_before: self.sent_and_kept(),
            before: before
                .as_ref()
                .filter(|before| before.acknowledges())
                .map(Arc::downgrade)
                .unwrap_or_default(),
        };
        // Only who asks is installed, and under the lock.
        let _just_set = session.place.set(place);
        *current = Some(Arc::clone(session));
        drop(current);
        if let Some(before) = before {
            before.replaced.store(true, Ordering::Release);
            before.waker.wake();
        }
    }

    /// Forgets a stream that is over. `is_written` says whether the bytes that it handed over are in
    /// its socket.
    pub(crate) fn finish(&self, session: &Arc<Session>, is_written: IsWritten) {
        let mut current = self.lock();
        if current.as_ref().is_some_and(|it| Arc::ptr_eq(it, session)) {
            *current = None;
            self.note_given(session);
            if is_planted(Mistake::EndReleases) {
                self.recorder.acknowledge(session.position());
            }
            let number = session.place.get().map_or(0, |place| place.number);
            self.recorder.end_stream(number, is_written);
        }
        self.open.fetch_sub(1, Ordering::Relaxed);
        session.is_over.store(true, Ordering::Release);
        session.after.wake();
    }

    /// Keeps what a stream that drains no more was given.
    fn note_given(&self, session: &Session) {
        if let Some(manager) = session.manager.get() {
            lock(&self.managers).gave(manager, session.given.load(Ordering::Relaxed));
        }
    }

    /// How many events the earlier streams of this one's manager were given.
    pub(crate) fn given_before(&self, session: &Session) -> u64 {
        let manager = session.manager.get();
        manager.map_or(0, |manager| lock(&self.managers).given(manager))
    }

    /// Has every emit wait until its outcome is written on the current stream.
    pub(crate) fn begin_write_through(&self, session: &Arc<Session>) {
        let current = self.lock();
        if current.as_ref().is_some_and(|it| Arc::ptr_eq(it, session)) {
            self.recorder.begin_write_through();
        }
    }

    /// Drains events into `out` if the stream is the current one; `None` if it is not.
    pub(crate) fn drain(
        &self,
        session: &Arc<Session>,
        out: &mut Vec<u8>,
        budget: Budget,
    ) -> Option<usize> {
        let current = self.lock();
        let is_current = current.as_ref().is_some_and(|it| Arc::ptr_eq(it, session));
        is_current.then(|| {
            if let Some(event) = lock(&self.given_back).take() {
                out.extend_from_slice(&event.framed);
                session
                    .position
                    .fetch_max(event.sequence, Ordering::Relaxed);
                session.given.fetch_add(1, Ordering::Relaxed);
                lock(&self.recipients).sent(session.manager_name(), event.sequence, event.sequence);
                return 1;
            }
            let keep = if session.acknowledges() {
                Keep::UntilAcknowledged
            } else {
                Keep::Nothing
            };
            let handed = self.recorder.frame_out(out, budget, keep);
            if handed.events > 0 {
                let manager = session.manager_name();
                let (first, last) = (handed.first_sequence, handed.last_sequence);
                lock(&self.recipients).sent(manager, first, last);
                session
                    .position
                    .store(handed.last_sequence, Ordering::Relaxed);
                let events = (handed.events - handed.repeated) as u64;
                session.given.fetch_add(events, Ordering::Relaxed);
            }
            handed.events
        })
    }

    /// Begins to send on behalf of the current stream, whose manager acknowledges: behind what it has
    /// handled. `None` if the stream is not the current one.
    pub(super) fn resume(&self, session: &Arc<Session>) -> Option<Resumed> {
        let current = self.lock();
        current.as_ref().filter(|it| Arc::ptr_eq(it, session))?;
        let incarnation = &self.config.identity.incarnation_id;
        let stands = session.stands.get();
        let stands = stands.filter(|it| it.incarnation_id == *incarnation);
        let stands = stands.filter(|_| !is_planted(Mistake::DuplicatesAreNew));
        let handled = stands.map_or(0, |it| it.handled);
        if let Some(stands) = stands {
            self.recorder.acknowledge(stands.acknowledged);
            lock(&self.recipients).handled(session.manager_name(), stands.handled);
        }
        if session.position() > 0 {
            // It said so late. What is older cannot follow what was sent on this stream already.
            self.recorder.forget_retained();
        }
        let behind = match is_planted(Mistake::ResumesBehindSent) {
            true => self.recorder.gate().sent(),
            false => handled,
        };
        let _at = self.recorder.resume(behind);
        let released = self.recorder.released();
        let mut retained_from = released + 1;
        // What was given back is still in the queue, or comes again by itself.
        let mut given_back = lock(&self.given_back);
        if given_back.as_ref().is_some_and(|it| it.sequence > released) {
            *given_back = None;
        }
        if let Some(event) = given_back.as_ref() {
            retained_from = retained_from.min(event.sequence);
        }
        drop(given_back);
        session.resumed.store(true, Ordering::Relaxed);
        let missed =
            lock(&self.recipients).missed(session.manager_name(), handled, retained_from - 1);
        Some(Resumed {
            retained_from,
            missed: missed * u64::from(!is_planted(Mistake::MissesNothing)),
        })
    }

    /// Begins to send on behalf of the current stream, whose manager acknowledges nothing.
    pub(super) fn begin_unacknowledged(&self, session: &Arc<Session>) {
        let current = self.lock();
        if current.as_ref().is_some_and(|it| Arc::ptr_eq(it, session)) {
            self.recorder.forget_retained();
        }
    }

    /// The manager of a stream acknowledges the events up to this sequence, perhaps while a newer one
    /// waits for that. Once that one has begun to send it is too late: it was told what comes.
    pub(super) fn acknowledge(&self, session: &Arc<Session>, sequence: u64) {
        let current = self.lock();
        let is_late = current
            .as_ref()
            .is_some_and(|it| !Arc::ptr_eq(it, session) && it.is_resumed());
        let sequence = sequence + u64::from(is_planted(Mistake::ReleasesOneMore));
        if session.is_resumed() && !is_late {
            lock(&self.recipients).handled(session.manager_name(), sequence);
            self.recorder.acknowledge(sequence);
            session.waker.wake();
        }
    }

    /// Whether a manager of this epoch may take over: it is not older than the last one. Those without
    /// an epoch always may.
    pub(super) fn admits(&self, epoch: u64) -> bool {
        epoch == 0 || self.epoch.fetch_max(epoch, Ordering::Relaxed) <= epoch
    }

    /// Waits for the next event on behalf of the current stream; false if there is one already.
    pub(crate) fn park(&self, session: &Arc<Session>, waker: &Waker) -> bool {
        let current = self.lock();
        let is_current = current.as_ref().is_some_and(|it| Arc::ptr_eq(it, session));
        is_current && !self.has_given_back() && self.recorder.sleep_until_event(waker)
    }

    /// Lets events gather on behalf of the current stream; false if there is no time for that.
    pub(crate) fn gather(&self, session: &Arc<Session>, waker: &Waker) -> bool {
        let current = self.lock();
        let is_current = current.as_ref().is_some_and(|it| Arc::ptr_eq(it, session));
        is_current && !self.has_given_back() && self.recorder.sleep_until_batch(waker)
    }

    /// Takes back the last event that a stream was given, which is not on its way: the next drain gives
    /// it out again, on whatever stream that is.
    pub(crate) fn give_back(&self, session: &Session, framed: Vec<u8>) {
        let sequence = session.position();
        *lock(&self.given_back) = Some(GivenBack { sequence, framed });
        self.wake();
    }

    /// Whether an event waits that was given back.
    pub(crate) fn has_given_back(&self) -> bool {
        lock(&self.given_back).is_some()
    }

    /// Sequence of the last event that was sent and not given back.
    fn sent_and_kept(&self) -> u64 {
        let sent = self.recorder.gate().sent();
        let given_back = lock(&self.given_back);
        let is_last = given_back
            .as_ref()
            .is_some_and(|event| event.sequence == sent);
        sent - u64::from(is_last)
    }

    /// Has what was queued before the manager said what it wants pass its policy too.
    pub(crate) fn recheck_queued(&self, session: &Arc<Session>) {
        let current = self.lock();
        if current.as_ref().is_some_and(|it| Arc::ptr_eq(it, session)) {
            self.recorder.recheck_queued();
        }
    }

    /// Streams that are open, replaced ones that still say goodbye included.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Asks streams to end once the queue is empty. New ones get what is queued and end too.
    pub(crate) fn end(&self) {
        self.ending.store(true, Ordering::Release);
        self.wake();
    }

    /// The deadline passed: streams end now, with their last report and trailers. Of a recorder that
    /// is closed nobody will ask for the rest of the queue, so it is dropped and counted.
    pub(crate) fn give_up_queued(&self) {
        self.abandoned.store(true, Ordering::Release);
        if self.recorder.is_closed() {
            let _current = self.lock();
            self.recorder.discard_queued(Reason::ShutdownDeadline);
        }
        self.end();
    }

    /// Whether streams should end once the queue is empty.
    pub(crate) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Acquire) || self.recorder.is_closed()
    }

    /// Whether streams should end now.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }

    /// Wakes the current stream's pump.
    fn wake(&self) {
        if let Some(session) = self.lock().as_ref() {
            session.waker.wake();
        }
    }

    /// The current stream.
    fn lock(&self) -> MutexGuard<'_, Option<Arc<Session>>> {
        lock(&self.current)
    }
}
