//! The wall between a handler and everybody else: whatever a handler does, the caller goes on.
//!
//! This is the only place that calls handlers. It turns a panic or an error into a [`Failure`]; what
//! follows from one is the dispatcher's business.

use std::any::Any;
use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use telemetry_core::{
    EventRef,
    catalog::{escape, truncate},
    ledger::Reason,
};

use super::handler::{Handler, HandlerError};

/// Longest reason that is reported, in bytes.
const MAX_REASON_BYTES: usize = 512;

/// How a handler failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum FailureKind {
    /// It panicked.
    Panic,
    /// It returned an error.
    Error,
}

impl FailureKind {
    /// The word under `kind` in `telemetry.handler.failure`.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::Error => "error",
        }
    }

    /// The reason under which its events are counted.
    pub(super) fn reason(self) -> Reason {
        match self {
            Self::Panic => Reason::ExporterPanicked,
            Self::Error => Reason::ExporterError,
        }
    }
}

/// The end of a handler.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) kind: FailureKind,
    /// The panic's or the error's text, escaped and cut.
    pub(super) reason: String,
    /// The event it failed on.
    pub(super) event_name: String,
}

/// Calls `handler`. Nothing it does unwinds through here, not even dropping its panic's payload.
pub(super) fn call(handler: &dyn Handler, event: &EventRef<'_>) -> Result<(), Failure> {
    // A handler that panicked is never called again, so no one sees what state it left behind.
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        handler.handle(event).map_err(|error| error_text(&error))
    }));
    let (kind, text) = match outcome {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(text)) => (FailureKind::Error, text),
        Err(payload) => (FailureKind::Panic, panic_text(payload)),
    };
    let reason = escape(truncate(&text, MAX_REASON_BYTES)).into_owned();
    Err(Failure {
        kind,
        reason,
        event_name: event.name().to_owned(),
    })
}

/// The error and what caused it, as one line.
fn error_text(error: &HandlerError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
        if text.len() > MAX_REASON_BYTES {
            break;
        }
    }
    text
}

fn panic_text(payload: Box<dyn Any + Send>) -> String {
    let text = match (
        payload.downcast_ref::<&str>(),
        payload.downcast_ref::<String>(),
    ) {
        (Some(text), _) => Cow::Borrowed(*text),
        (None, Some(text)) => Cow::Borrowed(text.as_str()),
        (None, None) => Cow::Borrowed("panicked with something that is no text"),
    }
    .into_owned();
    // A payload's destructor is the handler's code too. What it throws in turn is let go.
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(again);
    }
    text
}
