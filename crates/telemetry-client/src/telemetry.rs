//! The handle a program emits through.
//!
//! It adds names, clocks and lifetimes to a [`Backend`] and nothing else: what happens to an event
//! is the backend's business.

use std::sync::Arc;
use std::time::Duration;

use telemetry_core::{
    Clock, Outcome, SystemClock, ValueRef,
    catalog::NameError,
    emit::{Callsite, Fields, Recorder, Switch, Threshold},
    ledger::WorkerSnapshot,
};

use crate::backend::{Backend, Draw, NoopBackend, Site, SpanSites};
use crate::context::tied;
use crate::region::RegionKind;

/// A program's telemetry. Clones are the same telemetry.
///
/// ```
/// # use std::sync::Arc;
/// # use std::time::Duration;
/// use telemetry_client::{Telemetry, backend::MemoryBackend};
/// use telemetry_core::{SystemClock, emit::RecorderConfig};
///
/// let clock = Arc::new(SystemClock::new());
/// let memory = Arc::new(MemoryBackend::new(RecorderConfig::default(), clock)?);
/// let telemetry = Telemetry::builder().backend(memory.clone()).build();
///
/// telemetry.emit("tool.result_size", &[("bytes", 512.into())], &[("tool", "grep")], "");
///
/// assert_eq!(memory.take()[0].metadata("tool"), Some("grep"));
/// assert_eq!(telemetry.shutdown(Duration::ZERO).emitted, 1);
/// # Ok::<(), telemetry_core::wire::ControlError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Telemetry {
    /// Shared by all clones.
    inner: Arc<Inner>,
}

/// What clones share.
#[derive(Debug)]
struct Inner {
    /// Where events go.
    backend: Arc<dyn Backend>,
    /// Measures spans.
    clock: Arc<dyn Clock>,
}

/// Sets up a [`Telemetry`].
#[derive(Debug, Default)]
pub struct TelemetryBuilder {
    /// Where events go; nowhere if unset.
    backend: Option<Arc<dyn Backend>>,
    /// Measures spans; the system's clock if unset.
    clock: Option<Arc<dyn Clock>>,
}

impl TelemetryBuilder {
    /// Where events go.
    #[must_use]
    pub fn backend(mut self, backend: Arc<dyn Backend>) -> Self {
        self.backend = Some(backend);
        self
    }

    /// What measures spans and stamps their starts. Other timestamps come from the backend's own
    /// clock.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// The telemetry. Without a backend it emits nothing.
    #[must_use]
    pub fn build(self) -> Telemetry {
        let backend = self.backend.unwrap_or_else(|| Arc::new(NoopBackend));
        let clock = self.clock.unwrap_or_else(|| Arc::new(SystemClock::new()));
        Telemetry {
            inner: Arc::new(Inner { backend, clock }),
        }
    }
}

impl Telemetry {
    /// Starts with nothing set.
    #[must_use]
    pub fn builder() -> TelemetryBuilder {
        TelemetryBuilder::default()
    }

    /// Telemetry that emits nothing.
    #[must_use]
    pub fn off() -> Self {
        Self::builder().build()
    }

