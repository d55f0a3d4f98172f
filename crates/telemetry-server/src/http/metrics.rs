//! `/metrics`: one scrape, rendered off the server's task.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{ACCEPT, CONTENT_TYPE, HeaderMap};
use axum::response::{IntoResponse, Response};

use super::HttpState;
use super::api::problem;
use crate::export::prometheus::ExpositionFormat;

/// Most scrapes rendered at the same time; further ones wait.
pub(super) const MAX_RENDERING: usize = 2;

/// The exposition in the format that the `Accept` header asks for. It is rendered whole before the
/// first byte is sent, so a slow reader holds text and no lock.
pub(super) async fn metrics(State(state): State<HttpState>, headers: HeaderMap) -> Response {
    let accept = headers
        .get(ACCEPT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let format = ExpositionFormat::of_accept(accept);
    // Never closed, so it never fails.
    let _turn = state.rendering.acquire().await;
    let exporter = state.prometheus.clone();
    match tokio::task::spawn_blocking(move || exporter.render_as(format)).await {
        Ok(text) => ([(CONTENT_TYPE, format.content_type())], text).into_response(),
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}
