//! Spans: work that has a start and exactly one end.
//!
//! One draw at the start decides for all events of a span. Durations are monotonic. The user's
//! exception always goes on; nothing that happens here replaces it. The object's own state is never
//! locked while Python code runs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::PyTraverseError;
use pyo3::PyVisit;
use pyo3::exceptions::PyGeneratorExit;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyType};
use telemetry_core::SpanDecision;

use crate::awaited::Awaited;
use crate::context::{self, correlation, correlation_text};
use crate::convert::{any_text, swallow, type_name};
use crate::emit::{Contents, Draw, emit_named, guarded, send};
use crate::state::{self, Incarnation, SpanSites, State};

/// Work that is measured: emits `{operation}.start` when it begins and `{operation}.stop` or
/// `{operation}.exception` when it ends.
///
/// A context manager for `with` and `async with`, and a decorator for functions, coroutines,
/// generators and async generators.
#[pyclass(frozen, weakref, module = "telemetry_py", name = "Span")]
#[derive(Debug)]
pub(crate) struct PySpan {
    /// What the work is called.
    operation: Py<PyAny>,
    /// The correlation id as given.
    given_id: Option<Py<PyAny>>,
    /// Measurements of the start event as given.
    start_measurements: Option<Py<PyAny>>,
    /// All that changes.
    progress: Mutex<Progress>,
}

/// Where a span stands.
#[derive(Debug, Default)]
struct Progress {
    /// Metadata of all its events: as given, or a copy once `set` was called.
    metadata: Option<Py<PyAny>>,
    /// Whether `metadata` is our own copy.
    copied: bool,
    /// Measurements of its end event.
    end_measurements: Option<Py<PyDict>>,
    /// Error that was recorded by hand: type and message.
    error: Option<(String, String)>,
    /// Monotonic start, nanoseconds.
    started: Option<u64>,
    /// Duration once it has ended, nanoseconds.
    duration: Option<u64>,
    /// What it runs on; `None` before the start, after the end, and while telemetry is off.
    running: Option<Running>,
    /// Puts the context's correlation id back.
    token: Option<Py<PyAny>>,
    /// The correlation id of its events.
    id: Option<Py<PyAny>>,
}

/// What a span that emits holds from start to end.
#[derive(Debug, Clone)]
struct Running {
    /// The state at the start, which also takes the end.
    state: Arc<State>,
    /// Its events.
    sites: Arc<SpanSites>,
    /// What the one draw said.
    decision: SpanDecision,
}

/// How a span ends.
enum End {
    /// As planned.
    Stop,
    /// With an error: type and message.
    Exception(String, String),
}

#[pymethods]
impl PySpan {
    #[new]
    #[pyo3(signature = (operation, metadata=None, correlation_id=None, *, measurements=None))]
    fn new(
        operation: Py<PyAny>,
        metadata: Option<Py<PyAny>>,
        correlation_id: Option<Py<PyAny>>,
        measurements: Option<Py<PyAny>>,
    ) -> Self {
        Self {
            operation,
            given_id: correlation_id,
            start_measurements: measurements,
            progress: Mutex::new(Progress {
                metadata,
                ..Progress::default()
            }),
        }
    }

    /// What the work is called.
    #[getter]
    fn operation(&self, py: Python<'_>) -> Py<PyAny> {
        self.operation.clone_ref(py)
    }

    /// The correlation id of its events; empty if there is none.
    #[getter]
    fn correlation_id(&self, py: Python<'_>) -> PyResult<String> {
        guarded(py, || {
            let held = self.lock().id.as_ref().map(|id| id.clone_ref(py));
            let given = held
                .as_ref()
                .or(self.given_id.as_ref())
                .map(|id| id.bind(py));
            let id = correlation(py, given)?;
            Ok(correlation_text(id.as_ref())?.into_owned())
        })
    }

