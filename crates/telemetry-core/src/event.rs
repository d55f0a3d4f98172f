//! One event: the borrowed view that handlers get, and the owned copy for those that keep it.
//!
//! The view is where what the manager knows meets what the worker claims (see [`EventRef`]), so
//! that no copy of the metadata has to be made to enrich it. This room knows values and the
//! catalog; it does not decode, sanitize or judge, and it never allocates unless asked to own.

mod metadata;
mod owned;

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::ser::{SerializeStruct, Serializer};

use crate::correlation::SpanContext;
use crate::table::{EventId, EventSpec};
use crate::value::ValueRef;

pub use metadata::{MetadataIter, MetadataValue};
pub use owned::Event;

/// How an event came to the manager.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventOrigin {
    /// From its worker, while that lived.
    #[default]
    Live,
    /// From the memory that its worker left when it died.
    Recovered,
}

/// Who the manager says an event is from.
///
/// What is `None` (or, for `node`, empty) the manager does not know, and what the event itself
/// claims stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Source {
    /// The machine or manager identity.
    pub node: Arc<str>,
    /// The pool of the worker.
    pub pool_name: Option<Arc<str>>,
    /// The id under which the worker is registered.
    pub worker_id: Option<Arc<str>>,
    /// The process id of the worker.
    pub python_pid: Option<u32>,
    /// How its events came here.
    pub origin: EventOrigin,
}

impl Source {
    /// A source of which only the node is known: the manager itself, or its host program.
    #[must_use]
    pub fn of_node(node: impl Into<Arc<str>>) -> Self {
        Self {
            node: node.into(),
            pool_name: None,
            worker_id: None,
            python_pid: None,
            origin: EventOrigin::Live,
        }
    }
}

/// What an [`EventRef`] is made of.
#[derive(Clone, Copy, Debug)]
pub struct EventParts<'a> {
    /// The event, as the catalog knows it.
    pub spec: &'a EventSpec,
    /// Measurements in the order they were given; keys are unique.
    pub measurements: &'a [(&'a str, ValueRef<'a>)],
    /// Metadata as its emitter gave it, before enrichment; keys are unique.
    pub metadata: &'a [(&'a str, &'a str)],
    /// Wall clock of the emitter, nanoseconds since the Unix epoch; 0 = not given.
    pub timestamp_ns: i64,
    /// Ties events of one job together; empty = none.
    pub correlation_id: &'a str,
    /// The probability with which the event was kept, in (0, 1]; 1 = not sampled.
    pub sampling_rate: f64,
    /// The span it begins, ends or happened in.
    pub span: Option<&'a SpanContext>,
    /// Who the manager says the event is from.
    pub source: &'a Source,
}

/// One event as handlers see it: borrowed, and enriched with what the manager knows.
///
/// Copying it is free and nothing in it allocates, except [`to_owned`](Self::to_owned). It is only
/// good while the handler runs; a handler that keeps an event owns it.
///
/// # Enrichment
///
/// Metadata holds, besides what the emitter gave, `node`, `pool_name`, `worker_id`, `python_pid`,
/// `timestamp_ns` and `correlation_id`. What the manager knows overrides what the emitter claims
/// under the same key; what the manager does not know overrides nothing.
#[derive(Clone, Copy)]
pub struct EventRef<'a> {
    parts: EventParts<'a>,
}

impl<'a> EventRef<'a> {
    /// A view of `parts`.
    #[must_use]
    pub fn new(parts: EventParts<'a>) -> Self {
        Self { parts }
    }

