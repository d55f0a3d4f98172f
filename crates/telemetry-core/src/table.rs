//! The catalog: the frozen table of known events and keys.
//!
//! What is not in it does not become state in a manager: no metric series, no label, no table
//! entry. This room holds the table and its look-ups, which neither lock nor allocate. How one is
//! put together is in `builder`, the facts are in `builtin` and `keys`. It uses names and the
//! wire's encoding of them; it must never change after it is built, a reload swaps it whole.

mod builder;
mod builtin;
mod event_spec;
mod keys;
mod learning;
mod lookup;
mod markdown;

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use rustc_hash::FxHashMap;

use crate::codec::{Keys, encode_event_parts};
use crate::suggest::nearest;
use lookup::Lookup;

pub use builder::{
    CatalogBuilder, CatalogError, KeyRole, MAX_BUCKETS, MAX_USER_EVENTS, MAX_USER_KEYS,
};
pub use event_spec::{EventId, EventSpec, Origin, Rate};
pub use keys::{KeyId, KeySpec, Label, MetricKind, Unit, UnknownUnit};
pub use learning::is_key;

/// What event names begin with, the dispatcher's own excepted.
const NAME_PREFIX: &str = "snakepit.";

/// Longest name, in bytes, that [`Catalog::suggest`] looks at.
const SUGGEST_MAX_BYTES: usize = 128;

/// The frozen table of known events, measurement keys and metadata keys.
///
/// Shared as `Arc<Catalog>`: any number of threads may look things up at once.
#[derive(Debug)]
pub struct Catalog {
    /// All events; [`EventId`] is the index.
    events: Box<[EventSpec]>,
    /// Event name → id.
    by_name: FxHashMap<Arc<str>, EventId>,
    /// Wire name → id; only what a worker may send.
    by_wire_name: FxHashMap<Arc<str>, EventId>,
    /// The wire name's `event_parts` as protobuf bytes → id, so that a name off the wire is found
    /// before it is decoded.
    by_encoded: Lookup,
    /// Measurement keys.
    measurements: KeyTable,
    /// Metadata keys.
    metadata: KeyTable,
}

/// The keys of one role.
#[derive(Debug)]
struct KeyTable {
    /// All keys; [`KeyId`] is the index.
    specs: Box<[KeySpec]>,
    /// Key → id.
    by_name: Lookup,
}

impl KeyTable {
    fn new(drafts: &[KeyDraft]) -> Self {
        let specs: Box<[KeySpec]> = (0..=u16::MAX)
            .zip(drafts)
            .map(|(id, draft)| KeySpec {
                id: KeyId(id),
                name: draft.name.as_ref().into(),
                unit: draft.unit,
                kind: draft.kind,
                label: draft.label == Label::Yes,
                buckets: draft.buckets.clone(),
            })
            .collect();
        let by_name = Lookup::new(specs.iter().map(|spec| (spec.name.as_bytes(), spec.id.0)));
        Self { specs, by_name }
    }

    #[inline]
    fn get(&self, name: &[u8]) -> Option<&KeySpec> {
        self.by_name
            .find(name)
            .and_then(|index| self.specs.get(index))
    }

    /// Ids of `names`; a name that is not in the table is left out.
    fn ids(&self, names: &[String]) -> Box<[KeyId]> {
        names
            .iter()
            .filter_map(|name| self.get(name.as_bytes()).map(|spec| spec.id))
            .collect()
    }
}

/// A key on its way into a catalog.
#[derive(Clone, Debug)]
struct KeyDraft {
    name: Cow<'static, str>,
    unit: Unit,
    kind: MetricKind,
    label: Label,
    buckets: Option<Arc<[f64]>>,
}

/// An event on its way into a catalog: key names not yet resolved.
#[derive(Clone, Debug)]
struct EventDraft {
    name: String,
    wire_name: Option<String>,
    origin: Origin,
    rate: Rate,
    measurements: Vec<String>,
    metadata: Vec<String>,
    doc: Cow<'static, str>,
}

