//! The course of a span: what its start and its end emit.

use std::sync::Arc;

use pyo3::exceptions::PyGeneratorExit;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyType};
use telemetry_core::{SpanContext, SpanPhase};

use super::{Listed, PySpan, Running};
use crate::clock;
use crate::context::correlation_text;
use crate::convert::{any_text, guarded};
use crate::emit::{Contents, Draw, Wrong, send};
use crate::incarnation::{Incarnation, SpanSites};
use crate::scope::{self, Scope};
use crate::state::{self, State};
use crate::suppress::is_suppressed;

/// The type of the exceptions by which work is given up, in `asyncio` and in `concurrent.futures`.
const CANCELLED: &str = "CancelledError";

/// The longest span whose end takes its time of day from its start and its duration, nanoseconds.
/// In a longer one the clock may have been set.
const TIMED_BY_START: u64 = 1_000_000_000;

/// What a span leaves behind for its end.
struct Ended {
    /// Monotonic duration, nanoseconds.
    duration: u64,
    /// Metadata of its events.
    metadata: Option<Py<PyAny>>,
    /// Measurements of its last event.
    measurements: Option<Py<PyDict>>,
    /// Error that was recorded by hand.
    error: Option<Box<Wrong>>,
    /// What it ran on.
    running: Option<Running>,
    /// What makes it the current span of its context, if it is.
    scope: Option<Py<Scope>>,
    /// The correlation id of its events.
    id: Option<Py<PyAny>>,
    /// Its ids.
    identity: Option<SpanContext>,
}

impl PySpan {
    /// Begins, unless it is running already.
    pub(super) fn start(this: &Bound<'_, Self>, in_context: bool) -> PyResult<()> {
        let (py, span) = (this.py(), this.get());
        guarded(py, || {
            let started = clock::monotonic_nanos();
            let is_running = span.progress.with(py, |it| {
                if it.running.is_none() {
                    it.started = Some(started);
                    it.identity = None;
                    it.duration = None;
                }
                it.running.is_some()
            });
            if is_running || state::is_off() || is_suppressed(py) {
                return Ok(());
            }
            let Some(state) = state::held(py) else {
                return Ok(());
            };
            let given = span.given_id.as_ref().map(|id| id.bind(py));
            let here = scope::here(py).with_id(given);
            let id = here.id;
            let text = correlation_text(id.as_ref())?;
            let Some(sites) = span.sites(py, &state)? else {
                return Ok(());
            };
            let identity = match here.span {
                Some(around) => around.child(),
                None => SpanContext::root(&text),
            };
            let recorder = &state.incarnation.recorder;
            let decision = recorder.decide_span(
                &sites.start,
                &sites.stop,
                &sites.exception,
                &text,
                Some(&identity),
            );
            let Some(decision) = decision else {
                return Ok(());
            };
            let system_time = clock::unix_nanos(started);
            let running = Running {
                state: Arc::clone(&state),
                sites: Arc::clone(&sites),
                decision,
                system_time,
            };
            let (metadata, before) = span.progress.with(py, |it| {
                it.listed = Some(Listed::new(recorder, &sites, &identity, started));
                it.running = Some(running);
                let before = it.id.take();
                it.id = id.as_ref().map(|id| id.clone().unbind());
                it.identity = Some(identity);
                it.flags = here.flags;
                let metadata = it.metadata.as_ref();
                (metadata.map(|held| held.clone_ref(py)), before)
            });
            drop(before);
            if in_context {
                Self::enter(this)?;
            }
            let contents = Contents {
                own: Some(("system_time", system_time)),
                timestamp_ns: Some(system_time),
                measurements: span.start_measurements.as_ref().map(|held| held.bind(py)),
                metadata: metadata.as_ref().map(|held| held.bind(py)),
                error: None,
                correlation_id: id.as_ref(),
                span: Some(identity.at(SpanPhase::Start)),
            };
            let draw = Draw::Span(decision.start);
            let sent = send(py, &state, &sites.start, draw, &contents);
            if sent.is_err() {
                // The block is not entered, so nobody will end the span.
                let _ended = span
                    .progress
                    .with(py, |it| (it.running.take(), it.listed.take()));
                span.leave(py)?;
            }
            sent
        })
    }