    /// Nanoseconds since the start, or from start to end; 0 before the start.
    #[getter]
    fn elapsed_ns(&self) -> u64 {
        let progress = self.lock();
        match (progress.duration, progress.started) {
            (Some(duration), _) => duration,
            (None, Some(started)) => crate::clock::monotonic_nanos().saturating_sub(started),
            (None, None) => 0,
        }
    }

    /// Adds metadata to the events that follow.
    #[pyo3(signature = (**metadata))]
    fn set(&self, py: Python<'_>, metadata: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
        let Some(added) = metadata else { return Ok(()) };
        guarded(py, || {
            let (held, copied) = {
                let progress = self.lock();
                (
                    progress.metadata.as_ref().map(|held| held.clone_ref(py)),
                    progress.copied,
                )
            };
            let copy = match held.as_ref().map(|held| held.bind(py)) {
                Some(held) if copied => held.cast::<PyDict>().cloned()?,
                Some(held) if !held.is_none() => {
                    let copy = PyDict::new(py);
                    swallow(py, copy.call_method1("update", (held,)))?;
                    copy
                }
                _ => PyDict::new(py),
            };
            copy.update(added.as_mapping())?;
            let before = {
                let mut progress = self.lock();
                progress.copied = true;
                progress.metadata.replace(copy.into_any().unbind())
            };
            drop(before);
            Ok(())
        })
    }

    /// Adds measurements to the event of its end.
    #[pyo3(signature = (**measurements))]
    fn measure(&self, py: Python<'_>, measurements: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
        let Some(added) = measurements else {
            return Ok(());
        };
        guarded(py, || {
            let held = self
                .lock()
                .end_measurements
                .as_ref()
                .map(|held| held.clone_ref(py));
            match held {
                Some(held) => held.bind(py).update(added.as_mapping()),
                None => {
                    let copy = added.copy()?.unbind();
                    self.lock().end_measurements = Some(copy);
                    Ok(())
                }
            }
        })
    }

    /// Records an event that shares the span's correlation id and its draw.
    #[pyo3(signature = (name, measurements=None, metadata=None))]
    fn event(
        &self,
        name: &Bound<'_, PyAny>,
        measurements: Option<&Bound<'_, PyAny>>,
        metadata: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let py = name.py();
        guarded(py, || {
            let (running, id) = {
                let progress = self.lock();
                (
                    progress.running.clone(),
                    progress.id.as_ref().map(|id| id.clone_ref(py)),
                )
            };
            let Some(running) = running.filter(Running::is_ours) else {
                return Ok(());
            };
            let contents = Contents {
                measurements,
                metadata,
                correlation_id: id.as_ref().map(|id| id.bind(py)),
                ..Contents::default()
            };
            emit_named(
                &running.state,
                name,
                Draw::Span(running.decision.start),
                &contents,
            )
        })
    }

    /// Makes the span end with this exception although the code goes on.
    fn record_exception(&self, exc: &Bound<'_, PyAny>) -> PyResult<()> {
        guarded(exc.py(), || {
            let message = any_text(exc)?.into_owned();
            self.lock().error = Some((type_name(exc), message));
            Ok(())
        })
    }

