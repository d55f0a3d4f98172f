//! The owned event, for queues, tests and anything that outlives a handler's call.
//!
//! It is a finished copy: enrichment has happened, nothing points back to the catalog or the wire.

use std::sync::Arc;

use serde::Serialize;
use serde::ser::{SerializeStruct, Serializer};

use super::EventOrigin;
use crate::correlation::SpanContext;
use crate::value::{Value, ValueRef};

/// Fields of a live event without a span, written out.
pub(super) const JSON_FIELDS: usize = 6;

/// One event that owns its parts; metadata is already enriched.
///
/// Serializes as an object with `measurements` and `metadata` as objects in their order.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct Event {
    /// The event name: `snakepit.python.tool.execution.stop`.
    pub name: Arc<str>,
    /// Measurements in the order they were given.
    pub measurements: Vec<(String, Value)>,
    /// Enriched metadata: what the manager knew, then the emitter's in its order.
    pub metadata: Vec<(String, String)>,
    /// Wall clock of the emitter, nanoseconds since the Unix epoch; 0 = not given.
    pub timestamp_ns: i64,
    /// Ties events of one job together; empty = none.
    pub correlation_id: String,
    /// The probability with which the event was kept, in (0, 1].
    pub sampling_rate: f64,
    /// The span it begins, ends or happened in; written out only where there is one.
    pub span: Option<SpanContext>,
    /// Whether no catalog has it; written out only of those that were learned.
    pub learned: bool,
    /// How it came to the manager; written out only of those that did not come live.
    pub origin: EventOrigin,
}

impl Event {
    /// A live event of this name, without anything else in it.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            measurements: Vec::new(),
            metadata: Vec::new(),
            timestamp_ns: 0,
            correlation_id: String::new(),
            sampling_rate: 1.0,
            span: None,
            learned: false,
            origin: EventOrigin::Live,
        }
    }

    /// The event name as text.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The measurement under `key`.
    #[must_use]
    pub fn measurement(&self, key: &str) -> Option<ValueRef<'_>> {
        self.measurements
            .iter()
            .find(|(known, _)| known == key)
            .map(|(_, value)| value.as_ref())
    }

    /// The metadata under `key`.
    #[must_use]
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata
            .iter()
            .find(|(known, _)| known == key)
            .map(|(_, value)| value.as_str())
    }
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let measurements = || self.measurements.iter().map(|(key, value)| (key, value));
        let metadata = || self.metadata.iter().map(|(key, value)| (key, value));
        let is_live = self.origin == EventOrigin::Live;
        let more = [self.span.is_some(), self.learned, !is_live];
        let fields = JSON_FIELDS + more.into_iter().filter(|it| *it).count();
        let mut event = serializer.serialize_struct("Event", fields)?;
        event.serialize_field("name", &*self.name)?;
        event.serialize_field("measurements", &AsMap(measurements))?;
        event.serialize_field("metadata", &AsMap(metadata))?;
        event.serialize_field("timestamp_ns", &self.timestamp_ns)?;
        event.serialize_field("correlation_id", &self.correlation_id)?;
        event.serialize_field("sampling_rate", &self.sampling_rate)?;
        if let Some(span) = &self.span {
            event.serialize_field("span", span)?;
        }
        if self.learned {
            event.serialize_field("learned", &true)?;
        }
        if !is_live {
            event.serialize_field("origin", &self.origin)?;
        }
        event.end()
    }
}

/// Writes the pairs an iterator gives as one map.
pub(super) struct AsMap<F>(pub(super) F);

impl<F, I, K, V> Serialize for AsMap<F>
where
    F: Fn() -> I,
    I: Iterator<Item = (K, V)>,
    K: Serialize,
    V: Serialize,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map((self.0)())
    }
}
