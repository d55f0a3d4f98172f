//! Waiting until events are sent, and the end of telemetry within a process.
//!
//! What blocks here lets other Python threads run.

use std::time::{Duration, Instant};

use pyo3::prelude::*;

use crate::calls;
use crate::convert::{guarded, swallow};
use crate::state::{self, State};

/// How long `flush` waits unless told otherwise.
const FLUSH_SECONDS: f64 = 1.0;
/// How long a wait goes on before it looks whether a signal has arrived.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(50);
/// The same while a connection is under way, of which no event tells.
const CONNECTING_INTERVAL: Duration = Duration::from_millis(1);
/// Longest timeout; longer ones, and infinity, are cut to it.
const MAX_TIMEOUT: Duration = Duration::from_secs(86_400);

/// A timeout as Python gives it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Timeout {
    /// `None`: that of the exit.
    Exit,
    /// A number of seconds.
    Seconds(f64),
    /// Anything else, which counts as not given.
    Unreadable,
}

impl FromPyObject<'_, '_> for Timeout {
    type Error = PyErr;

    fn extract(given: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        if given.is_none() {
            return Ok(Self::Exit);
        }
        let seconds = swallow(given.py(), calls::float(&given))?;
        Ok(seconds.map_or(Self::Unreadable, Self::Seconds))
    }
}

/// Waits until what was emitted so far is written to the manager's socket; says whether that was done
/// in `timeout` seconds (those of `TELEMETRY_EXIT_TIMEOUT_MS` for `None`); if it is to be `acknowledged`,
/// that the manager has taken all of it. With nobody to send to, and nobody just being connected to, it does
/// not wait.
#[pyfunction]
#[pyo3(
    signature = (timeout=Timeout::Seconds(FLUSH_SECONDS), acknowledged=false),
    text_signature = "(timeout=1.0, acknowledged=False)"
)]
pub(crate) fn flush(py: Python<'_>, timeout: Timeout, acknowledged: bool) -> PyResult<bool> {
    guarded(py, || {
        let Some(state) = state::latest(py) else {
            return Ok(true);
        };
        let recorder = &state.incarnation.recorder;
        let timeout = match timeout {
            Timeout::Exit => exit_timeout(&state),
            Timeout::Seconds(seconds) => duration(seconds),
            Timeout::Unreadable => duration(FLUSH_SECONDS),
        };
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let wait = left.min(SIGNAL_INTERVAL);
            let is_done = || match acknowledged {
                true => recorder.settle_acknowledged(wait),
                false => recorder.settle(wait),
            };
            if py.detach(is_done) {
                return Ok(true);
            }
            if acknowledged && recorder.is_unacknowledged() && recorder.gate().sent() > 0 {
                return Ok(false);
            }
            py.check_signals()?;
            if left.is_zero() {
                return Ok(false);
            }
            if !recorder.has_stream() {
                if !has_prospects(&state) {
                    return Ok(false);
                }
                py.detach(|| std::thread::sleep(left.min(CONNECTING_INTERVAL)));
            }
        }
    })
}

/// Sends what is queued and stops serving; says whether that was done in `timeout` seconds (those of
/// `TELEMETRY_EXIT_TIMEOUT_MS` by default). Events from then on are counted as dropped. A second call
/// does nothing.
#[pyfunction]
#[pyo3(signature = (timeout=Timeout::Exit), text_signature = "(timeout=None)")]
pub(crate) fn shutdown(py: Python<'_>, timeout: Timeout) -> PyResult<bool> {
    guarded(py, || {
        let Some(state) = state::latest(py) else {
            return Ok(true);
        };
        let timeout = match timeout {
            Timeout::Seconds(seconds) => duration(seconds),
            Timeout::Exit | Timeout::Unreadable => exit_timeout(&state),
        };
        Ok(shut(py, &state, timeout))
    })
}

/// Ends the recorder and what runs for a state; says whether all was sent in time.
pub(crate) fn shut(py: Python<'_>, state: &State, timeout: Duration) -> bool {
    let service = state.incarnation.service();
    let ended = py.detach(|| state.incarnation.end(timeout));
    state::say_rejected(py, service.as_deref());
    ended
}

/// How long the end of this process may wait.
pub(crate) fn exit_timeout(state: &State) -> Duration {
    let configured = state.incarnation.settings().config.exit_timeout;
    configured.min(MAX_TIMEOUT)
}

/// Waits until all events are written to the manager's socket, as long as there is somebody to send to or
/// somebody is just being connected to.
pub(crate) fn drain(state: &State, deadline: Instant) {
    let recorder = &state.incarnation.recorder;
    while has_prospects(state) {
        let left = deadline.saturating_duration_since(Instant::now());
        let interval = if recorder.has_stream() {
            SIGNAL_INTERVAL
        } else {
            CONNECTING_INTERVAL
        };
        if recorder.wait_drained(left.min(interval)) || left.is_zero() {
            return;
        }
    }
}

/// Whether it is worth waiting for a manager.
fn has_prospects(state: &State) -> bool {
    state.service().is_some_and(|it| it.has_prospects())
}

/// Seconds from Python; what is negative or no number is zero.
pub(crate) fn duration(seconds: f64) -> Duration {
    if seconds >= MAX_TIMEOUT.as_secs_f64() {
        return MAX_TIMEOUT;
    }
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}
