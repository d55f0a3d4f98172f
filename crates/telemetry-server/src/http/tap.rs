//! Live views: events as they are dispatched, for as long as the viewer stays.
//!
//! A viewer is a handler with a bounded queue; one that does not read is told what it missed and holds up nobody.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use http_body::Frame;
use serde_json::{Value, json};
use telemetry_core::catalog::{Catalog, EventSpec, Pattern};
use telemetry_core::{Event, EventRef, ValueRef};
use tokio::sync::mpsc;

use super::HttpState;
use super::answer::{Problem, escaped};
use super::query::Query;
use crate::api::{did_you_mean, spoken};
use crate::dispatch::{AttachError, Dispatcher};
use crate::pipeline::LearnedEvent;

/// Most live viewers at once.
pub const MAX_TAPS: u32 = 16;

/// Most events that wait for one viewer; what comes while it does not read is dropped and counted.
pub const TAP_QUEUE: usize = 1_024;

/// What the handlers of viewers are called, before a number.
const TAP_ID: &str = "http-tap-";

/// The kind of server-sent events.
const SSE: &str = "text/event-stream";

/// Ends all live views that are there.
pub(super) fn end_taps(dispatcher: &Dispatcher) {
    for handler in dispatcher.list_handlers("") {
        if handler.id.starts_with(TAP_ID) {
            dispatcher.detach(&handler.id);
        }
    }
}

/// How events are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    /// As the older API does: a line of JSON each, `dropped` where some are missing.
    Older,
    /// A line of JSON each, `lagged` where some are missing.
    Lines,
    /// Server-sent events; `lagged` and `warning` are events of their own.
    Sse,
}

impl Form {
    /// What begins with a word of its own, for a program that reads it.
    fn said(self, word: &str, value: &Value) -> String {
        match self {
            Self::Sse => format!("event: {word}\ndata: {value}\n\n"),
            Self::Older | Self::Lines => format!("{}\n", json!({ word: value })),
        }
    }

    /// What stands for events that were left out.
    fn gap(self, missed: u64) -> String {
        match self {
            Self::Older => self.said("dropped", &missed.into()),
            Self::Lines | Self::Sse => self.said("lagged", &missed.into()),
        }
    }

    fn event(self, event: &Value) -> String {
        match self {
            Self::Sse => format!("data: {event}\n\n"),
            Self::Older | Self::Lines => format!("{event}\n"),
        }
    }
}

/// Which events of those that match the pattern.
#[derive(Default)]
struct Filter {
    pool: Option<Pattern>,
    worker: Option<Pattern>,
    /// Keys, and what their value must be.
    wheres: Vec<(String, String)>,
}

impl Filter {
    fn of(query: &Query) -> Result<Self, Problem> {
        let pair = |text: &str| match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
            _ => Err(Problem::asked(format!(
                "where: {text:?} is not allowed; use key=value, such as tool=grep"
            ))),
        };
        Ok(Self {
            pool: query.pattern("pool")?,
            worker: query.pattern("worker")?,
            wheres: query.all("where").map(pair).collect::<Result<_, _>>()?,
        })
    }

    fn wants(&self, event: &EventRef<'_>) -> bool {
        let source = event.source();
        let is = |pattern: &Option<Pattern>, name: Option<&str>| {
            let matches = |pattern: &Pattern| pattern.matches(name.unwrap_or_default());
            pattern.as_ref().is_none_or(matches)
        };
        let holds = |(key, value): &(String, String)| {
            let metadata = || event.metadata(key).is_some_and(|it| it.as_str() == value);
            let measured = || match event.measurement(key) {
                Some(ValueRef::Int(number)) => number.to_string() == *value,
                Some(ValueRef::Float(number)) => value.parse() == Ok(number),
                Some(ValueRef::Str(text)) => text == value,
                None => false,
            };
            metadata() || measured()
        };
        is(&self.pool, source.pool_name.as_deref())
            && is(&self.worker, source.worker_id.as_deref())
            && self.wheres.iter().all(holds)
    }
}

