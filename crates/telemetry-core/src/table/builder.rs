//! Extending the catalog with a user's own events, spans and keys, before it is frozen.
//!
//! All checks are made at once in `build`, so that events and keys may be named in any order. This
//! is configuration time: it allocates freely and is strict, because a mistake found here would
//! otherwise be events that silently stay unknown.

mod error;

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use super::builtin::EVENTS;
use super::keys::{Label, MEASUREMENTS, METADATA, MetricKind, Unit};
use super::{Catalog, EventDraft, KeyDraft, NAME_PREFIX, Origin, Rate};
use crate::name::EventName;
use crate::suggest::nearest;

pub use error::{CatalogError, KeyRole};

/// Most events a user may add to the built-in ones; a span counts as three.
pub const MAX_USER_EVENTS: usize = 1_024;

/// Most keys, measurement and metadata keys together, a user may add to the built-in ones.
pub const MAX_USER_KEYS: usize = 256;

/// Most bounds of the buckets of a key.
pub const MAX_BUCKETS: usize = 32;

/// Longest key in bytes: the limit of keys on the wire.
const MAX_KEY_BYTES: usize = 64;

/// Where the dispatcher puts the events of users.
const USER_PREFIX: &str = "snakepit.python.";

/// Keys that metric formats keep for themselves.
const RESERVED_KEYS: [&str; 2] = ["le", "quantile"];

/// Puts a catalog together: everything built in, and what the user adds.
///
/// ```
/// use telemetry_core::catalog::{Catalog, Label, Unit};
///
/// let catalog = Catalog::builder()
///     .measurement_key("tokens", Unit::Count)
///     .metadata_key("tenant", Label::Yes)
///     .event("cache.evicted", &["bytes", "count"], &["tenant"])
///     .span("inference", &["tokens"], &["model", "tenant"])
///     .build()?;
/// let stop = catalog.by_wire_name("inference.stop").expect("just added");
/// assert_eq!(&*stop.name, "snakepit.python.inference.stop");
/// # Ok::<(), telemetry_core::catalog::CatalogError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct CatalogBuilder {
    /// Built-in events, then the user's.
    events: Vec<EventDraft>,
    /// Built-in measurement keys, then the user's.
    measurements: Vec<KeyDraft>,
    /// Built-in metadata keys, then the user's.
    metadata: Vec<KeyDraft>,
    /// Bounds of buckets, by measurement key.
    buckets: Vec<(String, Arc<[f64]>)>,
}

impl CatalogBuilder {
    pub(super) fn new() -> Self {
        let events = EVENTS.iter().map(|row| EventDraft {
            name: match row.origin {
                Origin::Dispatcher => row.path.to_owned(),
                _ => format!("{NAME_PREFIX}{}", row.path),
            },
            wire_name: (row.origin == Origin::Worker)
                .then(|| row.wire.unwrap_or(row.path).to_owned()),
            origin: row.origin,
            rate: row.rate,
            measurements: owned(row.measurements),
            metadata: owned(row.metadata),
            doc: Cow::Borrowed(row.doc),
        });
        let measurements = MEASUREMENTS.iter().map(|&(name, unit, kind)| KeyDraft {
            name: Cow::Borrowed(name),
            unit,
            kind,
            label: Label::No,
            buckets: None,
        });
        let metadata = METADATA.iter().map(|&(name, unit, label)| KeyDraft {
            name: Cow::Borrowed(name),
            unit,
            kind: MetricKind::None,
            label,
            buckets: None,
        });
        Self {
            events: events.collect(),
            measurements: measurements.collect(),
            metadata: metadata.collect(),
            buckets: Vec::new(),
        }
    }

    /// Adds an event that workers send as `wire_name`, with the keys it is documented to carry.
    ///
    /// It is dispatched as `snakepit.python.` + `wire_name`; a `python.` that `wire_name` begins
    /// with is not doubled.
    pub fn event(self, wire_name: &str, measurements: &[&str], metadata: &[&str]) -> Self {
        self.worker_event(wire_name, measurements, metadata, "Defined by the user.")
    }