    /// Ends, if it is running; the second end does nothing.
    pub(super) fn end(
        &self,
        py: Python<'_>,
        exc_type: Option<&Bound<'_, PyAny>>,
        exc: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        guarded(py, || {
            let now = clock::monotonic_nanos();
            let ended = self.progress.with(py, |it| {
                if it.duration.is_some() {
                    return None;
                }
                let duration = now.saturating_sub(it.started.unwrap_or(now));
                it.duration = Some(duration);
                it.listed = None;
                Some(Ended {
                    duration,
                    metadata: it.metadata.as_ref().map(|held| held.clone_ref(py)),
                    measurements: it.end_measurements.take(),
                    error: it.error.take(),
                    running: it.running.take(),
                    scope: it.scope.take(),
                    id: it.id.as_ref().map(|id| id.clone_ref(py)),
                    identity: it.identity,
                })
            });
            let Some(ended) = ended else {
                return Ok(());
            };
            if let Some(scope) = ended.scope {
                Scope::leave(scope.bind(py))?;
            }
            let Some(running) = ended.running.filter(|running| running.is_ours()) else {
                return Ok(());
            };
            let incarnation = &running.state.incarnation;
            let leaving = Wrong::leaving(
                exc_type,
                exc,
                &incarnation.redactor,
                self.with_traceback(incarnation),
            )?;
            let error = match leaving {
                Some(leaving) => Some(Box::new(leaving)),
                // What ends as planned may have met an error before; a generator that is closed has not.
                None => ended.error.filter(|_| !is_generator_exit(exc_type)),
            };
            let (site, drawn) = match &error {
                None => (&running.sites.stop, running.decision.stop),
                Some(_) => (&running.sites.exception, running.decision.exception),
            };
            let measured = i64::try_from(ended.duration).unwrap_or(i64::MAX);
            let measurements = ended.measurements.as_ref();
            let contents = Contents {
                own: Some(("duration", measured)),
                timestamp_ns: (ended.duration <= TIMED_BY_START)
                    .then(|| running.system_time.saturating_add(measured)),
                measurements: measurements.map(|held| held.bind(py).as_any()),
                metadata: ended.metadata.as_ref().map(|held| held.bind(py)),
                error: error.as_deref(),
                correlation_id: ended.id.as_ref().map(|id| id.bind(py)),
                span: ended
                    .identity
                    .map(|identity| identity.at(phase_of(error.as_deref()))),
            };
            send(py, &running.state, site, Draw::Span(drawn), &contents)
        })
    }

    /// Whether the end of this span says where its exception was raised.
    pub(super) fn with_traceback(&self, incarnation: &Incarnation) -> bool {
        self.record_stacktrace
            .unwrap_or(incarnation.settings().record_stacktrace)
    }

    /// Makes it the current span of the context.
    pub(super) fn enter(this: &Bound<'_, Self>) -> PyResult<()> {
        let (py, span) = (this.py(), this.get());
        let (id, identity, flags) = span.progress.with(py, |it| {
            let id = it.id.as_ref().map(|id| id.clone_ref(py));
            (id, it.identity, it.flags)
        });
        let Some(identity) = identity else {
            return Ok(());
        };
        let id = id.as_ref().map(|id| id.bind(py));
        let scope = Bound::new(py, Scope::of_span(this.as_any(), id, identity, flags))?;
        Scope::enter(&scope)?;
        let before = span
            .progress
            .with(py, |it| it.scope.replace(scope.unbind()));
        drop(before);
        Ok(())
    }

    /// Takes back [`enter`](Self::enter).
    pub(super) fn leave(&self, py: Python<'_>) -> PyResult<()> {
        match self.progress.with(py, |it| it.scope.take()) {
            Some(scope) => Scope::leave(scope.bind(py)),
            None => Ok(()),
        }
    }

    /// Its ids, once it emits.
    pub(super) fn identity(&self, py: Python<'_>) -> Option<SpanContext> {
        self.progress.with(py, |it| it.identity)
    }

    /// The events of this span; `None` if their names break the rules, which is counted.
    fn sites(&self, py: Python<'_>, state: &State) -> PyResult<Option<Arc<SpanSites>>> {
        let operation = self.operation.bind(py);
        let known = &state.incarnation.operations;
        // SAFETY: attached, and what is found is cloned before anything else happens.
        if let Some(sites) = unsafe { known.get(operation.as_ptr()) } {
            return Ok(Some(Arc::clone(sites)));
        }
        let text = any_text(operation)?;
        let Ok(sites) = state.incarnation.span_sites(&text) else {
            return Ok(None);
        };
        if operation.is_exact_instance_of::<PyString>() {
            known.put(operation, Arc::clone(&sites));
        }
        Ok(Some(sites))
    }
}

/// Whether a generator is being closed.
fn is_generator_exit(exc_type: Option<&Bound<'_, PyAny>>) -> bool {
    exc_type
        .and_then(|exc_type| exc_type.cast::<PyType>().ok())
        .is_some_and(|exc_type| {
            exc_type
                .is_subclass_of::<PyGeneratorExit>()
                .unwrap_or(false)
        })
}

/// What the event of an end is to the span.
fn phase_of(error: Option<&Wrong>) -> SpanPhase {
    match error {
        None => SpanPhase::Stop,
        Some(error) if error.kind() == CANCELLED => SpanPhase::Cancelled,
        Some(_) => SpanPhase::Exception,
    }
}

impl Running {
    /// Whether this process started the span; a forked child leaves the end to its parent.
    pub(super) fn is_ours(&self) -> bool {
        let incarnation: &Incarnation = &self.state.incarnation;
        !incarnation.is_inherited()
    }
}
