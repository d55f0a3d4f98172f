//! The JSON side: what the manager knows, the handlers, and a live view of events.
//!
//! Everything here only reads. Text is escaped on the way out, since JSON lets through what a
//! terminal obeys. This room knows the dispatcher; the manager's tables come through [`ApiSource`].

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use http_body::Frame;
use serde::Deserialize;
use serde_json::{Value, json};
use telemetry_core::{Event, EventRef, catalog::escape};
use tokio::sync::mpsc;

use super::HttpState;
use crate::dispatch::{AttachError, Dispatcher};

/// Most live viewers at once.
pub const MAX_TAPS: u32 = 16;

/// Most events that wait for one viewer; what comes while it does not read is dropped and counted.
pub const TAP_QUEUE: usize = 1_024;

/// What the handlers of viewers are called, before a number.
const TAP_ID: &str = "http-tap-";

/// What the manager is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum ApiResource {
    /// The streams of all workers, with their ledgers: an array.
    Workers,
    /// Totals by pool: an array.
    Pools,
    /// Names of events that no catalog has: an array.
    Quarantine,
    /// What is known of events and keys, and what workers sent beyond that: an object.
    Catalog,
    /// Lists of workers that are followed, and how old they are: an array.
    Discovery,
}

/// Whoever knows the workers.
///
/// Called on the server's task for each request, so it must not block for long. The answer is sent
/// as it is, its strings escaped.
pub trait ApiSource: Send + Sync {
    /// The present state of one resource.
    fn fetch(&self, resource: ApiResource) -> Value;
}

/// Knows nobody.
impl ApiSource for () {
    fn fetch(&self, _resource: ApiResource) -> Value {
        json!([])
    }
}

impl<F> ApiSource for F
where
    F: Fn(ApiResource) -> Value + Send + Sync,
{
    fn fetch(&self, resource: ApiResource) -> Value {
        self(resource)
    }
}

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

/// Ends all live views that are there.
pub(super) fn end_taps(dispatcher: &Dispatcher) {
    for handler in dispatcher.list_handlers("") {
        if handler.id.starts_with(TAP_ID) {
            dispatcher.detach(&handler.id);
        }
    }
}

/// An error as JSON.
pub(super) fn problem(status: StatusCode, what: &str) -> Response {
    (status, Json(json!({ "error": escape(what) }))).into_response()
}

/// The value with all its text escaped.
fn escaped(value: Value) -> Value {
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

/// What a viewer asks for.
#[derive(Deserialize)]
pub(super) struct TapQuery {
    /// The pattern of event names; everything by default.
    #[serde(rename = "match", default = "everything")]
    pattern: String,
}

fn everything() -> String {
    "*".to_owned()
}

/// Streams events as they are dispatched, one JSON object a line, until the viewer goes. Where events
/// were left out, a line `{"dropped":n}` says how many, between those before and those after them.
pub(super) async fn tap(State(state): State<HttpState>, Query(query): Query<TapQuery>) -> Response {
    let Some(slot) = Slot::take(&state.taps) else {
        let what = format!("{MAX_TAPS} viewers are the most at once; close another first");
        return problem(StatusCode::SERVICE_UNAVAILABLE, &what);
    };
    let (sender, events) = mpsc::channel(TAP_QUEUE);
    let dropped = Arc::new(AtomicU64::new(0));
    let lost = Arc::clone(&dropped);
    let id = format!("{TAP_ID}{}", slot.number);
    // Room first, copy then: a viewer that does not read costs two atomic operations an event.
    let handler = move |event: &EventRef<'_>| match sender.try_reserve() {
        Ok(room) => room.send(Seen {
            missed: lost.swap(0, Ordering::Relaxed),
            event: event.to_owned(),
        }),
        Err(_) => {
            lost.fetch_add(1, Ordering::Relaxed);
        }
    };
    match state.dispatcher.attach(&id, &query.pattern, handler) {
        Ok(()) => {}
        Err(error @ AttachError::AlreadyExists { .. }) => {
            return problem(StatusCode::CONFLICT, &error.to_string());
        }
        Err(error) => {
            // The viewer knows its pattern, not the name its handler was given here.
            let what = error.to_string();
            let what = what
                .strip_prefix(&format!("handler {id:?}: "))
                .unwrap_or(&what);
            return problem(StatusCode::BAD_REQUEST, what);
        }
    }
    let viewer = Viewer {
        dispatcher: state.dispatcher,
        id,
        _slot: slot,
    };
    let body = TapBody {
        events,
        dropped,
        _viewer: viewer,
    };
    (
        [(CONTENT_TYPE, "application/x-ndjson; charset=utf-8")],
        Body::new(body),
    )
        .into_response()
}

/// A viewer's place among the [`MAX_TAPS`]. Numbers are used again, so that the ids of the handlers
/// stay few.
struct Slot {
    taken: Arc<AtomicU32>,
    number: u32,
}

impl Slot {
    fn take(taken: &Arc<AtomicU32>) -> Option<Self> {
        let free = |bits: u32| {
            let number = bits.trailing_ones();
            (number < MAX_TAPS).then_some(bits | 1 << number.min(MAX_TAPS))
        };
        let before = taken
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, free)
            .ok()?;
        Some(Self {
            taken: Arc::clone(taken),
            number: before.trailing_ones(),
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.taken.fetch_and(!(1 << self.number), Ordering::AcqRel);
    }
}

/// Detaches the handler when the viewer goes, before its slot is free again.
struct Viewer {
    dispatcher: Dispatcher,
    id: String,
    _slot: Slot,
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.dispatcher.detach(&self.id);
    }
}

/// What waits for a viewer.
struct Seen {
    /// Events left out just before this one.
    missed: u64,
    event: Event,
}

/// The lines of one viewer.
struct TapBody {
    events: mpsc::Receiver<Seen>,
    /// Left out since the last event that got in.
    dropped: Arc<AtomicU64>,
    _viewer: Viewer,
}

impl http_body::Body for TapBody {
    type Data = Bytes;
    type Error = serde_json::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, serde_json::Error>>> {
        let seen = match self.events.poll_recv(context) {
            Poll::Ready(seen) => seen,
            // Its turn is over, with events still there.
            Poll::Pending if !self.events.is_empty() => return Poll::Pending,
            // All that got in was shown: what was left out since stands at the end.
            Poll::Pending => match self.dropped.swap(0, Ordering::Relaxed) {
                0 => return Poll::Pending,
                missed => return Poll::Ready(Some(Ok(Frame::data(gap(missed).into())))),
            },
        };
        let Some(Seen { missed, event }) = seen else {
            return Poll::Ready(None);
        };
        let mut lines = if missed > 0 {
            gap(missed)
        } else {
            String::new()
        };
        let line = serde_json::to_value(event).map(|event| escaped(event).to_string());
        Poll::Ready(Some(line.map(|line| {
            lines.push_str(&line);
            lines.push('\n');
            Frame::data(Bytes::from(lines))
        })))
    }
}

/// The line that stands for events that were left out.
fn gap(missed: u64) -> String {
    format!("{}\n", json!({ "dropped": missed }))
}
