//! The two threads of a worker and their end: `telemetry`, which runs everything, and `telemetry-poll`,
//! which waits for its sockets.
//!
//! The first runs a single-threaded runtime and nothing of the host program. The runtime has timers and
//! no descriptor. Both inherit the signal mask of the thread that starts them: a host that wants its
//! signals elsewhere masks them around the start.

use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::own_file::OwnFile;
use super::poller::{Poller, PollerHandle};
use super::spawn::spawn;
use crate::deadline::deadline_after;
use crate::own_fd::Losses;
use crate::stall::Heartbeat;

/// Time beyond a deadline that the thread may take to be gone.
const THREAD_GRACE: Duration = Duration::from_secs(1);

/// By when to have ended; nothing before the end is asked for.
pub(super) type Stop = watch::Receiver<Option<Instant>>;

/// Two running threads.
#[derive(Debug)]
pub(super) struct Threads {
    /// Tells them to stop, and by when.
    stop: watch::Sender<Option<Instant>>,
    /// Counts descriptors that the program closed.
    losses: Losses,
    /// The thread and the sign that it is done; taken by the first `close`.
    running: Mutex<Option<Running>>,
    /// The process that started them; a fork has none.
    pid: u32,
}

/// A running thread.
#[derive(Debug)]
struct Running {
    /// The thread.
    thread: JoinHandle<()>,
    /// Disconnected when the thread is done.
    done: mpsc::Receiver<()>,
}

impl Threads {
    /// Starts both. `work` is what the first of them does, and meanwhile it watches `heart`; `file` goes
    /// when that is done.
    ///
    /// # Errors
    ///
    /// What the system says of a thread.
    pub(super) fn start<W, F>(
        file: Option<OwnFile>,
        heart: Option<Arc<Heartbeat>>,
        work: W,
    ) -> io::Result<Self>
    where
        W: FnOnce(PollerHandle, Stop) -> F,
        F: Future<Output = ()> + Send + 'static,
    {
        // Without I/O: its wake-up would be a write to a descriptor, which may be the program's by then.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()?;
        let (stop, stopped) = watch::channel(None);
        let (done_guard, done) = mpsc::channel::<()>();
        let losses = Losses::default();
        let poller = Poller::start(losses.clone())?;
        let work = work(poller.handle(), stopped);
        let thread = spawn("telemetry", move || {
            let _file = file;
            let _done = done_guard;
            if let Some(heart) = heart {
                runtime.spawn(heart.watched());
            }
            runtime.block_on(work);
            // Sockets go with their tasks.
            drop(runtime);
            drop(poller);
        })?;
        Ok(Self {
            stop,
            losses,
            running: Mutex::new(Some(Running { thread, done })),
            pid: std::process::id(),
        })
    }

    /// Descriptors that the program closed.
    pub(super) fn closed_descriptors(&self) -> u64 {
        self.losses.count()
    }

    /// Has the work end by the deadline, and waits for it; whether it was in time. `None`: somebody did
    /// so before, or the threads are another process's.
    pub(super) fn close(&self, timeout: Duration) -> Option<bool> {
        let running = self
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()?;
        if self.pid != std::process::id() {
            // The thread lives in the parent only; nothing of it may be touched here.
            std::mem::forget(running);
            return None;
        }
        let deadline = Instant::from_std(deadline_after(timeout));
        let _no_receiver_if_the_thread_ended = self.stop.send(Some(deadline));
        let ended = running
            .done
            .recv_timeout(timeout.saturating_add(THREAD_GRACE));
        if matches!(ended, Err(mpsc::RecvTimeoutError::Timeout)) {
            return Some(false);
        }
        Some(running.thread.join().is_ok() && Instant::now() <= deadline)
    }
}

/// Resolves with the deadline when the end is asked for.
pub(super) async fn stopped(stop: &mut Stop) -> Instant {
    let asked = stop.wait_for(Option::is_some).await;
    // Whoever could ask is gone: now.
    asked.ok().and_then(|at| *at).unwrap_or_else(Instant::now)
}