impl Catalog {
    /// The built-in catalog, shared by the whole process.
    #[must_use]
    pub fn builtin() -> &'static Arc<Self> {
        static BUILTIN: LazyLock<Arc<Catalog>> =
            LazyLock::new(|| Arc::new(CatalogBuilder::new().assemble()));
        &BUILTIN
    }

    /// A builder that starts from the built-in catalog.
    pub fn builder() -> CatalogBuilder {
        CatalogBuilder::new()
    }

    /// Puts checked parts together: names are unique, keys known, and all fit 16-bit ids. What is
    /// not is left out.
    fn assemble(measurements: &[KeyDraft], metadata: &[KeyDraft], drafts: Vec<EventDraft>) -> Self {
        let measurements = KeyTable::new(measurements);
        let metadata = KeyTable::new(metadata);
        let events: Box<[EventSpec]> = (0..=u16::MAX)
            .zip(drafts)
            .map(|(id, draft)| EventSpec {
                id: EventId(id),
                name: draft.name.into(),
                wire_name: draft.wire_name.map(Arc::from),
                origin: draft.origin,
                measurements: measurements.ids(&draft.measurements),
                metadata: metadata.ids(&draft.metadata),
                rate: draft.rate,
                doc: draft.doc,
            })
            .collect();
        let by_name = events
            .iter()
            .map(|event| (Arc::clone(&event.name), event.id))
            .collect();
        let on_wire = || {
            events
                .iter()
                .filter_map(|event| event.wire_name.as_ref().map(|name| (name, event.id)))
        };
        let by_wire_name = on_wire().map(|(name, id)| (Arc::clone(name), id)).collect();
        let encoded: Vec<(Vec<u8>, EventId)> = on_wire()
            .map(|(name, id)| (encode_event_parts(name), id))
            .collect();
        let by_encoded = Lookup::new(encoded.iter().map(|(name, id)| (name.as_slice(), id.0)));
        Self {
            by_name,
            by_wire_name,
            by_encoded,
            events,
            measurements,
            metadata,
        }
    }

    /// The event that handlers know as `name`, such as `snakepit.pool.status`.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<&EventSpec> {
        self.by_name.get(name).and_then(|id| self.get(*id))
    }

    /// The event that a worker sends as `wire_name`, such as `tool.execution.stop`.
    ///
    /// `None` also for events that exist but that no worker may send (`pool.status`).
    #[must_use]
    pub fn by_wire_name(&self, wire_name: &str) -> Option<&EventSpec> {
        self.by_wire_name
            .get(wire_name)
            .and_then(|id| self.get(*id))
    }

    /// The event whose wire name encodes to `event_parts`.
    ///
    /// `event_parts` is the run of field-1 entries at the front of an encoded `TelemetryEvent`: for
    /// each segment the byte `0x0A`, its length as a varint, its bytes. One hash, no allocation, no
    /// UTF-8 check. `None` does not prove that the name is unknown: a peer may encode a length with
    /// more bytes than needed, so fall back to [`by_wire_name`](Self::by_wire_name).
    #[must_use]
    #[inline]
    pub fn by_encoded(&self, event_parts: &[u8]) -> Option<&EventSpec> {
        self.by_encoded
            .find(event_parts)
            .and_then(|index| self.events.get(index))
    }

    /// The event with this id. `None` only for an id of a larger catalog.
    #[must_use]
    pub fn get(&self, id: EventId) -> Option<&EventSpec> {
        self.events.get(id.index())
    }

    /// All events in the order of their ids.
    #[must_use]
    pub fn events(&self) -> &[EventSpec] {
        &self.events
    }

    /// The measurement key `key`.
    #[must_use]
    pub fn measurement_key(&self, key: &str) -> Option<&KeySpec> {
        self.measurements.get(key.as_bytes())
    }

    /// The metadata key `key`.
    #[must_use]
    #[inline]
    pub fn metadata_key(&self, key: &str) -> Option<&KeySpec> {
        self.metadata.get(key.as_bytes())
    }

    /// All measurement keys in the order of their ids.
    #[must_use]
    pub fn measurement_keys(&self) -> &[KeySpec] {
        &self.measurements.specs
    }

    /// All metadata keys in the order of their ids.
    #[must_use]
    pub fn metadata_keys(&self) -> &[KeySpec] {
        &self.metadata.specs
    }

    /// The wire name that `wire_name` was probably meant to be.
    ///
    /// It knows the two habits of newcomers, sending an event's full name or its path, and
    /// otherwise looks for the nearest wire name at most three edits and a third of the name away.
    /// Names longer than 128 bytes get no suggestion. It compares with every wire name: meant for
    /// the first time a name is seen, not for every event.
    #[must_use]
    pub fn suggest(&self, wire_name: &str) -> Option<&str> {
        if wire_name.len() > SUGGEST_MAX_BYTES {
            return None;
        }
        let path = wire_name.strip_prefix(NAME_PREFIX).unwrap_or(wire_name);
        let habit = self.events.iter().find(|event| event.path() == path);
        let meant = habit.and_then(|event| event.wire_name.as_deref());
        let known = || {
            self.events
                .iter()
                .filter_map(|event| event.wire_name.as_deref())
        };
        meant.or_else(|| nearest(path, known()))
    }

    /// The catalog as a Markdown document: tables of events by group, then of keys.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        markdown::render(self)
    }
}

/// Lets a decoder recognise the catalog's keys; it then holds their texts in place of the message's.
impl Keys for Catalog {
    #[inline]
    fn measurement(&self, key: &[u8]) -> Option<&str> {
        self.measurements.get(key).map(|spec| &*spec.name)
    }

    #[inline]
    fn metadata(&self, key: &[u8]) -> Option<&str> {
        self.metadata.get(key).map(|spec| &*spec.name)
    }
}

#[cfg(test)]
mod tests;
