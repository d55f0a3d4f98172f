//! The backend of a worker without a manager's stream: one line per event on stderr.
//!
//! Stderr may be a pipe that nobody reads. Events wait in a bounded queue and a thread writes them,
//! so a stuck reader costs events, counted, and never the caller's time. The thread starts with the
//! first event.

use std::fmt;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use prost::Message;
use telemetry_core::{
    Clock, Outcome, ValueRef,
    catalog::NameError,
    emit::{Fields, Recorder, RecorderConfig},
    ledger::{Note, Reason, WorkerSnapshot},
    wire::{Control, ControlError},
};
use telemetry_proto::TelemetryEvent;

use super::line::{float_text, format_line};
use super::{Backend, Draw, Site, SpanFate, SpanSites, through_recorder};
use crate::deadline::deadline_after;

/// Writes events as `TELEMETRY:` lines.
pub struct StderrBackend {
    /// The whole emit path.
    recorder: Arc<Recorder>,
    /// What the writing thread and its callers share.
    shared: Arc<Shared>,
    /// The output, until the thread takes it.
    output: Mutex<Option<Box<dyn Write + Send>>>,
}

/// What the writing thread and its callers share.
#[derive(Debug, Default)]
struct Shared {
    /// Whether the thread runs and whether a line is in its hands.
    state: Mutex<State>,
    /// Signals every change of the state.
    changed: Condvar,
}

/// Where the writing thread stands.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not started.
    #[default]
    Absent,
    /// Waits for events.
    Idle,
    /// Has an event in its hands.
    Writing,
    /// Is over.
    Ended,
}

impl fmt::Debug for StderrBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StderrBackend")
            .field("shared", &self.shared)
            .finish_non_exhaustive()
    }
}

impl StderrBackend {
    /// A backend that writes to the standard error of this process. If that is closed, each line
    /// counts as `backend_error`.
    ///
    /// # Errors
    ///
    /// [`ControlError`] if the initial policy has an invalid rate or pattern.
    pub fn new(config: RecorderConfig, clock: Arc<dyn Clock>) -> Result<Self, ControlError> {
        Self::with_output(config, clock, Box::new(OwnStderr))
    }

    /// A backend that writes to `output`, one `write_all` per line. A line counts as delivered once
    /// it is written; until then it is queued, and if it cannot be written it is dropped as
    /// `backend_error`.
    ///
    /// # Errors
    ///
    /// [`ControlError`] if the initial policy has an invalid rate or pattern.
    pub fn with_output(
        config: RecorderConfig,
        clock: Arc<dyn Clock>,
        output: Box<dyn Write + Send>,
    ) -> Result<Self, ControlError> {
        Ok(Self {
            recorder: Arc::new(Recorder::new(config, clock)?),
            shared: Arc::default(),
            output: Mutex::new(Some(output)),
        })
    }

    /// Starts the writing thread unless it runs. Without a thread to be had, events stay queued.
    fn ensure_writer(&self) {
        if self.recorder.is_closed() {
            return;
        }
        // An emit never waits: whoever holds the lock is starting it.
        let Ok(mut output) = self.output.try_lock() else {
            return;
        };
        let Some(output) = output.take() else { return };
        self.shared.set(State::Idle);
        let writer = Writer {
            recorder: Arc::clone(&self.recorder),
            shared: Arc::clone(&self.shared),
            output,
        };
        let thread = std::thread::Builder::new().name("telemetry-stderr".to_owned());
        if let Err(error) = thread.spawn(move || writer.run()) {
            self.shared.set(State::Ended);
            tracing::error!(%error, "no thread to write telemetry lines");
        }
    }
}

impl Backend for StderrBackend {
    through_recorder!();

