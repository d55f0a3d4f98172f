//! Events of our own: those of the manager, of its host program and of the dispatcher.
//!
//! This room makes events out of names and fields and stamps them. Events of workers never come
//! through here; they come from a pipeline that has checked them.

use std::sync::Arc;

use telemetry_core::{EventParts, EventRef, Source, ValueRef, catalog::Origin};
use thiserror::Error;

use super::attach::suggest;
use super::isolate::Failure;
use super::table::Entry;
use super::{Dispatcher, Shared};

/// The event that reports a failed handler.
const HANDLER_FAILURE: &str = "telemetry.handler.failure";

/// Why an event of our own was not dispatched.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum EmitError {
    /// The catalog has no such event.
    #[error(
        "the catalog has no event {name:?}{}",
        suggestion.as_ref().map(|name| format!("; did you mean {name:?}?")).unwrap_or_default()
    )]
    UnknownEvent {
        /// The name.
        name: String,
        /// The event that was probably meant.
        suggestion: Option<String>,
    },
    /// The event is one that only workers emit.
    #[error(
        "{name:?} is an event of workers; the manager, its host or the dispatcher cannot emit it"
    )]
    WorkerEvent {
        /// The name.
        name: String,
    },
    /// The catalog has no such measurement key.
    #[error("{name:?}: the catalog has no measurement key {key:?}")]
    UnknownMeasurement {
        /// The name of the event.
        name: String,
        /// The key.
        key: String,
    },
}

impl Dispatcher {
    /// Dispatches an event of the manager, its host or the dispatcher, from this node, now.
    ///
    /// `name` is the event name (`snakepit.pool.status`). A metadata entry `correlation_id` is also
    /// the event's correlation id. Runs inline handlers on the caller.
    ///
    /// # Errors
    ///
    /// [`EmitError`] when the catalog does not have the event or a measurement key, or when it is an
    /// event of workers; nothing is dispatched then.
    pub fn emit_own(
        &self,
        name: &str,
        measurements: &[(&str, ValueRef<'_>)],
        metadata: &[(&str, &str)],
    ) -> Result<(), EmitError> {
        self.emit_for(self.own_source(), name, measurements, metadata)
    }

    /// As [`emit_own`](Self::emit_own), about a pool or a worker: `source` says which, and its
    /// names appear in the metadata.
    ///
    /// # Errors
    ///
    /// As [`emit_own`](Self::emit_own).
    pub fn emit_for(
        &self,
        source: &Source,
        name: &str,
        measurements: &[(&str, ValueRef<'_>)],
        metadata: &[(&str, &str)],
    ) -> Result<(), EmitError> {
        let catalog = self.catalog();
        let Some(spec) = catalog.by_name(name) else {
            let suggestion = suggest(name, catalog);
            return Err(EmitError::UnknownEvent {
                name: name.to_owned(),
                suggestion,
            });
        };
        if spec.origin == Origin::Worker {
            return Err(EmitError::WorkerEvent {
                name: name.to_owned(),
            });
        }
        let unknown = measurements
            .iter()
            .find(|(key, _)| catalog.measurement_key(key).is_none());
        if let Some((key, _)) = unknown {
            let (name, key) = (name.to_owned(), (*key).to_owned());
            return Err(EmitError::UnknownMeasurement { name, key });
        }
        self.execute(&EventRef::new(EventParts {
            spec,
            measurements,
            metadata,
            timestamp_ns: self.clock().unix_nanos(),
            correlation_id: "",
            sampling_rate: 1.0,
            span: None,
            source,
        }));
        Ok(())
    }
}

impl Shared {
    /// Makes the event that reports `failure` and gives it to `then`. A catalog that was built
    /// without the built-in events has no such event; the failure is only logged then.
    pub(super) fn with_failure_event(
        &self,
        entry: &Arc<Entry>,
        failure: &Failure,
        then: impl FnOnce(&EventRef<'_>),
    ) {
        let Some(spec) = self.catalog.by_name(HANDLER_FAILURE) else {
            return;
        };
        let now = self.clock.unix_nanos();
        let attached_for = self
            .clock
            .monotonic_nanos()
            .saturating_sub(entry.attached_at);
        let measurements = [
            ("system_time", ValueRef::Int(now)),
            ("duration", ValueRef::from(attached_for)),
        ];
        let metadata = [
            ("handler_id", &*entry.id),
            ("event_name", failure.event_name.as_str()),
            ("kind", failure.kind.as_str()),
            ("reason", failure.reason.as_str()),
        ];
        then(&EventRef::new(EventParts {
            spec,
            measurements: &measurements,
            metadata: &metadata,
            timestamp_ns: now,
            correlation_id: "",
            sampling_rate: 1.0,
            span: None,
            source: &self.own,
        }));
    }
}
