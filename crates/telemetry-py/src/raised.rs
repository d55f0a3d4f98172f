//! An exception as one line that may be shown: short, printable, without secrets.

use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;
use telemetry_core::catalog::{MAX_VALUE_BYTES, Redactor, escape, truncate};

use crate::convert::{any_text, guarded, type_name};

/// Longest text of an exception, before what is not printable is escaped.
const MAX_BYTES: usize = 256;

/// Type and message of an exception, without what looks like a secret.
pub(crate) fn one_line(
    error: &Bound<'_, PyBaseException>,
    redactor: &Redactor,
) -> PyResult<String> {
    let message = any_text(error)?;
    let separator = if message.is_empty() { "" } else { ": " };
    let message = redactor.hide_in(truncate(&message, 4 * MAX_BYTES));
    let line = format!("{}{separator}{message}", type_name(error));
    Ok(escape(truncate(&line, MAX_BYTES)).into_owned())
}

/// `text` without the secrets that [`one_line`] leaves out, too; cut to what a metadata value may have.
#[pyfunction]
pub(crate) fn redacted(text: &Bound<'_, PyAny>) -> PyResult<String> {
    guarded(text.py(), || {
        let text = any_text(text)?;
        let shown = Redactor::default().hide_in(truncate(&text, 4 * MAX_VALUE_BYTES));
        Ok(truncate(&shown, MAX_VALUE_BYTES).to_owned())
    })
}
