//! An exception as one line that may be shown: short, printable, without secrets.

use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;
use telemetry_core::{Redactor, escape, truncate};

use crate::convert::{any_text, type_name};

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
