//! How a thread waits until what it counted has left the process, and how it is told.
//!
//! Whoever wants to know takes a *ticket* after its outcome was counted and wakes the pump. The pump
//! reads the highest ticket, sends what is queued and counted by then, and answers once the bytes are
//! in the socket. A stream that ends answers nobody; those who wait for it are told at once.
//!
//! In *write-through* mode, at the end of a process, every emit does so before it returns. The wait is
//! short, and after one that was in vain nobody waits until the pump is seen to answer in time again:
//! a manager that does not read costs its worker one such wait.
//!
//! This room knows neither events nor sockets. Nothing here is touched by an emit outside of that mode,
//! but for one load where an event is dropped.

use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use atomic_waker::AtomicWaker;

/// Longest time that an emit in write-through mode waits for its outcome to be written.
pub const WRITE_THROUGH_WAIT: Duration = Duration::from_millis(20);

thread_local! {
    /// Whether this thread is the one that writes to the socket.
    static SENDS: Cell<bool> = const { Cell::new(false) };
}

/// Marks the calling thread as the one that sends: an emit on it never waits for itself.
pub fn mark_sending_thread() {
    SENDS.set(true);
}

/// Whether the calling thread is one that sends, and so no thread of the host program.
#[must_use]
pub fn is_sending_thread() -> bool {
    // Where the thread is being taken apart it does nothing more that matters.
    SENDS.try_with(Cell::get).unwrap_or_default()
}

/// Says whether everything that a stream was given is in its socket.
pub type IsWritten = Box<dyn Fn() -> bool + Send + Sync>;

/// Tickets and answers.
pub(crate) struct Settle {
    /// The highest ticket given out. Changed under the lock, read by the pump without.
    asked: AtomicU64,
    /// Whether every emit waits for its outcome to be written.
    through: AtomicBool,
    /// Whether the manager of the last stream is known to acknowledge nothing.
    unacknowledged: AtomicBool,
    /// How to wake the pump.
    pump: AtomicWaker,
    /// Those in a wait of their own accord: while there are any, no event waits for others.
    awaited: AtomicUsize,
    /// What is known of the stream.
    state: Mutex<State>,
    /// Signals every answer, every end of a stream and every drain.
    changed: Condvar,
}

/// What is known of the stream.
#[derive(Default)]
struct State {
    /// Streams that ever began; also the number of the last one.
    streams: u64,
    /// Whether the last one is still there.
    is_open: bool,
    /// Whether all that the last one was given is in its socket; of one that ended.
    is_written: Option<IsWritten>,
    /// The highest ticket answered.
    answered: u64,
    /// Events that were ever queued and are in the socket of the last stream by now, those included
    /// that went other ways.
    written: u64,
    /// The oldest ticket without an answer, and when it was taken.
    oldest: Option<(u64, Instant)>,
    /// Whether the last wait of an emit was in vain, and no answer came in time since.
    gave_up: bool,
    /// How many wait; a drain that nobody waits for makes no system call.
    waiters: usize,
}

/// A ticket and the stream that is to answer it; none if there is no stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticket {
    /// Its number.
    number: u64,
    /// Number of the stream.
    stream: Option<u64>,
}

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waited {
    /// Everything that was counted before the ticket is in the socket.
    Written,
    /// The time was over.
    TooLate,
    /// There is no stream that could answer.
    NoStream {
        /// Whether a stream ended with bytes that are not in its socket.
        left_unwritten: bool,
    },
}

impl State {
    /// Whether the last stream ended with bytes that are not in its socket.
    fn left_unwritten(&self) -> bool {
        self.is_written
            .as_ref()
            .is_some_and(|is_written| !is_written())
    }
}

impl fmt::Debug for Settle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settle")
            .field("asked", &self.asked)
            .field("through", &self.through)
            .finish_non_exhaustive()
    }
}

impl Default for Settle {
    fn default() -> Self {
        Self {
            asked: AtomicU64::new(0),
            through: AtomicBool::new(false),
            unacknowledged: AtomicBool::new(false),
            pump: AtomicWaker::new(),
            awaited: AtomicUsize::new(0),
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }
}

impl Settle {
    /// How to wake the pump.
    pub(crate) fn pump(&self) -> &AtomicWaker {
        &self.pump
    }

    /// Whether somebody waits of his own accord.
    pub(crate) fn is_awaited(&self) -> bool {
        self.awaited.load(Ordering::SeqCst) > 0
    }

    /// The highest ticket; what was counted before it was taken is visible to the caller.
    pub(crate) fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    /// Runs a wait during which no event waits for others.
    pub(crate) fn awaiting<T>(&self, wait: impl FnOnce() -> T) -> T {
        self.awaited.fetch_add(1, Ordering::SeqCst);
        let result = wait();
        self.awaited.fetch_sub(1, Ordering::SeqCst);
        result
    }

    /// Takes a ticket and wakes the pump.
    pub(crate) fn ask(&self) -> Ticket {
        let ticket = self.take_ticket(&mut self.lock());
        self.pump.wake();
        ticket
    }

    /// Everything that was counted before this ticket is in the socket.
    /// So are the first so many events that were ever queued.
    pub(crate) fn answer(&self, number: u64, written: u64) {
        let mut state = self.lock();
        state.written = state.written.max(written);
        state.answered = state.answered.max(number);
        if let Some((oldest, taken)) = state.oldest
            && oldest <= number
        {
            state.oldest = None;
            if taken.elapsed() <= WRITE_THROUGH_WAIT {
                state.gave_up = false;
            }
        }
        self.tell(&state);
    }

