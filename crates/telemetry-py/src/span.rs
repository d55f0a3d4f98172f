//! Spans: work that has a start and exactly one end.
//!
//! One draw at the start decides for all events of a span. Durations are monotonic. The user's
//! exception always goes on; nothing that happens here replaces it. The object's own state is never
//! touched while Python code runs.

mod course;
mod listed;
mod make;

use std::sync::Arc;

use pyo3::PyTraverseError;
use pyo3::PyVisit;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use telemetry_core::{SpanContext, emit::SpanDecision};

use crate::awaited::Awaited;
use crate::context::correlation_text;
use crate::convert::{any_text, guarded};
use crate::emit::{Contents, Draw, Wrong, emit_named};
use crate::fields::copy_of;
use crate::held::Held;
use crate::incarnation::SpanSites;
use crate::scope::{self, Scope};
use crate::state::{self, State};
use crate::suppress::is_suppressed;

use listed::Listed;
pub(crate) use make::{SPAN, span};

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
    /// Whether its end says where its exception was raised; `None`: as the environment says.
    record_stacktrace: Option<bool>,
    /// All that changes.
    progress: Held<Progress>,
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
    /// Error that was recorded by hand.
    error: Option<Box<Wrong>>,
    /// Monotonic start, nanoseconds.
    started: Option<u64>,
    /// Duration once it has ended, nanoseconds.
    duration: Option<u64>,
    /// What it runs on; `None` before the start, after the end, and while telemetry is off.
    running: Option<Running>,
    /// Where it is listed as open.
    listed: Option<Listed>,
    /// What makes it the current span of its context, if it is.
    scope: Option<Py<Scope>>,
    /// The correlation id of its events.
    id: Option<Py<PyAny>>,
    /// Its ids, once it emits.
    identity: Option<SpanContext>,
    /// The flags of its trace.
    flags: u8,
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
    /// Wall clock at the start, Unix nanoseconds.
    system_time: i64,
}

impl PySpan {
    /// A span that has not started.
    fn new(
        operation: Py<PyAny>,
        metadata: Option<Py<PyAny>>,
        correlation_id: Option<Py<PyAny>>,
        measurements: Option<Py<PyAny>>,
        record_stacktrace: Option<bool>,
    ) -> Self {
        Self {
            operation,
            given_id: correlation_id,
            start_measurements: measurements,
            record_stacktrace,
            progress: Held::new(Progress {
                metadata,
                ..Progress::default()
            }),
        }
    }
}

#[pymethods]
impl PySpan {
    #[new]
    #[pyo3(signature = (operation, metadata=None, correlation_id=None, *, measurements=None, record_stacktrace=None))]
    fn from_python(
        operation: &Bound<'_, PyAny>,
        metadata: Option<Py<PyAny>>,
        correlation_id: Option<Py<PyAny>>,
        measurements: Option<Py<PyAny>>,
        record_stacktrace: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        if make::is_target(operation) {
            return Err(PyTypeError::new_err(
                "Span takes the name of an operation; to decorate a function write @telemetry.span",
            ));
        }
        let operation = operation.clone().unbind();
        let record_stacktrace = make::switch(record_stacktrace)?;
        Ok(Self::new(
            operation,
            metadata,
            correlation_id,
            measurements,
            record_stacktrace,
        ))
    }

    /// What the work is called; the text of what is none.
    #[getter]
    fn operation(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let operation = self.operation.bind(py);
        if operation.is_instance_of::<PyString>() {
            return Ok(operation.clone().unbind());
        }
        let text = guarded(py, || any_text(operation))?;
        Ok(PyString::new(py, &text).into_any().unbind())
    }

    /// The correlation id of its events; empty if there is none.
    #[getter]
    fn correlation_id(&self, py: Python<'_>) -> PyResult<String> {
        guarded(py, || {
            let held = self
                .progress
                .with(py, |it| it.id.as_ref().map(|id| id.clone_ref(py)));
            let given = held
                .as_ref()
                .or(self.given_id.as_ref())
                .map(|id| id.bind(py));
            let id = match given {
                Some(given) if !given.is_none() => Some(given.clone()),
                _ => scope::here(py).id,
            };
            Ok(correlation_text(id.as_ref())?.into_owned())
        })
    }

    /// The id of its trace, 32 hexadecimal digits; empty before the start, and if it emits nothing.
    #[getter]
    fn trace_id(&self, py: Python<'_>) -> String {
        self.identity(py)
            .map_or_else(String::new, |span| span.trace_id.to_string())
    }

