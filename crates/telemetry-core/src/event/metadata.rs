//! Metadata as handlers see it: what the manager knows laid over what the emitter claims.
//!
//! The one place that knows which keys are enriched and in which order. Numbers are formatted into
//! the value itself, so that reading metadata never allocates.

use std::fmt::{self, Write};
use std::ops::Deref;
use std::slice;

use arrayvec::ArrayString;
use serde::Serialize;

use super::EventParts;

/// Decimal digits and sign of the longest `i64`.
const NUMBER_BYTES: usize = 20;

pub(super) const CORRELATION_ID: &str = "correlation_id";

/// The keys that enrichment may fill, in the order in which they are iterated.
const KNOWN_KEYS: [&str; 6] = [
    "node",
    "pool_name",
    "worker_id",
    "python_pid",
    "timestamp_ns",
    CORRELATION_ID,
];

/// The text of one metadata entry.
///
/// It is a `str` in all but storage: text is borrowed from the event, a number that the manager
/// adds (`python_pid`, `timestamp_ns`) is held inside.
#[derive(Clone, Copy)]
pub enum MetadataValue<'a> {
    /// Text that lives as long as the event.
    Text(&'a str),
    /// A number in decimal.
    Number(ArrayString<NUMBER_BYTES>),
}

impl MetadataValue<'_> {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Number(digits) => digits,
        }
    }
}

impl Deref for MetadataValue<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for MetadataValue<'_> {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for MetadataValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for MetadataValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl PartialEq for MetadataValue<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for MetadataValue<'_> {}

impl PartialEq<str> for MetadataValue<'_> {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for MetadataValue<'_> {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl Serialize for MetadataValue<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A number as text that needs no heap.
pub(super) fn number<'a>(number: i64) -> MetadataValue<'a> {
    let mut digits = ArrayString::new();
    // Twenty bytes hold any i64.
    let _ = write!(digits, "{number}");
    MetadataValue::Number(digits)
}

/// What the manager, or the event outside its metadata, says about `key`.
pub(super) fn known<'a>(parts: &EventParts<'a>, key: &str) -> Option<MetadataValue<'a>> {
    let source = parts.source;
    let text = match key {
        "node" => Some(&*source.node).filter(|node| !node.is_empty()),
        "pool_name" => source.pool_name.as_deref(),
        "worker_id" => source.worker_id.as_deref(),
        "python_pid" => {
            return source.python_pid.map(|pid| number(pid.into()));
        }
        "timestamp_ns" => {
            return (parts.timestamp_ns != 0).then(|| number(parts.timestamp_ns));
        }
        CORRELATION_ID => Some(parts.correlation_id).filter(|id| !id.is_empty()),
        _ => None,
    };
    text.map(MetadataValue::Text)
}

/// Whether [`known`] would give a value, without formatting it.
fn is_known(parts: &EventParts<'_>, key: &str) -> bool {
    match key {
        "python_pid" => parts.source.python_pid.is_some(),
        "timestamp_ns" => parts.timestamp_ns != 0,
        _ => known(parts, key).is_some(),
    }
}

/// Enriched metadata, each key once; see
/// [`EventRef::metadata_iter`](super::EventRef::metadata_iter).
#[derive(Clone)]
pub struct MetadataIter<'a> {
    parts: EventParts<'a>,
    /// Keys that enrichment may fill, still to be looked at.
    known: slice::Iter<'static, &'static str>,
    /// The emitter's entries, still to be looked at.
    claimed: slice::Iter<'a, (&'a str, &'a str)>,
}

impl<'a> MetadataIter<'a> {
    pub(super) fn new(parts: EventParts<'a>) -> Self {
        Self {
            parts,
            known: KNOWN_KEYS.iter(),
            claimed: parts.metadata.iter(),
        }
    }
}

impl<'a> Iterator for MetadataIter<'a> {
    type Item = (&'a str, MetadataValue<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        for key in self.known.by_ref() {
            if let Some(value) = known(&self.parts, key) {
                return Some((key, value));
            }
        }
        let parts = &self.parts;
        let (key, text) = self.claimed.find(|(key, _)| !is_known(parts, key))?;
        Some((key, MetadataValue::Text(text)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.known.len() + self.claimed.len()))
    }
}

impl fmt::Debug for MetadataIter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.clone()).finish()
    }
}