    /// A stream begins, in place of the one before; returns its number.
    pub(crate) fn begin_stream(&self) -> u64 {
        let mut state = self.lock();
        state.streams += 1;
        state.is_open = true;
        state.is_written = None;
        state.oldest = None;
        state.gave_up = false;
        self.through.store(false, Ordering::SeqCst);
        self.unacknowledged.store(false, Ordering::Relaxed);
        self.tell(&state);
        state.streams
    }

    /// A stream is over. Says whether it was the last one, and not replaced before.
    pub(crate) fn end_stream(&self, number: u64, is_written: IsWritten) -> bool {
        let mut state = self.lock();
        if state.streams != number || !state.is_open {
            return false;
        }
        state.is_open = false;
        state.is_written = Some(is_written);
        self.through.store(false, Ordering::SeqCst);
        self.tell(&state);
        true
    }

    /// Whether there is a stream.
    pub(crate) fn has_stream(&self) -> bool {
        self.lock().is_open
    }

    /// Whether a stream ended with bytes that are not in its socket, and none began since.
    pub(crate) fn left_unwritten(&self) -> bool {
        self.lock().left_unwritten()
    }

    /// Events that were ever queued and are in the socket by now.
    pub(crate) fn written(&self) -> u64 {
        self.lock().written
    }

    /// From now on every emit waits for its outcome, until the stream is over.
    pub(crate) fn begin_write_through(&self) {
        self.through.store(true, Ordering::SeqCst);
    }

    /// Whether every emit that returned since the mode began has waited for its outcome with success,
    /// or its outcome was written since.
    pub(crate) fn is_kept(&self) -> bool {
        self.through.load(Ordering::SeqCst) && !self.lock().gave_up
    }

    /// An emit has counted its outcome.
    #[inline]
    pub(crate) fn after_outcome(&self) {
        // The strongest order, which costs nothing where it is strong anyway: an emit that finds the
        // mode off was counted before the first report of the mode is made.
        if self.through.load(Ordering::SeqCst) {
            self.write_through();
        }
    }

    /// A push was told to wake the pump.
    #[cold]
    #[inline(never)]
    pub(crate) fn after_waking_push(&self) {
        if self.through.load(Ordering::SeqCst) {
            self.write_through();
        } else {
            self.pump.wake();
        }
    }

    /// Waits for the outcome of an emit, unless that was in vain a moment ago.
    #[cold]
    #[inline(never)]
    fn write_through(&self) {
        let (ticket, gave_up) = {
            let mut state = self.lock();
            (self.take_ticket(&mut state), state.gave_up)
        };
        self.pump.wake();
        if gave_up || SENDS.try_with(Cell::get).unwrap_or(false) {
            return;
        }
        let deadline = Instant::now() + WRITE_THROUGH_WAIT;
        if self.wait(ticket, Some(deadline)) == Waited::TooLate {
            self.lock().gave_up = true;
        }
    }

    /// Waits for the answer to a ticket.
    pub(crate) fn wait(&self, ticket: Ticket, deadline: Option<Instant>) -> Waited {
        let mut state = self.lock();
        loop {
            if state.answered >= ticket.number {
                return Waited::Written;
            }
            let current = state.is_open.then_some(state.streams);
            if current.is_none() || current != ticket.stream {
                return Waited::NoStream {
                    left_unwritten: state.left_unwritten(),
                };
            }
            match self.wait_for_change(state, deadline) {
                Some(next) => state = next,
                None => return Waited::TooLate,
            }
        }
    }

    /// Waits until there is a stream or `done` says so; false if the time was over.
    pub(crate) fn wait_without_stream(
        &self,
        deadline: Option<Instant>,
        done: impl Fn() -> bool,
    ) -> bool {
        let mut state = self.lock();
        while !state.is_open && !done() {
            match self.wait_for_change(state, deadline) {
                Some(next) => state = next,
                None => return false,
            }
        }
        true
    }

    /// Waits until `done` says so, as long as the present stream is there; false if it is not, or the time
    /// is over.
    pub(crate) fn wait_on_stream(
        &self,
        deadline: Option<Instant>,
        done: impl Fn() -> bool,
    ) -> bool {
        let mut state = self.lock();
        let stream = state.streams;
        while !done() {
            if !state.is_open || state.streams != stream {
                return false;
            }
            match self.wait_for_change(state, deadline) {
                Some(next) => state = next,
                None => return done(),
            }
        }
        true
    }

    /// Says whether the manager of the last stream acknowledges nothing.
    pub(crate) fn set_unacknowledged(&self, unacknowledged: bool) {
        self.unacknowledged.store(unacknowledged, Ordering::Relaxed);
        self.tell_waiters();
    }

    /// Whether the manager of the last stream is known to acknowledge nothing.
    pub(crate) fn is_unacknowledged(&self) -> bool {
        self.unacknowledged.load(Ordering::Relaxed)
    }

    /// Lets those who wait look again.
    pub(crate) fn tell_waiters(&self) {
        // Whoever saw the state before holds the lock until it waits, so the wake comes after.
        self.tell(&self.lock());
    }

    /// The next ticket.
    fn take_ticket(&self, state: &mut State) -> Ticket {
        let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        state.oldest.get_or_insert_with(|| (number, Instant::now()));
        Ticket {
            number,
            stream: state.is_open.then_some(state.streams),
        }
    }

    /// Waits for the next change; `None` if the time is over. No deadline is for ever.
    fn wait_for_change<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        deadline: Option<Instant>,
    ) -> Option<MutexGuard<'a, State>> {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return None;
        }
        state.waiters += 1;
        let mut state = match left {
            Some(left) => {
                let waited = self.changed.wait_timeout(state, left);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
            None => {
                let waited = self.changed.wait(state);
                waited.unwrap_or_else(PoisonError::into_inner)
            }
        };
        state.waiters -= 1;
        Some(state)
    }

    fn tell(&self, state: &State) {
        if state.waiters > 0 {
            self.changed.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
