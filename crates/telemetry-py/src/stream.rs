//! A queue of its own, with policy and ledger, whose events go out on calls that a server of the program
//! carries: what stands behind `TelemetryStream`.
//!
//! What happens on a call is decided in `telemetry-client`; here it meets Python. Whoever waits for the
//! next message is a Python program, so it is woken by a function of Python, and always by the thread
//! that brought what it waits for, at the end of its call: nothing of ours is held then.

mod call;

use std::mem;
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use telemetry_client::MAX_QUEUE_EVENTS;
use telemetry_client::serve::{HostedStreams, StreamConfig};
use telemetry_core::{
    Outcome, SystemClock,
    emit::{Overflow, Recorder, RecorderConfig, SamplingRule},
    ledger::Reason,
    wire::Control,
};

use crate::context::correlation_text;
use crate::convert::guarded;
use crate::emit::{Contents, Draw, name_of, queue};
use crate::fork;
use crate::held::Held;
use crate::ids::PySpanIdentity;
use crate::scope;
use crate::settings::{Settings, invalid};
use crate::stats;
use crate::suppress::is_suppressed;

pub(crate) use call::PyStreamCall;
use call::Wakeup;

/// A queue with policy and ledger, and the calls that take its events.
#[pyclass(frozen, weakref, module = "telemetry_py", name = "Stream")]
#[derive(Debug)]
pub(crate) struct PyStream {
    /// How it was set up; a forked child is set up in the same way.
    recorder: RecorderConfig,
    /// Whether the ids of a span are metadata of its events, too.
    ids_in_metadata: bool,
    /// How its calls behave, and who the worker is.
    calls: StreamConfig,
    /// What belongs to this process, or to the one that this one was forked from.
    life: Held<Arc<Life>>,
}

/// What of a stream belongs to one process.
#[derive(Debug)]
struct Life {
    /// [`fork::generation`] of that process.
    generation: u64,
    /// Queue, policy, ledger and calls.
    streams: HostedStreams,
    /// Who waits on calls that are open.
    waiting: Held<Vec<Arc<Wakeup>>>,
    /// What was wrong with the last control that was refused.
    control_error: Held<Option<String>>,
}

#[pymethods]
impl PyStream {
    /// A queue of so many events; what is not said is as in the environment, and so are policy and
    /// identity.
    #[new]
    #[pyo3(signature = (max_buffer=None, overflow=None))]
    fn new(py: Python<'_>, max_buffer: Option<i64>, overflow: Option<&str>) -> PyResult<Self> {
        let settings = Settings::read_silently(py);
        let mut recorder = settings.config.recorder();
        if let Some(max_buffer) = max_buffer {
            recorder.queue.events = events(max_buffer)?;
        }
        if let Some(overflow) = overflow {
            recorder.overflow = overflow_of(overflow)?;
        }
        let calls = settings.config.stream();
        fork::watch();
        let life = Life::new(&recorder, calls.clone())?;
        Ok(Self {
            recorder,
            ids_in_metadata: settings.ids_in_metadata,
            calls,
            life: Held::new(Arc::new(life)),
        })
    }

    /// Records one event, of `span` or else of the span that the context is in; false if it was dropped
    /// although policy lets it pass.
    #[pyo3(signature = (event, measurements=None, metadata=None, correlation_id=None, span=None))]
    fn emit(
        &self,
        event: &Bound<'_, PyAny>,
        measurements: Option<&Bound<'_, PyAny>>,
        metadata: Option<&Bound<'_, PyAny>>,
        correlation_id: Option<&Bound<'_, PyAny>>,
        span: Option<&PySpanIdentity>,
    ) -> PyResult<bool> {
        let py = event.py();
        guarded(py, || {
            if is_suppressed(py) {
                return Ok(true);
            }
            let life = self.life(py)?;
            let recorder = life.streams.recorder();
            let Ok(site) = recorder.callsite(name_of(event)) else {
                return Ok(false);
            };
            let here = scope::here(py).with_id(correlation_id);
            let text = correlation_text(here.id.as_ref())?;
            let contents = Contents {
                measurements,
                metadata,
                correlation_id: here.id.as_ref(),
                span: span.map(PySpanIdentity::context).or(here.span),
                ..Contents::default()
            };
            // With a span it comes from a backend, which was given them.
            let ids = self.ids_in_metadata && span.is_none();
            let inherited = || life.is_inherited();
            let (outcome, raised) =
                queue(recorder, &site, Draw::Own, &contents, &text, ids, inherited);
            raised.and(life.wake(py))?;
            Ok(!matches!(outcome, Outcome::Dropped(reason) if !is_policy(reason)))
        })
    }

    /// Opens a call; the one before takes no more events. `wake` is called, on any thread, when there may
    /// be something new on it.
    fn open(&self, py: Python<'_>, expects_hello: bool, wake: Py<PyAny>) -> PyResult<PyStreamCall> {
        let life = self.life(py)?;
        let call = PyStreamCall::new(py, &life, expects_hello, wake);
        life.wake(py)?;
        Ok(call)
    }

    /// Turns all events on or off.
    fn set_enabled(&self, py: Python<'_>, enabled: bool) -> PyResult<()> {
        self.apply(py, &Control::Toggle { enabled })
    }

    /// Keeps a share of the events that match one of the patterns; without patterns, of all.
    fn set_sampling(&self, py: Python<'_>, rate: f64, patterns: Vec<String>) -> PyResult<()> {
        self.apply(py, &Control::Sampling(SamplingRule::new(rate, patterns)))
    }

