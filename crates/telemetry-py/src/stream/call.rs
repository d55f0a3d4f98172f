//! One call of `StreamTelemetry`, as the Python code that carries it sees it.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyFloat, PyTuple};
use telemetry_client::serve::{HostedStream, Next};

use super::Life;
use crate::calls;
use crate::convert::swallow;
use crate::held::Held;

/// One call. Over when it is closed; what is queued stays for the next one.
#[pyclass(frozen, module = "telemetry_py", name = "StreamCall")]
#[derive(Debug)]
pub(crate) struct PyStreamCall {
    /// What it belongs to.
    life: Arc<Life>,
    /// The call; `None` once it is closed.
    stream: Held<Option<HostedStream>>,
    /// Who waits for the next message.
    wakeup: Arc<Wakeup>,
    /// The same for whoever brings it.
    waker: Waker,
}

/// How whoever waits on a call is told.
#[derive(Debug)]
pub(super) struct Wakeup {
    /// There is something new, and nobody has told so far.
    raised: AtomicBool,
    /// The function of Python that tells; none once nobody waits.
    wake: Held<Option<Py<PyAny>>>,
}

impl Wake for Wakeup {
    /// Only remembers: whoever wakes may hold locks, and calls Python once it does not.
    fn wake(self: Arc<Self>) {
        self.raised.store(true, Ordering::Release);
    }
}

impl Wakeup {
    /// Whether somebody has to tell, which is left to the caller.
    pub(super) fn take(&self) -> bool {
        self.raised.load(Ordering::Relaxed) && self.raised.swap(false, Ordering::AcqRel)
    }

    /// Tells.
    pub(super) fn call(&self, py: Python<'_>) -> PyResult<()> {
        let wake = self
            .wake
            .with(py, |wake| wake.as_ref().map(|wake| wake.clone_ref(py)));
        if let Some(wake) = wake {
            swallow(py, calls::call(wake.bind(py), &PyTuple::empty(py)))?;
        }
        Ok(())
    }
}

#[pymethods]
impl PyStreamCall {
    /// The next message; or the seconds to wait for it unless it is woken, `inf` if only for that;
    /// or `None` at the end. Whoever asks has got rid of the message before.
    fn next<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        if self.life.is_inherited() {
            return Ok(None);
        }
        let next = self.stream.with(py, |stream| {
            stream.as_mut().map(|stream| stream.next(&self.waker))
        });
        Ok(match next {
            Some(Next::Message(message)) => Some(PyBytes::new(py, &message).into_any()),
            Some(Next::Nothing(wait)) => {
                let is_new = self.wakeup.take();
                let seconds = wait.map_or(f64::INFINITY, |wait| wait.as_secs_f64());
                let seconds = if is_new { 0.0 } else { seconds };
                Some(PyFloat::new(py, seconds).into_any())
            }
            Some(Next::End(_)) | None => None,
        })
    }

    /// The manager says something.
    fn hear(&self, py: Python<'_>, control: &[u8]) -> PyResult<()> {
        if self.life.is_inherited() {
            return Ok(());
        }
        let gate = self.life.streams.recorder().gate();
        let is_heard = self.stream.with(py, |stream| {
            stream.as_ref().map(|stream| stream.hear(control)).is_some()
        });
        let error = gate.control_status().error;
        if is_heard && !error.is_empty() {
            let _before = self.life.control_error.with(py, |kept| kept.replace(error));
        }
        self.life.wake(py)
    }

    /// The manager's side is over, in order or not.
    fn hear_end(&self, py: Python<'_>, in_order: bool) -> PyResult<()> {
        self.with(py, |stream| stream.hear_end(in_order))
    }

    /// Ends it in order although events are queued: it is about to be cut.
    fn leave(&self, py: Python<'_>) -> PyResult<()> {
        self.with(py, HostedStream::leave)
    }

    /// It is over, whatever was said last.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        if self.life.is_inherited() {
            return Ok(());
        }
        let stream = self.stream.with(py, Option::take);
        drop(stream);
        self.life.waiting.with(py, |waiting| {
            waiting.retain(|other| !Arc::ptr_eq(other, &self.wakeup));
        });
        let wake = self.wakeup.wake.with(py, Option::take);
        drop(wake);
        // A newer one may have been waiting for the event that it had in hand.
        self.life.wake(py)
    }
}

impl PyStreamCall {
    /// Opens one.
    pub(super) fn new(
        py: Python<'_>,
        life: &Arc<Life>,
        expects_hello: bool,
        wake: Py<PyAny>,
    ) -> Self {
        let wakeup = Arc::new(Wakeup {
            raised: AtomicBool::new(false),
            wake: Held::new(Some(wake)),
        });
        let stream = life.streams.open(expects_hello);
        life.waiting
            .with(py, |waiting| waiting.push(Arc::clone(&wakeup)));
        Self {
            life: Arc::clone(life),
            stream: Held::new(Some(stream)),
            waker: Waker::from(Arc::clone(&wakeup)),
            wakeup,
        }
    }

    /// Does something with it, if it is there.
    fn with(&self, py: Python<'_>, change: impl FnOnce(&HostedStream)) -> PyResult<()> {
        if self.life.is_inherited() {
            return Ok(());
        }
        self.stream.with(py, |stream| stream.as_ref().map(change));
        self.life.wake(py)
    }
}

impl Drop for PyStreamCall {
    fn drop(&mut self) {
        Python::attach(|py| {
            if self.life.is_inherited() {
                // Its parent's; dropped by nobody.
                self.stream.with(py, |stream| mem::forget(stream.take()));
                mem::forget(Arc::clone(&self.life));
                return;
            }
            // What that wakes up may raise; a finalizer has nobody to tell.
            let _raised = self.close(py);
        });
    }
}