    /// Adds the three events of a span: `operation` + `.start`, `.stop` and `.exception`.
    ///
    /// They carry what a span always measures: `system_time` at the start, `duration` at both ends,
    /// `error_type` and `error_message` at the exception, and `correlation_id`. `measurements` are
    /// what stop and exception carry besides, `metadata` what all three do.
    pub fn span(self, operation: &str, measurements: &[&str], metadata: &[&str]) -> Self {
        let end = [&["duration"], measurements].concat();
        let all = [&["correlation_id"], metadata].concat();
        let failed = [all.as_slice(), &["error_type", "error_message"]].concat();
        self.worker_event(
            &format!("{operation}.start"),
            &["system_time"],
            &all,
            "The operation began. Defined by the user.",
        )
        .worker_event(
            &format!("{operation}.stop"),
            &end,
            &all,
            "The operation ended. Defined by the user.",
        )
        .worker_event(
            &format!("{operation}.exception"),
            &end,
            &failed,
            "The operation failed. Defined by the user.",
        )
    }

    /// Adds a measurement key, shown as its unit suggests ([`Unit::default_kind`]).
    pub fn measurement_key(self, key: &str, unit: Unit) -> Self {
        self.measurement_key_as(key, unit, unit.default_kind())
    }

    /// Adds a measurement key and says how exporters show it: a count that is a level and not an
    /// increment, such as a queue's depth, is a [`MetricKind::Gauge`].
    pub fn measurement_key_as(mut self, key: &str, unit: Unit, kind: MetricKind) -> Self {
        let name = Cow::Owned(key.to_owned());
        self.measurements.push(KeyDraft {
            name,
            unit,
            kind,
            label: Label::No,
            buckets: None,
        });
        self
    }

    /// Has a measurement key, built-in or added before, shown as a histogram with these upper bounds, in the
    /// key's unit.
    pub fn buckets(mut self, key: &str, bounds: &[f64]) -> Self {
        self.buckets.push((key.to_owned(), bounds.into()));
        self
    }

    /// Adds a metadata key. Only [`Label::Yes`] when its values are few by nature.
    pub fn metadata_key(mut self, key: &str, label: Label) -> Self {
        let name = Cow::Owned(key.to_owned());
        self.metadata.push(KeyDraft {
            name,
            unit: Unit::None,
            kind: MetricKind::None,
            label,
            buckets: None,
        });
        self
    }

    /// Checks what was added and freezes the catalog.
    ///
    /// # Errors
    ///
    /// The first mistake found, limits first, then keys, then events, each in the order added.
    pub fn build(mut self) -> Result<Arc<Catalog>, CatalogError> {
        self.set_buckets()?;
        let user_events = self.events.len() - EVENTS.len();
        if user_events > MAX_USER_EVENTS {
            return Err(CatalogError::TooManyEvents { count: user_events });
        }
        let builtin_keys = MEASUREMENTS.len() + METADATA.len();
        let user_keys = self.measurements.len() + self.metadata.len() - builtin_keys;
        if user_keys > MAX_USER_KEYS {
            return Err(CatalogError::TooManyKeys { count: user_keys });
        }
        let measurements =
            check_keys(KeyRole::Measurement, &self.measurements, MEASUREMENTS.len())?;
        let metadata = check_keys(KeyRole::Metadata, &self.metadata, METADATA.len())?;
        self.check_events(&measurements, &metadata)?;
        Ok(Arc::new(self.assemble()))
    }

    /// Puts bounds of buckets where they belong.
    fn set_buckets(&mut self) -> Result<(), CatalogError> {
        for (key, bounds) in std::mem::take(&mut self.buckets) {
            let is_rising = bounds.is_sorted_by(|one, next| one < next);
            let is_allowed = |bound: &f64| bound.is_finite() && *bound > 0.0;
            let draft = self.measurements.iter_mut().find(|it| it.name == key);
            let fits = (1..=MAX_BUCKETS).contains(&bounds.len());
            match draft {
                Some(draft) if fits && is_rising && bounds.iter().all(is_allowed) => {
                    draft.kind = MetricKind::Histogram;
                    draft.buckets = Some(bounds);
                }
                _ => return Err(CatalogError::InvalidBuckets { key }),
            }
        }
        Ok(())
    }

