//! The older API, `/api/…`, which is there for one more release; [`v1`](super::v1) takes its place.
//!
//! Everything here only reads. Text is escaped on the way out, since JSON lets through what a
//! terminal obeys. The manager's tables come through [`ApiSource`](crate::api::ApiSource).

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::HttpState;
use super::answer::{escaped, problem};
use crate::api::ApiResource;

pub(super) async fn workers(State(state): State<HttpState>) -> Json<Value> {
    Json(escaped(state.source.fetch(ApiResource::Workers)))
}

pub(super) async fn pools(State(state): State<HttpState>) -> Json<Value> {
    Json(escaped(state.source.fetch(ApiResource::Pools)))
}

pub(super) async fn quarantine(State(state): State<HttpState>) -> Json<Value> {
    Json(escaped(state.source.fetch(ApiResource::Quarantine)))
}

pub(super) async fn catalog(State(state): State<HttpState>) -> Json<Value> {
    Json(escaped(state.source.fetch(ApiResource::Catalog)))
}

pub(super) async fn discovery(State(state): State<HttpState>) -> Json<Value> {
    Json(escaped(state.source.fetch(ApiResource::Discovery)))
}

pub(super) async fn handlers(State(state): State<HttpState>) -> Response {
    match serde_json::to_value(state.dispatcher.list_handlers("")) {
        Ok(handlers) => Json(escaped(handlers)).into_response(),
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}
