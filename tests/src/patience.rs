//! Waiting with a deadline: for a future, for a condition, for a step of another thread.
//!
//! Nothing in the stories waits longer than [`PATIENCE`], and what runs out of it says what it was
//! waiting for. A condition is looked at again and again; no story goes on because time has passed.

use std::future::Future;
use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up. Generous: machines that run tests are busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Time between two looks at a condition.
const BETWEEN_LOOKS: Duration = Duration::from_millis(2);

/// The future's output, or a panic that says what never came.
///
/// # Panics
///
/// When [`PATIENCE`] is over.
pub async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited {PATIENCE:?} in vain for: {what}"),
    }
}

/// What `look` finds, once it finds something.
///
/// # Panics
///
/// When [`PATIENCE`] is over.
pub async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            Instant::now() < deadline,
            "waited {PATIENCE:?} in vain for: {what}"
        );
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}

/// A gate that keeps threads waiting until it is opened, and that counts who came to it.
///
/// Dropping the [`Turnstile`] opens it, so that a failing test does not hang its threads.
#[derive(Debug)]
pub struct Turnstile {
    /// One message for each thread that came to the gate.
    arrivals: Mutex<mpsc::Receiver<()>>,
    /// Dropped to open the gate.
    closed: Mutex<Option<Arc<Latch>>>,
}

/// The waiting side of a [`Turnstile`]; clones wait at the same gate.
#[derive(Debug, Clone)]
pub struct Gate {
    /// Says that somebody is here.
    arrive: mpsc::Sender<()>,
    /// What is waited for.
    latch: Arc<Latch>,
}

#[derive(Debug, Default)]
struct Latch {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Turnstile {
    /// A closed gate and its waiting side.
    #[must_use]
    pub fn closed() -> (Self, Gate) {
        let (arrive, arrivals) = mpsc::channel();
        let latch = Arc::new(Latch::default());
        let gate = Gate {
            arrive,
            latch: Arc::clone(&latch),
        };
        let turnstile = Self {
            arrivals: Mutex::new(arrivals),
            closed: Mutex::new(Some(latch)),
        };
        (turnstile, gate)
    }

    /// Waits until somebody is at the gate; each arrival counts once.
    ///
    /// # Panics
    ///
    /// When nobody comes.
    pub async fn somebody_waits(&self) {
        eventually("somebody at the turnstile", || {
            let arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
            arrivals.try_recv().ok()
        })
        .await;
    }

    /// Lets everybody through, now and later.
    pub fn open(&self) {
        let mut closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(latch) = closed.take() {
            latch.open();
        }
    }
}

impl Drop for Turnstile {
    fn drop(&mut self) {
        self.open();
    }
}

impl Gate {
    /// Blocks the calling thread until the gate is open.
    pub fn pass(&self) {
        // Nobody counts arrivals any more when the turnstile is gone.
        let _nobody_counts = self.arrive.send(());
        let open = self
            .latch
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let _open = self
            .latch
            .opened
            .wait_while(open, |open| !*open)
            .unwrap_or_else(PoisonError::into_inner);
    }
}

impl Latch {
    fn open(&self) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.opened.notify_all();
    }
}