    fn __enter__<'py>(this: Bound<'py, Self>) -> PyResult<Bound<'py, Self>> {
        this.get().start(this.py(), true)?;
        Ok(this)
    }

    #[pyo3(signature = (exc_type=None, exc=None, traceback=None))]
    fn __exit__(
        &self,
        py: Python<'_>,
        exc_type: Option<&Bound<'_, PyAny>>,
        exc: Option<&Bound<'_, PyAny>>,
        traceback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        let _unused = traceback;
        self.end(py, exc_type, exc)?;
        Ok(false)
    }

    fn __aenter__(this: Bound<'_, Self>) -> PyResult<Awaited> {
        this.get().start(this.py(), true)?;
        Ok(Awaited::new(this.into_any().unbind()))
    }

    #[pyo3(signature = (exc_type=None, exc=None, traceback=None))]
    fn __aexit__(
        &self,
        py: Python<'_>,
        exc_type: Option<&Bound<'_, PyAny>>,
        exc: Option<&Bound<'_, PyAny>>,
        traceback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Awaited> {
        let ended = self.__exit__(py, exc_type, exc, traceback)?;
        Ok(Awaited::new(
            ended.into_pyobject(py)?.to_owned().into_any().unbind(),
        ))
    }

    /// As a decorator: every call of `function` is a span of its own.
    fn __call__<'py>(
        this: Bound<'py, Self>,
        function: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = this.py();
        py.import("telemetry_py._decorate")?
            .getattr("decorate")?
            .call1((this, function))
    }

    /// A span like this one that has not started.
    fn _again(&self, py: Python<'_>) -> Self {
        let progress = self.lock();
        Self {
            operation: self.operation.clone_ref(py),
            given_id: self.given_id.as_ref().map(|id| id.clone_ref(py)),
            start_measurements: self
                .start_measurements
                .as_ref()
                .map(|held| held.clone_ref(py)),
            progress: Mutex::new(Progress {
                metadata: progress.metadata.as_ref().map(|held| held.clone_ref(py)),
                ..Progress::default()
            }),
        }
    }

    /// Starts without touching the context: for generators, which run in their callers' contexts.
    fn _start(&self, py: Python<'_>) -> PyResult<()> {
        self.start(py, false)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("<Span {}>", any_text(self.operation.bind(py))?))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.operation)?;
        visit.call(&self.given_id)?;
        visit.call(&self.start_measurements)?;
        // Locked means in use on this very thread, and what is in use is no garbage.
        let Ok(progress) = self.progress.try_lock() else {
            return Ok(());
        };
        visit.call(&progress.metadata)?;
        visit.call(&progress.end_measurements)?;
        visit.call(&progress.token)?;
        visit.call(&progress.id)
    }

    fn __clear__(&self) {
        let taken = self
            .progress
            .try_lock()
            .map(|mut progress| std::mem::take(&mut *progress));
        drop(taken);
    }
}

impl PySpan {
    /// The state; to be let go before any Python code can run.
    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins, unless it is running already.
    fn start(&self, py: Python<'_>, in_context: bool) -> PyResult<()> {
        guarded(py, || {
            let started = crate::clock::monotonic_nanos();
            let metadata = {
                let mut progress = self.lock();
                if progress.running.is_some() {
                    return Ok(());
                }
                progress.started = Some(started);
                progress.duration = None;
                progress.metadata.as_ref().map(|held| held.clone_ref(py))
            };
            if state::is_off() {
                return Ok(());
            }
            let Some(state) = state::current(py) else {
                return Ok(());
            };
            let Some(state) = state.as_ref().map(Arc::clone) else {
                return Ok(());
            };
            let given = self.given_id.as_ref().map(|id| id.bind(py));
            let id = correlation(py, given)?;
            let text = correlation_text(id.as_ref())?;
            let operation = any_text(self.operation.bind(py))?;
            let Ok(sites) = state.incarnation.span_sites(&operation) else {
                return Ok(());
            };
            let recorder = &state.incarnation.recorder;
            let decision = recorder.decide_span(&sites.start, &sites.stop, &sites.exception, &text);
            let Some(decision) = decision else {
                return Ok(());
            };
            let running = Running {
                state,
                sites,
                decision,
            };
            let token = match given.filter(|given| in_context && !given.is_none()) {
                Some(given) => context::enter(given)?,
                None => None,
            };
            {
                let mut progress = self.lock();
                progress.running = Some(running.clone());
                progress.id = id.as_ref().map(|id| id.clone().unbind());
                progress.token = token;
            }
            let system_time = crate::clock::unix_nanos();
            let contents = Contents {
                own: Some(("system_time", system_time)),
                timestamp_ns: Some(system_time),
                measurements: self.start_measurements.as_ref().map(|held| held.bind(py)),
                metadata: metadata.as_ref().map(|held| held.bind(py)),
                error: None,
                correlation_id: id.as_ref(),
            };
            let draw = Draw::Span(running.decision.start);
            send(py, &running.state, &running.sites.start, draw, &contents)
        })
    }

