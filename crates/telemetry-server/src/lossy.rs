//! Lines for somebody who may not read them: a bounded queue and a thread of its own that writes.
//!
//! Whoever hands in lines never waits and never fails. What does not fit, or cannot be written, is
//! dropped and counted. Knows bytes and newlines, and nothing of what the lines say.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::mem;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Bytes that may wait to be written. As many again may be in the hands of the writing thread.
pub const LOG_QUEUE_BYTES: usize = 1024 * 1024;

/// Pause before writing again to a descriptor that is set not to block.
const FULL_PAUSE: Duration = Duration::from_millis(20);

/// Writes lines from a thread of its own. Clones write to the same target.
///
/// As a [`Write`] it takes everything at once and never fails. The thread lives until
/// [`finish`](Self::finish).
///
/// Once writing works again after lines were dropped, one `tracing` event of the target
/// `telemetry::log` says how many.
#[derive(Clone)]
pub struct LossyWriter {
    shared: Arc<Shared>,
}

struct Shared {
    /// Most bytes in `State::waiting`.
    bound: usize,
    state: Mutex<State>,
    /// Signalled when lines arrive, and when the thread ends.
    changed: Condvar,
    /// Lines dropped so far.
    dropped: AtomicU64,
}

#[derive(Default)]
struct State {
    /// Lines that the thread has not taken so far.
    waiting: Vec<u8>,
    /// Dropped lines that nobody was told of.
    untold: u64,
    /// Nothing is taken any more.
    closed: bool,
    /// The thread has written everything and is gone.
    ended: bool,
}

impl LossyWriter {
    /// Starts the thread. `target` should be unbuffered, since it is never flushed; it may block for
    /// as long as it likes.
    ///
    /// # Errors
    /// The thread could not be started.
    pub fn start(target: impl Write + Send + 'static, bound: usize) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            bound,
            state: Mutex::default(),
            changed: Condvar::new(),
            dropped: AtomicU64::new(0),
        });
        let writing = Arc::clone(&shared);
        thread::Builder::new()
            .name("telemetry-log".to_owned())
            .spawn(move || writing.write_to(target))?;
        Ok(Self { shared })
    }

    /// A writer to our stderr with room for [`LOG_QUEUE_BYTES`], past the lock of [`io::stderr`]: that
    /// one would make others wait with us.
    ///
    /// # Errors
    /// The descriptor could not be duplicated, or the thread not started.
    pub fn to_stderr() -> io::Result<Self> {
        let stderr = io::stderr().as_fd().try_clone_to_owned()?;
        Self::start(File::from(stderr), LOG_QUEUE_BYTES)
    }

    /// Takes whole lines, all or none. Never waits for the target.
    pub fn push(&self, lines: &[u8]) {
        let shared = &*self.shared;
        let mut state = shared.lock();
        if state.closed || state.waiting.len() + lines.len() > shared.bound {
            shared.drop_lines(&mut state, count(lines));
            return;
        }
        state.waiting.extend_from_slice(lines);
        drop(state);
        shared.changed.notify_all();
    }

    /// As [`push`](Self::push), but waits for room for so long. For who may wait, and holds more than has
    /// room at once.
    pub fn push_within(&self, lines: &[u8], patience: Duration) {
        let shared = &*self.shared;
        let is_full =
            |state: &mut State| !state.closed && state.waiting.len() + lines.len() > shared.bound;
        let waited = shared
            .changed
            .wait_timeout_while(shared.lock(), patience, is_full);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        self.push(lines);
    }

    /// Lines dropped so far.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Takes no more lines, and waits until all are written or `patience` is over; says which. The
    /// thread may still stand in a write that never returns: it ends with the process.
    pub fn finish(&self, patience: Duration) -> bool {
        let shared = &*self.shared;
        let mut state = shared.lock();
        state.closed = true;
        shared.changed.notify_all();
        let waited = shared
            .changed
            .wait_timeout_while(state, patience, |state| !state.ended);
        waited.unwrap_or_else(PoisonError::into_inner).0.ended
    }
}

impl Write for LossyWriter {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.push(lines);
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for LossyWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LossyWriter")
            .field("bound", &self.shared.bound)
            .field("dropped", &self.dropped())
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn drop_lines(&self, state: &mut State, lines: u64) {
        state.untold += lines;
        self.dropped.fetch_add(lines, Ordering::Relaxed);
    }

    /// What the thread does.
    fn write_to(&self, mut target: impl Write) {
        let mut batch = Vec::new();
        let mut torn = false;
        while self.take(&mut batch) {
            let lost = write_all(&mut target, &batch, &mut torn);
            batch.clear();
            if lost == 0 {
                self.tell();
            } else {
                self.drop_lines(&mut self.lock(), lost);
            }
        }
    }

    /// Waits for lines. False at the end.
    fn take(&self, batch: &mut Vec<u8>) -> bool {
        let nothing = |state: &mut State| state.waiting.is_empty() && !state.closed;
        let waited = self.changed.wait_while(self.lock(), nothing);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        if state.waiting.is_empty() {
            state.ended = true;
            self.changed.notify_all();
            return false;
        }
        mem::swap(&mut state.waiting, batch);
        drop(state);
        // There is room again.
        self.changed.notify_all();
        true
    }

    /// Says how many lines are missing, when there is room to say it.
    fn tell(&self) {
        let mut state = self.lock();
        if state.untold == 0 || state.closed || state.waiting.len() > self.bound / 2 {
            return;
        }
        let dropped = mem::take(&mut state.untold);
        drop(state);
        tracing::warn!(
            target: "telemetry::log",
            dropped,
            "lines of the log were dropped: nobody read them, or they could not be written"
        );
    }
}

/// Writes all of it; returns how many lines could not be. `torn`: a line was begun and not ended.
fn write_all(target: &mut impl Write, batch: &[u8], torn: &mut bool) -> u64 {
    let mut rest = batch;
    let mut line_end: &[u8] = if *torn { b"\n" } else { b"" };
    while !rest.is_empty() {
        let next = if line_end.is_empty() { rest } else { line_end };
        match target.write(next) {
            Ok(written @ 1..) if line_end.is_empty() => {
                rest = rest.get(written..).unwrap_or_default();
            }
            Ok(1..) => {
                line_end = b"";
                *torn = false;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(FULL_PAUSE),
            Ok(0) | Err(_) => {
                let done = &batch[..batch.len() - rest.len()];
                *torn = done.last().map_or(*torn, |&last| last != b'\n');
                return count(rest);
            }
        }
    }
    0
}

/// How many lines this is; the last one may lack its newline.
fn count(lines: &[u8]) -> u64 {
    let ends = lines.iter().filter(|&&byte| byte == b'\n').count();
    let open = !lines.is_empty() && lines.last() != Some(&b'\n');
    ends as u64 + u64::from(open)
}

#[cfg(test)]
mod tests;
