//! The exception that ends a span, as metadata: without what looks like a secret, and short.

use pyo3::exceptions::{PyGeneratorExit, PySystemExit};
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple, PyType};
use telemetry_core::{
    catalog::{MAX_VALUE_BYTES, Redactor, truncate},
    ledger::Note,
};

use crate::calls;
use crate::convert::{any_text, swallow, type_name};
use crate::fields::Entries;

/// Metadata that an exception has.
pub(super) const KEYS: [&str; 3] = ["error_type", "error_message", "traceback"];

/// How much of a text is looked at; more than what an event can carry of it.
const MAX_BYTES: usize = 4 * MAX_VALUE_BYTES;

/// An exception.
#[derive(Debug)]
pub(crate) struct Wrong {
    /// The name of its type.
    kind: String,
    /// Its text.
    message: String,
    /// Where it was raised, innermost frame last; `None` if that is not recorded.
    traceback: Option<String>,
    /// Whether something in it was hidden.
    is_redacted: bool,
}

impl Wrong {
    /// One that is recorded by hand.
    pub(crate) fn new(
        exc: &Bound<'_, PyAny>,
        redactor: &Redactor,
        with_traceback: bool,
    ) -> PyResult<Self> {
        Self::of(type_name(exc), Some(exc), redactor, with_traceback)
    }

    /// The one that leaves a block; `None` for none and for what is no error: a generator that is closed,
    /// and the end of a program as it was planned.
    pub(crate) fn leaving(
        exc_type: Option<&Bound<'_, PyAny>>,
        exc: Option<&Bound<'_, PyAny>>,
        redactor: &Redactor,
        with_traceback: bool,
    ) -> PyResult<Option<Self>> {
        let Some(exc_type) = exc_type.filter(|exc_type| !exc_type.is_none()) else {
            return Ok(None);
        };
        let exc = exc.filter(|exc| !exc.is_none());
        if is_planned_end(exc_type, exc)? {
            return Ok(None);
        }
        let kind = match exc_type.cast::<PyType>() {
            Ok(exc_type) => exc_type
                .name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default(),
            Err(_) => type_name(exc_type),
        };
        Self::of(kind, exc, redactor, with_traceback).map(Some)
    }

    fn of(
        kind: String,
        exc: Option<&Bound<'_, PyAny>>,
        redactor: &Redactor,
        with_traceback: bool,
    ) -> PyResult<Self> {
        let mut wrong = Self {
            kind,
            message: String::new(),
            traceback: None,
            is_redacted: false,
        };
        if let Some(exc) = exc {
            wrong.message = wrong.shown(&any_text(exc)?, redactor);
            if with_traceback {
                let frames = swallow(exc.py(), frames(exc))?;
                wrong.traceback = frames.map(|frames| wrong.shown(&frames, redactor));
            }
        }
        Ok(wrong)
    }

    /// A text as it may be shown.
    fn shown(&mut self, text: &str, redactor: &Redactor) -> String {
        let text = truncate(text, MAX_BYTES);
        let shown = redactor.hide_in(text);
        self.is_redacted |= shown != text;
        shown.into_owned()
    }

    /// The name of its type.
    pub(crate) fn kind(&self) -> &str {
        &self.kind
    }

    /// Adds it to an event.
    pub(super) fn put(&self, entries: &mut impl Entries) {
        let [kind, message, traceback] = KEYS;
        entries.metadata(kind, &self.kind);
        entries.metadata(message, &self.message);
        if let Some(frames) = &self.traceback {
            entries.metadata(traceback, frames);
        }
        if self.is_redacted {
            entries.note(Note::Redacted);
        }
    }
}

/// The innermost frames of an exception, as many as an event can carry.
#[cold]
fn frames(exc: &Bound<'_, PyAny>) -> PyResult<String> {
    let py = exc.py();
    let function = py.import("telemetry_py._traceback")?.getattr("innermost")?;
    let arguments = PyTuple::new(
        py,
        [exc.clone(), MAX_VALUE_BYTES.into_pyobject(py)?.into_any()],
    )?;
    let text = calls::call(&function, &arguments)?.cast_into::<PyString>()?;
    Ok(any_text(text.as_any())?.into_owned())
}

/// Whether an exception only says that something is over as planned.
pub(crate) fn is_planned_end(
    exc_type: &Bound<'_, PyAny>,
    exc: Option<&Bound<'_, PyAny>>,
) -> PyResult<bool> {
    let Ok(exc_type) = exc_type.cast::<PyType>() else {
        return Ok(false);
    };
    if exc_type
        .is_subclass_of::<PyGeneratorExit>()
        .unwrap_or(false)
    {
        return Ok(true);
    }
    if !exc_type.is_subclass_of::<PySystemExit>().unwrap_or(false) {
        return Ok(false);
    }
    let Some(exc) = exc else { return Ok(true) };
    let code = swallow(exc.py(), calls::attribute(exc, "code"))?;
    Ok(code.is_some_and(|code| {
        // As Python takes it: `None` and 0 are success.
        code.is_none()
            || code.is_instance_of::<pyo3::types::PyInt>() && code.extract::<i64>().ok() == Some(0)
    }))
}
