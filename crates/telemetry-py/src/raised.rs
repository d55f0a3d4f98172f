//! An exception as one line that may be shown: short, printable, without secrets.

use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;
use telemetry_core::{MAX_VALUE_BYTES, REDACTED, Redactor, escape, truncate};

use crate::convert::{any_text, guarded, type_name};

/// Longest text of an exception, before what is not printable is escaped.
const MAX_BYTES: usize = 256;

/// What may stand between the name of a secret and the secret.
const SCHEMES: &[&str] = &["basic", "bearer", "digest", "token"];

/// Type and message of an exception. What stands behind a name that is named like a secret, as in
/// `password=...` and `token: ...`, is replaced.
pub(crate) fn one_line(
    error: &Bound<'_, PyBaseException>,
    redactor: &Redactor,
) -> PyResult<String> {
    let message = any_text(error)?;
    let separator = if message.is_empty() { "" } else { ": " };
    let message = without_secrets(truncate(&message, 4 * MAX_BYTES), redactor);
    let line = format!("{}{separator}{message}", type_name(error));
    Ok(escape(truncate(&line, MAX_BYTES)).into_owned())
}

/// `text` without the secrets that [`one_line`] leaves out, too; cut to what a metadata value may have.
#[pyfunction]
pub(crate) fn redacted(text: &Bound<'_, PyAny>) -> PyResult<String> {
    guarded(text.py(), || {
        let text = any_text(text)?;
        let shown = without_secrets(truncate(&text, 4 * MAX_VALUE_BYTES), &Redactor::default());
        Ok(truncate(&shown, MAX_VALUE_BYTES).to_owned())
    })
}

/// Replaces the words that follow the name of a secret and `=` or `:`.
fn without_secrets(text: &str, redactor: &Redactor) -> String {
    let is_end = |c: char| c.is_whitespace() || matches!(c, ',' | ';' | '&' | '?');
    let mut shown = String::with_capacity(text.len());
    let mut hide_next = false;
    for word in text.split_inclusive(is_end) {
        let end = word.len() - word.trim_end_matches(is_end).len();
        let (word, end) = word.split_at(word.len() - end);
        let quotes = |c: char| !c.is_alphanumeric() && c != '_' && c != '-';
        match word.split_once(['=', ':']) {
            _ if hide_next && !word.is_empty() => {
                shown.push_str(REDACTED);
                // An HTTP scheme: what it introduces is the secret.
                hide_next = SCHEMES
                    .iter()
                    .any(|scheme| word.eq_ignore_ascii_case(scheme));
            }
            Some((name, value)) if redactor.is_secret(name.trim_matches(quotes)) => {
                shown.push_str(&word[..=name.len()]);
                // A name alone: what is meant is the next word.
                hide_next = value.trim_matches(quotes).is_empty();
                if !hide_next {
                    shown.push_str(REDACTED);
                }
            }
            _ => shown.push_str(word),
        }
        shown.push_str(end);
    }
    shown
}