    fn record(&self, site: &Site, draw: Draw<'_>, fields: &Fields<'_>) -> Outcome {
        let is_odd = |value: &ValueRef<'_>| matches!(value, ValueRef::Float(f) if !f.is_finite());
        let outcome = if fields.measurements.iter().any(|(_, value)| is_odd(value)) {
            // A line can say NaN, as text; the stream cannot.
            let measurements: Vec<_> = fields
                .measurements
                .iter()
                .map(|(key, value)| match value {
                    ValueRef::Float(float) if !float.is_finite() => {
                        (*key, ValueRef::Str(float_text(*float)))
                    }
                    value => (*key, *value),
                })
                .collect();
            let fields = Fields {
                measurements: &measurements,
                ..*fields
            };
            Backend::record(&*self.recorder, site, draw, &fields)
        } else {
            Backend::record(&*self.recorder, site, draw, fields)
        };
        if outcome == Outcome::Accepted {
            self.ensure_writer();
        }
        outcome
    }

    fn flush(&self, timeout: Duration) -> bool {
        let is_flushed =
            |state| self.recorder.queued() == 0 && matches!(state, State::Absent | State::Idle);
        self.shared.wait(timeout, is_flushed)
    }

    fn shutdown(&self, timeout: Duration) -> WorkerSnapshot {
        self.recorder.close();
        self.shared.wait(timeout, |state| {
            matches!(state, State::Absent | State::Ended)
        });
        self.recorder.discard_queued(Reason::ShutdownDeadline);
        self.recorder.snapshot()
    }
}

impl Drop for StderrBackend {
    fn drop(&mut self) {
        // Ends the thread; a line in its hands is finished.
        self.recorder.close();
    }
}

impl Shared {
    /// Changes the state and tells everybody.
    fn set(&self, state: State) {
        *self.lock() = state;
        self.changed.notify_all();
    }

    /// Waits for a state; false if it did not come in time.
    fn wait(&self, timeout: Duration, mut is_reached: impl FnMut(State) -> bool) -> bool {
        let deadline = deadline_after(timeout);
        let mut state = self.lock();
        while !is_reached(*state) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }

    /// The state.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The writing thread.
struct Writer {
    /// Where events come from.
    recorder: Arc<Recorder>,
    /// Where it says how far it is.
    shared: Arc<Shared>,
    /// Where lines go.
    output: Box<dyn Write + Send>,
}

impl Writer {
    /// Writes until the recorder is closed and its queue empty.
    fn run(mut self) {
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let recorder = Arc::clone(&self.recorder);
        let mut event = Vec::new();
        loop {
            let closed = recorder.is_closed();
            self.shared.set(State::Writing);
            // One event at a time: what a stuck pipe holds in our hands is one line.
            if let Some(handed) = recorder.hand_out(&mut event) {
                match self.write(&event) {
                    Ok(()) => handed.delivered(),
                    Err(reason) => handed.dropped(reason),
                }
                continue;
            }
            if closed {
                return self.shared.set(State::Ended);
            }
            self.shared.set(State::Idle);
            if self.recorder.sleep_until_event(&waker) && !self.recorder.is_closed() {
                std::thread::park();
            } else {
                // An event is on its way in; its producer may need this very core.
                std::thread::yield_now();
            }
        }
    }

    /// Writes one event in one piece.
    ///
    /// # Errors
    ///
    /// Why it is dropped: [`Reason::BackendError`] if the output refuses it or panics.
    fn write(&mut self, event: &[u8]) -> Result<(), Reason> {
        let Ok(event) = TelemetryEvent::decode(event) else {
            debug_assert!(false, "an event of our own can be read");
            return Err(Reason::InternalError);
        };
        let line = format_line(event);
        if line.truncated {
            self.recorder.gate().note(Note::Truncated);
        }
        let output = &mut self.output;
        let written = catch_unwind(AssertUnwindSafe(|| {
            output.write_all(line.text.as_bytes())?;
            output.flush()
        }));
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Reason::BackendError),
        }
    }
}

/// The standard error of this process. That of the standard library says of a closed one that all was
/// written.
struct OwnStderr;

impl Write for OwnStderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Locked, so that what others print stays in one piece.
        Ok(rustix::io::write(io::stderr().lock(), bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Wakes a parked thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