    /// Emits one event under its wire name. Never blocks, never panics (after a manager's `drain` it
    /// waits a bounded time until it is written); what becomes of the event is
    /// in the outcome and in the ledger. It carries the identity of the [current span](crate::current_span),
    /// and its correlation id if it is given none itself.
    pub fn emit(
        &self,
        name: &str,
        measurements: &[(&str, ValueRef<'_>)],
        metadata: &[(&str, &str)],
        correlation_id: &str,
    ) -> Outcome {
        tied(correlation_id, |correlation_id, span| {
            let fields = Fields {
                measurements,
                metadata,
                correlation_id,
                span,
                timestamp_ns: None,
            };
            self.emit_fields(name, &fields)
        })
    }

    /// Resolves a name once, for events that are emitted often.
    #[must_use]
    pub fn event(&self, name: &str) -> EventHandle {
        let site = self.inner.backend.resolve(name);
        let direct = match &site {
            Ok(Site::One(site)) => {
                let recorder = self.inner.backend.recorder();
                recorder.map(|recorder| (recorder, Arc::clone(site)))
            }
            _ => None,
        };
        EventHandle {
            switch: switch_of(&site),
            direct,
            site,
            name: name.into(),
            telemetry: self.clone(),
        }
    }

    /// Waits until every event emitted so far has left the worker: with a stream, until it is in the
    /// socket. False if that took longer, or at once if there is no stream to send it on.
    pub fn flush(&self, timeout: Duration) -> bool {
        self.inner.backend.flush(timeout)
    }

    /// [`flush`](Self::flush), and waits until the manager has taken responsibility for all of it: from
    /// then on no cut of the stream can lose it. False if that took longer, or the manager
    /// acknowledges nothing.
    pub fn flush_acknowledged(&self, timeout: Duration) -> bool {
        self.inner.backend.flush_acknowledged(timeout)
    }

    /// Where what was not sent lies: whether a manager can still read it when this process has been killed.
    #[must_use]
    pub fn region(&self) -> RegionKind {
        self.inner.backend.region()
    }

    /// Ends telemetry: takes no more events, lets queued ones go and drops the rest at the deadline
    /// as `shutdown_deadline`. Works with a full queue. A second call changes nothing. Returns the
    /// ledger.
    pub fn shutdown(&self, timeout: Duration) -> WorkerSnapshot {
        self.inner.backend.shutdown(timeout)
    }

    /// Reads the ledger.
    #[must_use]
    pub fn ledger(&self) -> WorkerSnapshot {
        self.inner.backend.ledger()
    }

    /// Where events go.
    #[must_use]
    pub fn backend(&self) -> &Arc<dyn Backend> {
        &self.inner.backend
    }

    /// What measures spans.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.inner.clock
    }

    /// Emits one event with everything it can carry.
    pub fn emit_fields(&self, name: &str, fields: &Fields<'_>) -> Outcome {
        match self.inner.backend.resolve(name) {
            Ok(site) => self.record(&site, Draw::Own, fields),
            Err(error) => refused(&error),
        }
    }

    /// The three names of a span.
    pub(crate) fn span_sites(&self, operation: &str) -> Result<SpanSites, NameError> {
        SpanSites::resolve(&*self.inner.backend, operation)
    }

    /// Records one event.
    pub(crate) fn record(&self, site: &Site, draw: Draw<'_>, fields: &Fields<'_>) -> Outcome {
        self.inner.backend.record(site, draw, fields)
    }
}

/// Emits through an [`EventHandle`] and looks at nothing else while telemetry is off: the arguments
/// of [`EventHandle::emit`] are not even evaluated.
///
/// ```
/// use telemetry_client::{Telemetry, emit};
/// use telemetry_core::Outcome;
///
/// let handle = Telemetry::off().event("tool.result_size");
/// let size = || -> i64 { unreachable!("nobody asks") };
/// let outcome = emit!(handle, &[("bytes", size().into())], &[("tool", "grep")], "");
/// assert_eq!(outcome, Outcome::Off);
/// ```
#[macro_export]
macro_rules! emit {
    ($handle:expr, $measurements:expr, $metadata:expr, $correlation_id:expr $(,)?) => {{
        let handle = &$handle;
        if handle.is_off() {
            $crate::Outcome::Off
        } else {
            handle.emit($measurements, $metadata, $correlation_id)
        }
    }};
}

/// One event name, resolved once.
#[derive(Debug, Clone)]
pub struct EventHandle {
    /// Whether the name is toggled off.
    switch: Arc<Switch>,
    /// The recorder behind the backend and the name there, if there is nothing between them.
    direct: Option<(Arc<Recorder>, Arc<Callsite>)>,
    /// The name as the backend knows it, or why it is none.
    site: Result<Site, NameError>,
    /// The name, to count every use of one that is refused.
    name: Box<str>,
    /// Where it is emitted.
    telemetry: Telemetry,
}

impl EventHandle {
    /// Emits one event. While telemetry is off it costs one load and a comparison.
    #[inline]
    pub fn emit(
        &self,
        measurements: &[(&str, ValueRef<'_>)],
        metadata: &[(&str, &str)],
        correlation_id: &str,
    ) -> Outcome {
        if self.switch.is_off() {
            return Outcome::Off;
        }
        self.emit_enabled(measurements, metadata, correlation_id)
    }

    /// Whether events of this name are toggled off right now, at the cost of one load. A handle that
    /// cannot tell at once, as that of a composite backend, says no.
    #[must_use]
    #[inline]
    pub fn is_off(&self) -> bool {
        self.switch.is_off()
    }

    /// The rest of [`emit`](Self::emit), apart so that the test before it is inlined alone. Called cold,
    /// which it need not be, so that the compiler keeps all of it out of the way of that test.
    #[cold]
    #[inline(never)]
    fn emit_enabled(
        &self,
        measurements: &[(&str, ValueRef<'_>)],
        metadata: &[(&str, &str)],
        correlation_id: &str,
    ) -> Outcome {
        tied(correlation_id, |correlation_id, span| {
            let fields = Fields {
                measurements,
                metadata,
                correlation_id,
                span,
                timestamp_ns: None,
            };
            if let Some((recorder, site)) = &self.direct {
                return recorder.record(site, &fields);
            }
            match &self.site {
                Ok(site) => self.telemetry.record(site, Draw::Own, &fields),
                // Resolving it again counts it again.
                Err(_) => self.telemetry.emit_fields(&self.name, &fields),
            }
        })
    }

    /// Why the name was refused, if it was. Such a handle drops and counts every event.
    #[must_use]
    pub fn error(&self) -> Option<&NameError> {
        self.site.as_ref().err()
    }
}

/// What tells whether events at a site are off. Only a backend can tell it of a composite and of a
/// name that is none, so theirs never says so.
fn switch_of(site: &Result<Site, NameError>) -> Arc<Switch> {
    match site {
        Ok(Site::One(site)) => Arc::clone(site.switch()),
        Ok(Site::Nowhere) => Arc::new(Switch::fixed(Threshold::OFF)),
        Ok(Site::Many(_)) | Err(_) => Arc::new(Switch::fixed(Threshold::KEEP)),
    }
}

/// The outcome of an event whose name is none; the backend has counted it.
fn refused(error: &NameError) -> Outcome {
    tracing::debug!(%error, "an event was dropped");
    Outcome::Dropped(telemetry_core::ledger::Reason::InvalidName)
}