    /// Lets through what matches `allow`, or everything if that is empty, and not `deny`.
    fn set_filter(&self, py: Python<'_>, allow: Vec<String>, deny: Vec<String>) -> PyResult<()> {
        self.apply(py, &Control::Filter { allow, deny })
    }

    /// Whether events are on.
    #[getter]
    fn enabled(&self, py: Python<'_>) -> PyResult<bool> {
        let life = self.life(py)?;
        Ok(!life.streams.recorder().gate().control_status().is_off)
    }

    /// The share of events that is kept where no pattern says otherwise.
    #[getter]
    fn sampling_rate(&self, py: Python<'_>) -> PyResult<f64> {
        let spec = self
            .life(py)?
            .streams
            .recorder()
            .gate()
            .control_status()
            .spec;
        let general = spec
            .sampling
            .iter()
            .rev()
            .find(|rule| rule.patterns.is_empty());
        Ok(general.map_or(1.0, |rule| rule.rate))
    }

    /// Events that were dropped although policy lets them pass.
    #[getter]
    fn dropped_count(&self, py: Python<'_>) -> PyResult<u64> {
        let snapshot = self.life(py)?.streams.recorder().snapshot();
        let lost = snapshot
            .dropped
            .iter()
            .filter(|(reason, _)| !is_policy(*reason));
        Ok(lost.map(|(_, count)| count).sum())
    }

    /// Whether it takes no more events.
    #[getter]
    fn is_closed(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.life(py)?.streams.recorder().is_closed())
    }

    /// Its ledger.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let life = self.life(py)?;
        let found = PyDict::new(py);
        stats::fill(&found, &life.streams.recorder().snapshot())?;
        found.set_item("streams", life.streams.open_streams())?;
        found.set_item(
            "control_error",
            life.control_error.with(py, |error| error.clone()),
        )?;
        Ok(found)
    }

    /// Keeps what was wrong with a control.
    fn note_control_error(&self, py: Python<'_>, error: String) -> PyResult<()> {
        let life = self.life(py)?;
        let _before = life.control_error.with(py, |kept| kept.replace(error));
        Ok(())
    }

    /// Takes no more events; calls end once those that are queued have gone. Waits for nothing.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        guarded(py, || {
            let life = self.life(py)?;
            life.streams.recorder().close();
            life.streams.end();
            life.wake(py)
        })
    }
}

impl PyStream {
    /// What belongs to this process; made anew in a forked child, which leaks its parent's.
    fn life(&self, py: Python<'_>) -> PyResult<Arc<Life>> {
        let life = self.life.with(py, |life| Arc::clone(life));
        if !life.is_inherited() {
            return Ok(life);
        }
        mem::forget(life);
        fork::settle();
        let own = Arc::new(Life::new(&self.recorder, self.calls.of_new_incarnation())?);
        let inherited = self
            .life
            .with(py, |life| mem::replace(life, Arc::clone(&own)));
        mem::forget(inherited);
        Ok(own)
    }

    /// Applies what the program wants; what is not allowed raises.
    fn apply(&self, py: Python<'_>, control: &Control) -> PyResult<()> {
        let life = self.life(py)?;
        let gate = life.streams.recorder().gate();
        gate.apply(control).map_err(invalid)
    }
}

impl Drop for PyStream {
    fn drop(&mut self) {
        Python::attach(|py| {
            self.life.with(py, |life| {
                if life.is_inherited() {
                    // Dropped by nobody, as it is not this process's.
                    mem::forget(Arc::clone(life));
                }
            });
        });
    }
}

impl Life {
    /// A new one of this process.
    fn new(recorder: &RecorderConfig, calls: StreamConfig) -> PyResult<Self> {
        let clock = Arc::new(SystemClock::new());
        let recorder = Recorder::new(recorder.clone(), clock).map_err(invalid)?;
        Ok(Self {
            generation: fork::generation(),
            streams: HostedStreams::new(Arc::new(recorder), calls),
            waiting: Held::default(),
            control_error: Held::default(),
        })
    }

    /// Whether it belongs to an ancestor of this process.
    fn is_inherited(&self) -> bool {
        self.generation != fork::generation()
    }

    /// Calls those that wait for what has just happened.
    fn wake(&self, py: Python<'_>) -> PyResult<()> {
        if self.is_inherited() {
            return Ok(());
        }
        let raised = self.waiting.with(py, |waiting| {
            let raised = waiting.iter().filter(|wakeup| wakeup.take());
            raised.cloned().collect::<Vec<_>>()
        });
        raised.iter().try_for_each(|wakeup| wakeup.call(py))
    }
}

/// A bound of the queue.
fn events(max_buffer: i64) -> PyResult<usize> {
    usize::try_from(max_buffer)
        .ok()
        .filter(|events| (1..=MAX_QUEUE_EVENTS).contains(events))
        .ok_or_else(|| {
            invalid(format!(
                "max_buffer={max_buffer} is not allowed; expected a number of events from 1 to \
                 {MAX_QUEUE_EVENTS}"
            ))
        })
}

/// What a full queue does.
fn overflow_of(overflow: &str) -> PyResult<Overflow> {
    match overflow {
        "drop_newest" => Ok(Overflow::DropNewest),
        "drop_oldest" => Ok(Overflow::DropOldest),
        _ => Err(invalid(format!(
            "overflow={overflow:?} is not allowed; expected drop_newest or drop_oldest"
        ))),
    }
}

/// Whether an event dropped so was dropped because somebody wants it.
fn is_policy(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::SampledOut | Reason::Filtered | Reason::Limited
    )
}
