//! What a stretch of a program works under: a correlation id, a span, what a caller sent along.
//!
//! The innermost scope is the value of the context's variable; each knows the one before it. One that could
//! not be taken off, because its end came in another context than its start, as that of a generator that is
//! left early, is marked as left and passed over by whoever looks.

use std::sync::OnceLock;

use pyo3::PyTraverseError;
use pyo3::PyVisit;
use pyo3::prelude::*;
use pyo3::types::PyString;
use telemetry_core::{FLAG_SAMPLED, SpanContext, SpanPhase, TraceContext};

use crate::context;
use crate::convert::{any_text, guarded};
use crate::held::Held;

/// A stretch of a program that works under something.
#[pyclass(frozen, module = "telemetry_py._native", name = "Scope")]
#[derive(Debug)]
pub(crate) struct Scope {
    /// The object whose text is the correlation id; without one, that of before.
    id: Option<Py<PyAny>>,
    /// The innermost span, here or at the caller; without one, that of before.
    span: Option<SpanContext>,
    /// The flags of its trace, as of W3C.
    flags: u8,
    /// The object of the span, if it is one of this process.
    object: Option<Py<PyAny>>,
    /// The caller's `tracestate`, passed on as it is.
    tracestate: Option<Py<PyAny>>,
    /// The caller's `baggage`, passed on as it is.
    baggage: Option<Py<PyAny>>,
    /// All that changes.
    course: Held<Course>,
}

/// Where a scope stands.
#[derive(Debug, Default)]
struct Course {
    /// The scope before it.
    before: Option<Py<Scope>>,
    /// Puts that back.
    token: Option<Py<PyAny>>,
    /// Whether it ended where it could not be taken off.
    is_left: bool,
}

/// What the environment of the process says, which is around everything.
static PROCESS: OnceLock<Py<Scope>> = OnceLock::new();

/// What an event that is emitted here and now belongs to.
#[derive(Debug)]
pub(crate) struct Here<'py> {
    /// The object whose text is the correlation id, of any type.
    pub(crate) id: Option<Bound<'py, PyAny>>,
    /// The innermost span, of this process or of its caller; its phase is `Inside`.
    pub(crate) span: Option<SpanContext>,
    /// The flags of its trace.
    pub(crate) flags: u8,
}

impl<'py> Here<'py> {
    /// Nothing.
    const fn nothing() -> Self {
        Self {
            id: None,
            span: None,
            flags: FLAG_SAMPLED,
        }
    }

    /// With the correlation id that an argument names, if it does.
    pub(crate) fn with_id(self, argument: Option<&Bound<'py, PyAny>>) -> Self {
        match argument.filter(|argument| !argument.is_none()) {
            Some(argument) => Self {
                id: Some(argument.clone()),
                ..self
            },
            None => self,
        }
    }
}

/// Takes a scope as the one around all that this process does; the first one stays.
#[pyfunction]
pub(crate) fn under(scope: Py<Scope>) {
    if PROCESS.set(scope).is_ok() {
        context::use_it();
    }
}

