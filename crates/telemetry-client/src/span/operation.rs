//! The names of a span: resolved once and kept, or looked up when it starts.
//!
//! Asks the backend for names and for nothing else; what a span emits is not decided here.

use std::borrow::Cow;
use std::sync::Arc;

use telemetry_core::{
    SpanId,
    catalog::NameError,
    emit::{OpenSlot, Recorder},
};

use super::SpanBuilder;
use crate::backend::SpanSites;
use crate::stall::thread_id;
use crate::telemetry::Telemetry;

/// An operation whose names are resolved once. Clones are the same operation.
///
/// A span of it costs no look-up, and no allocation as long as it carries at most four metadata
/// entries, all of them literals, and neither a correlation id nor measurements. While telemetry is
/// off, one load and a comparison tell so when it starts, before a clock is read or a sampling drawn.
///
/// ```
/// # let telemetry = telemetry_client::Telemetry::off();
/// let execution = telemetry.operation("tool.execution");
///
/// let span = execution.span().metadata("tool", "grep").start();
/// span.finish();
/// ```
#[derive(Debug, Clone)]
pub struct Operation {
    /// The names, or why they are none.
    names: Result<Resolved, Arc<Refused>>,
}

/// An operation with valid names. Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Resolved(Arc<Names>);

/// What clones share.
#[derive(Debug)]
struct Names {
    /// Where it is emitted.
    telemetry: Telemetry,
    /// Its three names.
    sites: SpanSites,
    /// Where its spans are listed while they are open, if anywhere.
    recorder: Option<Arc<Recorder>>,
    /// What it is called there.
    name: Box<str>,
}

/// A name that is none.
#[derive(Debug)]
struct Refused {
    /// Where its uses are counted.
    telemetry: Telemetry,
    /// What was asked for.
    name: Box<str>,
    /// What is wrong with it.
    error: NameError,
}

impl Operation {
    /// Resolves the three names.
    pub(crate) fn new(telemetry: &Telemetry, name: &str) -> Self {
        let names = Resolved::new(telemetry, name).map_err(|error| {
            Arc::new(Refused {
                telemetry: telemetry.clone(),
                name: name.into(),
                error,
            })
        });
        Self { names }
    }

    /// Begins a span of the operation; see [`Telemetry::span`].
    #[inline]
    pub fn span(&self) -> SpanBuilder<'_> {
        SpanBuilder::new(Origin::Operation(Cow::Borrowed(self)))
    }

    /// Why the name was refused, if it was. Such an operation drops and counts every span.
    #[must_use]
    pub fn error(&self) -> Option<&NameError> {
        self.names.as_ref().err().map(|refused| &refused.error)
    }
}

impl Resolved {
    /// Looks the three names up.
    fn new(telemetry: &Telemetry, name: &str) -> Result<Self, NameError> {
        let sites = telemetry.span_sites(name)?;
        let telemetry = telemetry.clone();
        Ok(Self(Arc::new(Names {
            recorder: telemetry.backend().recorder(),
            name: name.into(),
            telemetry,
            sites,
        })))
    }

    /// Where it is emitted.
    #[inline]
    pub(super) fn telemetry(&self) -> &Telemetry {
        &self.0.telemetry
    }

    /// Lists a span that began at `started` as open.
    #[inline]
    pub(super) fn list(&self, id: SpanId, started: u64) -> OpenSlot {
        let Some(recorder) = &self.0.recorder else {
            return OpenSlot::NONE;
        };
        let spans = recorder.open_spans();
        spans.open(&self.0.name, thread_id(), id.get(), started)
    }

    /// Lists it no more.
    #[inline]
    pub(super) fn unlist(&self, slot: OpenSlot) {
        if let Some(recorder) = &self.0.recorder {
            recorder.open_spans().close(slot);
        }
    }

    /// Its three names.
    #[inline]
    pub(super) fn sites(&self) -> &SpanSites {
        &self.0.sites
    }
}

/// What a span is a span of.
#[derive(Debug, Clone)]
pub(super) enum Origin<'a> {
    /// A name, looked up when the span starts.
    Name(Telemetry, Cow<'a, str>),
    /// An operation.
    Operation(Cow<'a, Operation>),
}

impl Origin<'_> {
    /// Whether it is known without a look-up that the span emits nothing.
    #[inline]
    pub(super) fn is_off(&self) -> bool {
        match self {
            Self::Name(..) => false,
            Self::Operation(operation) => operation
                .names
                .as_ref()
                .is_ok_and(|names| names.sites().start.is_off()),
        }
    }

    /// The names; if there are none, that is counted.
    #[inline]
    pub(super) fn resolve(&self) -> Option<Resolved> {
        match self {
            Self::Name(telemetry, name) => Resolved::new(telemetry, name).ok(),
            Self::Operation(operation) => match &operation.names {
                Ok(names) => Some(names.clone()),
                // Resolving it again counts it again.
                Err(refused) => Resolved::new(&refused.telemetry, &refused.name).ok(),
            },
        }
    }

    /// The same, borrowing nothing.
    pub(super) fn into_owned(self) -> Origin<'static> {
        match self {
            Self::Name(telemetry, name) => Origin::Name(telemetry, Cow::Owned(name.into_owned())),
            Self::Operation(operation) => Origin::Operation(Cow::Owned(operation.into_owned())),
        }
    }
}