    /// Its own id, 16 hexadecimal digits; empty before the start, and if it emits nothing.
    #[getter]
    fn span_id(&self, py: Python<'_>) -> String {
        self.identity(py)
            .map_or_else(String::new, |span| span.span_id.to_string())
    }

    /// The id of the span around it, 16 hexadecimal digits; empty if there is none.
    #[getter]
    fn parent_span_id(&self, py: Python<'_>) -> String {
        self.identity(py)
            .and_then(|span| span.parent_span_id)
            .map_or_else(String::new, |parent| parent.to_string())
    }

    /// Nanoseconds since the start, or from start to end; 0 before the start.
    #[getter]
    fn elapsed_ns(&self, py: Python<'_>) -> u64 {
        match self.progress.with(py, |it| (it.duration, it.started)) {
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
            let (held, copied) = self.progress.with(py, |it| {
                (
                    it.metadata.as_ref().map(|held| held.clone_ref(py)),
                    it.copied,
                )
            });
            let copy = match held.as_ref().map(|held| held.bind(py)) {
                Some(held) if copied => held.cast::<PyDict>().cloned()?,
                Some(held) if !held.is_none() => copy_of(held)?,
                _ => PyDict::new(py),
            };
            copy.update(added.as_mapping())?;
            let before = self.progress.with(py, |it| {
                it.copied = true;
                it.metadata.replace(copy.into_any().unbind())
            });
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
            let held = self.progress.with(py, |it| {
                let held = it.end_measurements.as_ref();
                held.map(|held| held.clone_ref(py))
            });
            match held {
                Some(held) => held.bind(py).update(added.as_mapping()),
                None => {
                    let copy = added.copy()?.unbind();
                    let before = self
                        .progress
                        .with(py, |it| it.end_measurements.replace(copy));
                    drop(before);
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
            let (running, id, span) = self.progress.with(py, |it| {
                let id = it.id.as_ref().map(|id| id.clone_ref(py));
                (it.running.clone(), id, it.identity)
            });
            let Some(running) = running.filter(Running::is_ours) else {
                return Ok(());
            };
            if is_suppressed(py) {
                return Ok(());
            }
            let contents = Contents {
                measurements,
                metadata,
                correlation_id: id.as_ref().map(|id| id.bind(py)),
                span,
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
            let Some(state) = state::latest(exc.py()) else {
                return Ok(());
            };
            let incarnation = &state.incarnation;
            let with_traceback = self.with_traceback(incarnation);
            let error = Box::new(Wrong::new(exc, &incarnation.redactor, with_traceback)?);
            let before = self.progress.with(exc.py(), |it| it.error.replace(error));
            drop(before);
            Ok(())
        })
    }

    fn __enter__<'py>(this: Bound<'py, Self>) -> PyResult<Bound<'py, Self>> {
        Self::start(&this, true)?;
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
        Self::start(&this, true)?;
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
        make::decorate(this.py(), "decorate", (&this, function))
    }

    /// A span like this one that has not started.
    fn _again(&self, py: Python<'_>) -> Self {
        let metadata = self
            .progress
            .with(py, |it| it.metadata.as_ref().map(|held| held.clone_ref(py)));
        Self {
            operation: self.operation.clone_ref(py),
            given_id: self.given_id.as_ref().map(|id| id.clone_ref(py)),
            start_measurements: self
                .start_measurements
                .as_ref()
                .map(|held| held.clone_ref(py)),
            record_stacktrace: self.record_stacktrace,
            progress: Held::new(Progress {
                metadata,
                ..Progress::default()
            }),
        }
    }

    /// Starts without touching the context: for generators, which run in their callers' contexts.
    fn _start(this: &Bound<'_, Self>) -> PyResult<()> {
        Self::start(this, false)
    }

    /// Makes a span that was started so the current one, until `_leave`: for one step of a generator.
    fn _enter(this: &Bound<'_, Self>) -> PyResult<()> {
        Self::enter(this)
    }

    /// Takes back `_enter`.
    fn _leave(&self, py: Python<'_>) -> PyResult<()> {
        self.leave(py)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("<Span {}>", any_text(self.operation.bind(py))?))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.operation)?;
        visit.call(&self.given_id)?;
        visit.call(&self.start_measurements)?;
        // SAFETY: the collector runs attached, and only there `visit` exists.
        let py = unsafe { Python::assume_attached() };
        self.progress.with(py, |it| {
            visit.call(&it.metadata)?;
            visit.call(&it.end_measurements)?;
            visit.call(&it.scope)?;
            visit.call(&it.id)
        })
    }

    fn __clear__(&self, py: Python<'_>) {
        drop(self.progress.with(py, std::mem::take));
    }
}
