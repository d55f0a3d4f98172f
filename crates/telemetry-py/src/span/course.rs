//! The course of a span: what its start and its end emit.

use std::sync::{Arc, MutexGuard, PoisonError};

use pyo3::exceptions::PyGeneratorExit;
use pyo3::prelude::*;
use pyo3::types::PyType;

use super::{Progress, PySpan, Running};
use crate::context::{self, correlation, correlation_text};
use crate::convert::{any_text, type_name};
use crate::emit::{Contents, Draw, guarded, send};
use crate::state::{self, Incarnation};

/// How a span ends.
enum End {
    /// As planned.
    Stop,
    /// With an error: type and message.
    Exception(String, String),
}

impl PySpan {
    /// The state; to be let go before any Python code can run.
    pub(super) fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins, unless it is running already.
    pub(super) fn start(&self, py: Python<'_>, in_context: bool) -> PyResult<()> {
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
            let sent = send(py, &running.state, &running.sites.start, draw, &contents);
            if sent.is_err() {
                // The block is not entered, so nobody will end the span.
                let (_running, token) = {
                    let mut progress = self.lock();
                    (progress.running.take(), progress.token.take())
                };
                if let Some(token) = token {
                    context::leave(py, token)?;
                }
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
    pub(super) fn is_ours(&self) -> bool {
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
