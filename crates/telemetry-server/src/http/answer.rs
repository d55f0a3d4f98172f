//! How answers look: JSON whose text a terminal can take, and why something is not answered.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;
use telemetry_core::catalog::escape;

use crate::api::{PageError, Refused};

/// Why something is not answered.
#[derive(Debug)]
pub(super) struct Problem(pub(super) StatusCode, pub(super) String);

impl Problem {
    /// It cannot be asked so.
    pub(super) fn asked(what: impl Into<String>) -> Self {
        Self(StatusCode::BAD_REQUEST, what.into())
    }
}

impl From<PageError> for Problem {
    fn from(error: PageError) -> Self {
        Self::asked(error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        problem(self.0, &self.1)
    }
}

/// An error as JSON.
pub(super) fn problem(status: StatusCode, what: &str) -> Response {
    (status, Json(json(&Refused::new(what)))).into_response()
}

/// Plain data as JSON, its text escaped. It can be written.
pub(super) fn json(plain: &impl Serialize) -> Value {
    escaped(serde_json::to_value(plain).unwrap_or_default())
}

/// The value with all its text escaped.
pub(super) fn escaped(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(escape(&text).into_owned()),
        Value::Array(items) => items.into_iter().map(escaped).collect(),
        Value::Object(entries) => entries
            .into_iter()
            .map(|(key, value)| (escape(&key).into_owned(), escaped(value)))
            .collect(),
        other => other,
    }
}