    /// Ends, if it is running; the second end does nothing.
    fn end(
        &self,
        py: Python<'_>,
        exc_type: Option<&Bound<'_, PyAny>>,
        exc: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        guarded(py, || {
            let now = crate::clock::monotonic_nanos();
            let (progress, duration) = {
                let mut progress = self.lock();
                let duration = now.saturating_sub(progress.started.unwrap_or(now));
                if progress.duration.is_some() {
                    return Ok(());
                }
                progress.duration = Some(duration);
                let ended = Progress {
                    metadata: progress.metadata.as_ref().map(|held| held.clone_ref(py)),
                    end_measurements: progress.end_measurements.take(),
                    error: progress.error.take(),
                    running: progress.running.take(),
                    token: progress.token.take(),
                    id: progress.id.as_ref().map(|id| id.clone_ref(py)),
                    ..Progress::default()
                };
                (ended, duration)
            };
            if let Some(token) = progress.token {
                context::leave(py, token)?;
            }
            let Some(running) = progress.running.filter(Running::is_ours) else {
                return Ok(());
            };
            let end = match exception(exc_type, exc)? {
                Some((kind, message)) => End::Exception(kind, message),
                None => match progress.error {
                    Some((kind, message)) if !is_generator_exit(exc_type) => {
                        End::Exception(kind, message)
                    }
                    _ => End::Stop,
                },
            };
            let (site, drawn, error) = match &end {
                End::Stop => (&running.sites.stop, running.decision.stop, None),
                End::Exception(kind, message) => (
                    &running.sites.exception,
                    running.decision.exception,
                    Some((kind.as_str(), message.as_str())),
                ),
            };
            let measurements = progress
                .end_measurements
                .as_ref()
                .map(|held| held.bind(py).as_any());
            let contents = Contents {
                own: Some(("duration", i64::try_from(duration).unwrap_or(i64::MAX))),
                timestamp_ns: None,
                measurements,
                metadata: progress.metadata.as_ref().map(|held| held.bind(py)),
                error,
                correlation_id: progress.id.as_ref().map(|id| id.bind(py)),
            };
            send(py, &running.state, site, Draw::Span(drawn), &contents)
        })
    }
}

impl Running {
    /// Whether this process started the span; a forked child leaves the end to its parent.
    fn is_ours(&self) -> bool {
        let incarnation: &Incarnation = &self.state.incarnation;
        !incarnation.is_inherited()
    }
}

/// Type and message of the exception that ends a span; `None` for none and for `GeneratorExit`.
fn exception(
    exc_type: Option<&Bound<'_, PyAny>>,
    exc: Option<&Bound<'_, PyAny>>,
) -> PyResult<Option<(String, String)>> {
    let Some(exc_type) = exc_type.filter(|exc_type| !exc_type.is_none()) else {
        return Ok(None);
    };
    if is_generator_exit(Some(exc_type)) {
        return Ok(None);
    }
    let kind = match exc_type.cast::<PyType>() {
        Ok(exc_type) => exc_type
            .name()
            .map(|name| name.to_string())
            .unwrap_or_default(),
        Err(_) => type_name(exc_type),
    };
    let message = match exc.filter(|exc| !exc.is_none()) {
        Some(exc) => any_text(exc)?.into_owned(),
        None => String::new(),
    };
    Ok(Some((kind, message)))
}

/// Whether a generator is being closed, which is a normal end.
fn is_generator_exit(exc_type: Option<&Bound<'_, PyAny>>) -> bool {
    let Some(exc_type) = exc_type.and_then(|exc_type| exc_type.cast::<PyType>().ok()) else {
        return false;
    };
    exc_type
        .is_subclass_of::<PyGeneratorExit>()
        .unwrap_or(false)
}