    /// The event name: `snakepit.python.tool.execution.stop`.
    #[must_use]
    pub fn name(&self) -> &'a str {
        &self.parts.spec.name
    }

    /// The event's id in the catalog it was looked up in.
    #[must_use]
    pub fn id(&self) -> EventId {
        self.parts.spec.id
    }

    /// What the catalog says about the event.
    #[must_use]
    pub fn spec(&self) -> &'a EventSpec {
        self.parts.spec
    }

    /// Whether no catalog has the event: it was learned from workers, and so is what its keys mean.
    #[must_use]
    pub fn is_learned(&self) -> bool {
        self.parts.spec.is_learned()
    }

    /// Wall clock of the emitter, nanoseconds since the Unix epoch; 0 = not given.
    #[must_use]
    pub fn timestamp_ns(&self) -> i64 {
        self.parts.timestamp_ns
    }

    /// The correlation id: the event's own, else what its metadata has under `correlation_id`, else
    /// empty.
    #[must_use]
    pub fn correlation_id(&self) -> &'a str {
        if self.parts.correlation_id.is_empty() {
            self.claimed(metadata::CORRELATION_ID).unwrap_or_default()
        } else {
            self.parts.correlation_id
        }
    }

    /// The probability with which the event was kept, in (0, 1]. A count over kept events estimates
    /// the count over all by adding 1 / rate for each.
    #[must_use]
    pub fn sampling_rate(&self) -> f64 {
        self.parts.sampling_rate
    }

    /// The span that the event begins, ends or happened in, where its emitter told one.
    #[must_use]
    pub fn span(&self) -> Option<&'a SpanContext> {
        self.parts.span
    }

    /// Who the manager says the event is from.
    #[must_use]
    pub fn source(&self) -> &'a Source {
        self.parts.source
    }

    /// The measurement under `key`.
    #[must_use]
    pub fn measurement(&self, key: &str) -> Option<ValueRef<'a>> {
        let mut measurements = self.parts.measurements.iter();
        let found = measurements.find(|(known, _)| is_same_text(known, key));
        found.map(|(_, value)| *value)
    }

    /// All measurements in the order they were given.
    pub fn measurements(&self) -> impl ExactSizeIterator<Item = (&'a str, ValueRef<'a>)> + use<'a> {
        self.parts.measurements.iter().copied()
    }

    /// The enriched metadata under `key`. Compare it with `as_deref`:
    /// `event.metadata("tool").as_deref() == Some("search")`.
    #[must_use]
    pub fn metadata(&self, key: &str) -> Option<MetadataValue<'a>> {
        metadata::known(&self.parts, key).or_else(|| self.claimed(key).map(MetadataValue::Text))
    }

    /// All metadata, each key once: first what the manager knows, then the emitter's in its order.
    #[must_use]
    pub fn metadata_iter(&self) -> MetadataIter<'a> {
        MetadataIter::new(self.parts)
    }

    /// How the event came to the manager.
    #[must_use]
    pub fn origin(&self) -> EventOrigin {
        self.parts.source.origin
    }

    /// A copy that owns everything, its metadata enriched.
    #[must_use]
    pub fn to_owned(&self) -> Event {
        Event {
            name: Arc::clone(&self.parts.spec.name),
            measurements: self
                .measurements()
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
            metadata: self
                .metadata_iter()
                .map(|(key, value)| (key.to_owned(), value.as_str().to_owned()))
                .collect(),
            timestamp_ns: self.timestamp_ns(),
            correlation_id: self.correlation_id().to_owned(),
            sampling_rate: self.sampling_rate(),
            span: self.span().copied(),
            learned: self.is_learned(),
            origin: self.origin(),
        }
    }

    /// What the emitter gave under `key`, whatever the manager knows.
    #[must_use]
    pub fn claimed(&self, key: &str) -> Option<&'a str> {
        let mut metadata = self.parts.metadata.iter();
        let found = metadata.find(|(known, _)| is_same_text(known, key));
        found.map(|(_, value)| *value)
    }
}

/// Whether two texts are equal; made for keys and labels, which are short and often the same text.
///
/// Known keys off the wire are the catalog's own texts, and so are those that most handlers ask for:
/// equal ones then are seen at once. Others are compared word by word, which for a few bytes is much
/// cheaper than a call of `memcmp`, whose wide loads also wait for stores to whatever lies beside.
#[must_use]
#[inline]
pub fn is_same_text(one: &str, other: &str) -> bool {
    if one.len() != other.len() {
        return false;
    }
    if std::ptr::eq(one, other) {
        return true;
    }
    let (one, other) = (one.as_bytes(), other.as_bytes());
    if one.len() > 16 {
        return one == other;
    }
    if let (Some(one_head), Some(head)) = (one.first_chunk::<8>(), other.first_chunk::<8>()) {
        return one_head == head && one.last_chunk::<8>() == other.last_chunk::<8>();
    }
    if let (Some(one_head), Some(head)) = (one.first_chunk::<4>(), other.first_chunk::<4>()) {
        return one_head == head && one.last_chunk::<4>() == other.last_chunk::<4>();
    }
    one.iter().eq(other)
}

impl fmt::Debug for EventRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventRef")
            .field("name", &self.name())
            .field("measurements", &self.parts.measurements)
            .field("metadata", &self.metadata_iter())
            .field("timestamp_ns", &self.timestamp_ns())
            .field("correlation_id", &self.correlation_id())
            .field("sampling_rate", &self.sampling_rate())
            .field("span", &self.span())
            .field("origin", &self.origin())
            .finish()
    }
}

/// The same shape as [`Event`], so that a copy is not needed to write one out.
impl Serialize for EventRef<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let is_live = self.origin() == EventOrigin::Live;
        let more = [self.span().is_some(), self.is_learned(), !is_live];
        let fields = owned::JSON_FIELDS + more.into_iter().filter(|it| *it).count();
        let mut event = serializer.serialize_struct("Event", fields)?;
        event.serialize_field("name", self.name())?;
        event.serialize_field("measurements", &owned::AsMap(|| self.measurements()))?;
        event.serialize_field("metadata", &owned::AsMap(|| self.metadata_iter()))?;
        event.serialize_field("timestamp_ns", &self.timestamp_ns())?;
        event.serialize_field("correlation_id", self.correlation_id())?;
        event.serialize_field("sampling_rate", &self.sampling_rate())?;
        if let Some(span) = self.span() {
            event.serialize_field("span", span)?;
        }
        if self.is_learned() {
            event.serialize_field("learned", &true)?;
        }
        if !is_live {
            event.serialize_field("origin", &self.origin())?;
        }
        event.end()
    }
}

#[cfg(test)]
mod tests;