/// The older live view: one JSON object a line, until the viewer goes. Where events were left out, a line
/// `{"dropped":n}` says how many, between those before and those after them.
pub(super) async fn tap(State(state): State<HttpState>, uri: Uri) -> Response {
    let open = || {
        let query = Query::parse(uri.query().unwrap_or_default(), &["match"])?;
        let pattern = query.get("match").unwrap_or("*");
        open(&state, &[pattern], Filter::default(), Form::Older, None)
    };
    open().unwrap_or_else(Problem::into_response)
}

/// The live view of version 1: lines, or server-sent events for who accepts those.
pub(super) fn open_v1(
    state: &HttpState,
    headers: &HeaderMap,
    query: &Query,
) -> Result<Response, Problem> {
    let accept = headers.get(ACCEPT).and_then(|it| it.to_str().ok());
    let form = match accept {
        Some(accept) if accept.contains(SSE) => Form::Sse,
        _ => Form::Lines,
    };
    let filter = Filter::of(query)?;
    let pattern = query.get("match").unwrap_or("*");
    let learned = state.source.manager().map(|it| it.learned().list());
    let learned = learned.unwrap_or_default();
    let (patterns, warning) = meant(pattern, state.dispatcher.catalog(), &learned)?;
    let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
    let warning = warning.map(|warning| form.said("warning", &warning.into()));
    open(state, &patterns, filter, form, warning)
}

/// The event names that somebody means who wrote this over wire names, or over event names with or without their
/// first words; and what to say if no known event is among them.
fn meant(
    text: &str,
    catalog: &Catalog,
    learned: &[LearnedEvent],
) -> Result<(Vec<String>, Option<String>), Problem> {
    let pattern = Pattern::new(text).map_err(|error| Problem::asked(format!("match: {error}")))?;
    fn names(event: &EventSpec) -> impl Iterator<Item = &str> {
        spoken(&event.name, event.wire_name.as_deref())
    }
    if Pattern::is_exact(text) {
        let is_it = |event: &&EventSpec| names(event).any(|name| name == text);
        let event = catalog.events().iter().find(is_it);
        let known = event.map(|event| event.name.to_string());
        let is_own =
            |it: &&LearnedEvent| spoken(&it.name, Some(&it.wire_name)).any(|name| name == text);
        let own = || learned.iter().find(is_own).map(|it| it.name.clone());
        if let Some(name) = known.or_else(own) {
            return Ok((vec![name], None));
        }
        let hint = did_you_mean(text, catalog.events().iter().flat_map(names));
        let wire_name = text.strip_prefix("snakepit.python.").unwrap_or(text);
        let own = catalog.learned(wire_name).filter(|_| hint.is_empty());
        let problem = format!("the catalog has no event {text:?}{hint}");
        return match own {
            // It may come.
            Some(own) => Ok((vec![own.name.to_string()], Some(problem))),
            None => Err(Problem::asked(problem)),
        };
    }
    let prefixes = ["", "snakepit.", "snakepit.python."];
    let patterns = prefixes.map(|prefix| format!("{prefix}{text}")).into();
    let matches = |event: &EventSpec| names(event).any(|name| pattern.matches(name));
    let is_own =
        |it: &LearnedEvent| spoken(&it.name, Some(&it.wire_name)).any(|name| pattern.matches(name));
    if catalog.events().iter().any(matches) || learned.iter().any(is_own) {
        return Ok((patterns, None));
    }
    let begin = text.split(['*', '?', '[', '{']).next().unwrap_or_default();
    let begin = begin.trim_end_matches('.');
    let segments = begin.split('.').count();
    let cut = |name: &str| name.split('.').take(segments).collect::<Vec<_>>().join(".");
    let begins: Vec<String> = catalog.events().iter().flat_map(names).map(cut).collect();
    let hint = did_you_mean(begin, begins.iter().map(String::as_str));
    let warning = format!("no event of the catalog matches {text:?}{hint}");
    Ok((patterns, Some(warning)))
}