/// What an event that is emitted here and now belongs to.
#[inline]
pub(crate) fn here(py: Python<'_>) -> Here<'_> {
    if context::is_in_use() {
        look(py)
    } else {
        Here::nothing()
    }
}

fn look(py: Python<'_>) -> Here<'_> {
    let mut here = Here::nothing();
    let mut next = innermost(py);
    while let Some(found) = next {
        let scope = found.get();
        if here.id.is_none() {
            here.id = scope.id.as_ref().map(|id| id.bind(py).clone());
        }
        if here.span.is_none() && scope.span.is_some() {
            (here.span, here.flags) = (scope.span, scope.flags);
        }
        if here.id.is_some() && here.span.is_some() {
            return here;
        }
        next = before(&found);
    }
    here
}

/// The innermost scope that was not left.
fn innermost(py: Python<'_>) -> Option<Bound<'_, Scope>> {
    let found = context::value(py).and_then(|found| found.cast_into::<Scope>().ok());
    let Some(found) = found else {
        return process(py);
    };
    if found.get().course.with(py, |it| it.is_left) {
        before(&found)
    } else {
        Some(found)
    }
}

/// What is around everything.
fn process(py: Python<'_>) -> Option<Bound<'_, Scope>> {
    PROCESS.get().map(|scope| scope.bind(py).clone())
}

/// The next one before it that was not left.
fn before<'py>(scope: &Bound<'py, Scope>) -> Option<Bound<'py, Scope>> {
    let py = scope.py();
    let mut found = scope.clone();
    loop {
        let before = found.get().course.with(py, |it| {
            it.before.as_ref().map(|before| before.clone_ref(py))
        });
        let Some(before) = before else {
            return process(py).filter(|process| !process.is(scope));
        };
        found = before.into_bound(py);
        if !found.get().course.with(py, |it| it.is_left) {
            return Some(found);
        }
    }
}

/// The innermost open span of this process in the context, unless a caller's stands before it.
#[pyfunction]
pub(crate) fn current_span(py: Python<'_>) -> Option<Py<PyAny>> {
    let mut next = innermost(py);
    while let Some(found) = next {
        let scope = found.get();
        if scope.span.is_some() {
            return scope.object.as_ref().map(|span| span.clone_ref(py));
        }
        next = before(&found);
    }
    None
}

/// What a request takes along that is made here and now: correlation id, `traceparent`, `tracestate` and
/// `baggage`, each a text or `None`.
#[pyfunction]
pub(crate) fn outgoing(py: Python<'_>) -> PyResult<[Option<Py<PyAny>>; 4]> {
    let here = here(py);
    let traceparent = here.span.map(|span| {
        let context = TraceContext {
            trace_id: span.trace_id,
            span_id: span.span_id,
            flags: here.flags,
        };
        context.to_string()
    });
    let traceparent =
        traceparent.and_then(|text| Some(text.into_pyobject(py).ok()?.into_any().unbind()));
    let (mut tracestate, mut baggage) = (None, None);
    let mut next = innermost(py);
    while let Some(found) = next {
        let scope = found.get();
        let take = |kept: &Option<Py<PyAny>>| kept.as_ref().map(|text| text.clone_ref(py));
        tracestate = tracestate.or_else(|| take(&scope.tracestate));
        baggage = baggage.or_else(|| take(&scope.baggage));
        next = before(&found);
    }
    Ok([text_of(here.id)?, traceparent, tracestate, baggage])
}

impl Scope {
    /// That of a span of this process.
    pub(crate) fn of_span(
        span: &Bound<'_, PyAny>,
        id: Option<&Bound<'_, PyAny>>,
        identity: SpanContext,
        flags: u8,
    ) -> Self {
        Self {
            id: id.map(|id| id.clone().unbind()),
            span: Some(identity),
            flags,
            object: Some(span.clone().unbind()),
            tracestate: None,
            baggage: None,
            course: Held::new(Course::default()),
        }
    }

    /// Makes it the innermost of the context.
    pub(crate) fn enter(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        // Those that were left are not kept for longer.
        let before = innermost(py).map(Bound::unbind);
        let token = context::enter(this.as_any())?;
        let replaced = this.get().course.with(py, |it| {
            it.is_left = false;
            (
                std::mem::replace(&mut it.before, before),
                std::mem::replace(&mut it.token, token),
            )
        });
        drop(replaced);
        Ok(())
    }

    /// Takes it off, or marks it as left where that cannot be done.
    pub(crate) fn leave(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let Some(token) = this.get().course.with(py, |it| it.token.take()) else {
            return Ok(());
        };
        if !context::leave(this.as_any(), token)? {
            this.get().course.with(py, |it| it.is_left = true);
        }
        Ok(())
    }
}

#[pymethods]
impl Scope {
    #[new]
    #[pyo3(signature = (correlation_id=None, traceparent=None, tracestate=None, baggage=None))]
    fn new(
        correlation_id: Option<Py<PyAny>>,
        traceparent: Option<&str>,
        tracestate: Option<Py<PyAny>>,
        baggage: Option<Py<PyAny>>,
    ) -> Self {
        let caller = traceparent.and_then(|text| TraceContext::parse(text).ok());
        Self {
            id: correlation_id,
            span: caller.as_ref().map(as_context),
            flags: caller.map_or(FLAG_SAMPLED, |caller| caller.flags),
            object: None,
            tracestate: tracestate.filter(|_| caller.is_some()),
            baggage,
            course: Held::new(Course::default()),
        }
    }

    /// Makes it what the context works under.
    #[pyo3(name = "enter")]
    fn py_enter(this: &Bound<'_, Self>) -> PyResult<()> {
        Self::enter(this)
    }

    /// As `enter`; returns the token of the context variable, which is for whoever asked.
    fn set(this: &Bound<'_, Self>) -> PyResult<Option<Py<PyAny>>> {
        Self::enter(this)?;
        Ok(this.get().course.with(this.py(), |it| it.token.take()))
    }

    /// Puts back what was before; in another context it is marked as left.
    #[pyo3(name = "leave")]
    fn py_leave(this: &Bound<'_, Self>) -> PyResult<()> {
        Self::leave(this)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.id)?;
        visit.call(&self.object)?;
        visit.call(&self.tracestate)?;
        visit.call(&self.baggage)?;
        // SAFETY: the collector runs attached, and only there `visit` exists.
        let py = unsafe { Python::assume_attached() };
        self.course.with(py, |it| {
            visit.call(&it.before)?;
            visit.call(&it.token)
        })
    }

    fn __clear__(&self, py: Python<'_>) {
        drop(self.course.with(py, std::mem::take));
    }
}

/// The correlation id of the context, which is always a text; `None` for none.
#[pyfunction]
pub(crate) fn correlation_id(py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
    text_of(here(py).id)
}

/// The text of an id, which is the id itself as a rule.
fn text_of(id: Option<Bound<'_, PyAny>>) -> PyResult<Option<Py<PyAny>>> {
    let Some(id) = id else {
        return Ok(None);
    };
    if id.is_exact_instance_of::<PyString>() {
        return Ok(Some(id.unbind()));
    }
    let py = id.py();
    let text = guarded(py, || any_text(&id).map(Some))?;
    Ok(text.map(|text| PyString::new(py, &text).into_any().unbind()))
}

/// Marks the scopes as left that a token belongs to which could not be used here: those of this context
/// before which `old` was.
#[pyfunction]
pub(crate) fn abandon(py: Python<'_>, old: &Bound<'_, PyAny>) {
    // Only what was not left is before anything.
    let old = match old.cast::<Scope>() {
        Ok(old) if old.get().course.with(py, |it| it.is_left) => before(old),
        Ok(old) => Some(old.clone()),
        Err(_none) => process(py),
    };
    let mut next = innermost(py);
    while let Some(found) = next {
        next = before(&found);
        let is_it = match (&next, &old) {
            (Some(next), Some(old)) => next.is(old),
            (next, old) => next.is_none() && old.is_none(),
        };
        if is_it {
            found.get().course.with(py, |it| it.is_left = true);
            return;
        }
    }
}

/// A caller's span, as that around what happens here.
fn as_context(caller: &TraceContext) -> SpanContext {
    SpanContext {
        trace_id: caller.trace_id,
        span_id: caller.span_id,
        parent_span_id: None,
        phase: SpanPhase::Inside,
    }
}