    /// Freezes without checking: only right for the built-in tables, which tests check.
    pub(super) fn assemble(self) -> Catalog {
        Catalog::assemble(&self.measurements, &self.metadata, self.events)
    }

    fn worker_event(
        mut self,
        wire_name: &str,
        measurements: &[&str],
        metadata: &[&str],
        doc: &'static str,
    ) -> Self {
        self.events.push(EventDraft {
            name: user_name(wire_name),
            wire_name: Some(wire_name.to_owned()),
            origin: Origin::Worker,
            rate: Rate::Medium,
            measurements: owned(measurements),
            metadata: owned(metadata),
            doc: Cow::Borrowed(doc),
        });
        self
    }

    fn check_events(
        &self,
        measurements: &HashSet<&str>,
        metadata: &HashSet<&str>,
    ) -> Result<(), CatalogError> {
        let (builtin, user) = self.events.split_at(EVENTS.len());
        let mut seen = HashSet::new();
        for event in user {
            let wire_name = event.wire_name.as_deref().unwrap_or_default();
            EventName::new(wire_name).map_err(|source| CatalogError::InvalidName {
                name: wire_name.to_owned(),
                source,
            })?;
            // Both what workers would send and what handlers would see must be new, and a built-in
            // path that workers may not send must not become one that they may.
            let shadowed = builtin.iter().find(|known| {
                known.name == event.name
                    || known.wire_name.as_deref() == Some(wire_name)
                    || known.name.strip_prefix(NAME_PREFIX) == Some(wire_name)
            });
            if let Some(known) = shadowed {
                return Err(CatalogError::ShadowsBuiltin {
                    name: wire_name.to_owned(),
                    builtin: known.name.clone(),
                });
            }
            if !seen.insert(event.name.as_str()) {
                return Err(CatalogError::DuplicateEvent {
                    name: wire_name.to_owned(),
                });
            }
            check_uses(
                KeyRole::Measurement,
                wire_name,
                &event.measurements,
                measurements,
            )?;
            check_uses(KeyRole::Metadata, wire_name, &event.metadata, metadata)?;
        }
        Ok(())
    }
}

/// What handlers know a user's event as.
pub(super) fn user_name(wire_name: &str) -> String {
    let path = wire_name.strip_prefix("python.").unwrap_or(wire_name);
    format!("{USER_PREFIX}{path}")
}

/// Checks the keys after the first `builtin` ones; returns all of them for look-ups.
fn check_keys(
    role: KeyRole,
    keys: &[KeyDraft],
    builtin: usize,
) -> Result<HashSet<&str>, CatalogError> {
    let mut known = HashSet::with_capacity(keys.len());
    for (position, draft) in keys.iter().enumerate() {
        let key: &str = &draft.name;
        if position >= builtin && !is_key(key) {
            return Err(CatalogError::InvalidKey {
                role,
                key: key.to_owned(),
            });
        }
        if !known.insert(key) {
            return Err(CatalogError::DuplicateKey {
                role,
                key: key.to_owned(),
            });
        }
    }
    Ok(known)
}

fn check_uses(
    role: KeyRole,
    event: &str,
    used: &[String],
    known: &HashSet<&str>,
) -> Result<(), CatalogError> {
    let Some(key) = used.iter().find(|key| !known.contains(key.as_str())) else {
        return Ok(());
    };
    Err(CatalogError::UnknownKey {
        event: event.to_owned(),
        role,
        key: key.clone(),
        suggestion: nearest(key, known.iter().copied()).map(str::to_owned),
    })
}

/// What Prometheus takes as a label, within the wire's length limit.
pub(super) fn is_key(key: &str) -> bool {
    let letters = key
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let begins_well = !key.starts_with("__") && !key.starts_with(|c: char| c.is_ascii_digit());
    let fits = !key.is_empty() && key.len() <= MAX_KEY_BYTES;
    letters && begins_well && fits && !RESERVED_KEYS.contains(&key)
}

fn owned(keys: &[&str]) -> Vec<String> {
    keys.iter().copied().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests;