/// Streams events as they are dispatched. What is to be said first comes first.
fn open(
    state: &HttpState,
    patterns: &[&str],
    filter: Filter,
    form: Form,
    first: Option<String>,
) -> Result<Response, Problem> {
    let slot = Slot::take(&state.taps).ok_or_else(|| {
        let what = format!("{MAX_TAPS} viewers are the most at once; close another first");
        Problem(StatusCode::SERVICE_UNAVAILABLE, what)
    })?;
    let (sender, events) = mpsc::channel(TAP_QUEUE);
    let dropped = Arc::new(AtomicU64::new(0));
    let lost = Arc::clone(&dropped);
    let id = format!("{TAP_ID}{}", slot.number);
    // Room first, copy then: a viewer that does not read costs two atomic operations an event.
    let handler = move |event: &EventRef<'_>| {
        if !filter.wants(event) {
            return;
        }
        match sender.try_reserve() {
            Ok(room) => room.send(Seen {
                missed: lost.swap(0, Ordering::Relaxed),
                event: event.to_owned(),
            }),
            Err(_) => {
                lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    let attached = match form {
        Form::Older => state.dispatcher.attach_many(&id, patterns, handler),
        // Whether there are such events was looked at before.
        Form::Lines | Form::Sse => {
            let compiled: Result<Vec<_>, _> = patterns.iter().map(|it| Pattern::new(it)).collect();
            let compiled = compiled.map_err(|error| Problem::asked(format!("match: {error}")))?;
            state.dispatcher.attach_compiled(&id, compiled, handler)
        }
    };
    match attached {
        Ok(()) => {}
        Err(error @ AttachError::AlreadyExists { .. }) => {
            return Err(Problem(StatusCode::CONFLICT, error.to_string()));
        }
        Err(error) => {
            // The viewer knows its pattern, not the name its handler was given here.
            let what = error.to_string();
            let what = what
                .strip_prefix(&format!("handler {id:?}: "))
                .unwrap_or(&what);
            return Err(Problem::asked(what));
        }
    }
    let viewer = Viewer {
        dispatcher: state.dispatcher.clone(),
        id,
        _slot: slot,
    };
    let body = TapBody {
        events,
        dropped,
        form,
        first,
        _viewer: viewer,
    };
    let kind = match form {
        Form::Sse => SSE,
        Form::Older | Form::Lines => "application/x-ndjson; charset=utf-8",
    };
    Ok(([(CONTENT_TYPE, kind)], Body::new(body)).into_response())
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
    form: Form,
    /// What comes before all events.
    first: Option<String>,
    _viewer: Viewer,
}

impl http_body::Body for TapBody {
    type Data = Bytes;
    type Error = serde_json::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, serde_json::Error>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first.into()))));
        }
        let form = self.form;
        let seen = match self.events.poll_recv(context) {
            Poll::Ready(seen) => seen,
            // Its turn is over, with events still there.
            Poll::Pending if !self.events.is_empty() => return Poll::Pending,
            // All that got in was shown: what was left out since stands at the end.
            Poll::Pending => match self.dropped.swap(0, Ordering::Relaxed) {
                0 => return Poll::Pending,
                missed => return Poll::Ready(Some(Ok(Frame::data(form.gap(missed).into())))),
            },
        };
        let Some(Seen { missed, event }) = seen else {
            return Poll::Ready(None);
        };
        let mut lines = if missed > 0 {
            form.gap(missed)
        } else {
            String::new()
        };
        let event = serde_json::to_value(event).map(escaped);
        Poll::Ready(Some(event.map(|event| {
            lines.push_str(&form.event(&event));
            Frame::data(Bytes::from(lines))
        })))
    }
}
