//! What the catalog says about one event.
//!
//! Plain facts, frozen once the catalog is built. This file may use the key types; it knows nothing
//! about how a catalog is put together or searched.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use super::keys::{KeyId, KeySpec, MetricKind};

/// Position of an event in its catalog: dense, from 0, built-in events first.
///
/// Good as an array index (see [`EventId::index`]); meaningless in another catalog, save that the
/// built-in events have the same id in every catalog of one version of this crate.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
pub struct EventId(pub(crate) u16);

impl EventId {
    /// That of every event that no catalog has and that was learned from workers; no event of a catalog
    /// has it.
    pub const LEARNED: Self = Self(u16::MAX);

    /// The id as an array index.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Who may emit an event.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Origin {
    /// A worker process, over its stream or its stderr. Only these events have a wire name.
    Worker,
    /// The manager itself.
    Manager,
    /// The program that embeds the manager, through the typed helpers of `telemetry-server`.
    Host,
    /// The dispatcher, about one of its handlers.
    Dispatcher,
}

impl Origin {
    /// The word used in documents and JSON: `worker`, `manager`, `host`, `dispatcher`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Manager => "manager",
            Self::Host => "host",
            Self::Dispatcher => "dispatcher",
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How often an event is expected, as an aid to choosing handlers and sampling rates. Nothing
/// enforces it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Rate {
    /// A few times in the life of a process.
    Rare,
    /// Periodic or exceptional.
    Low,
    /// Per session, per worker or per queued command.
    Medium,
    /// Per call: the candidates for sampling.
    High,
    /// Kept for programs that already attach to it; new code has better events to use.
    Legacy,
}

impl Rate {
    /// The word used in documents and JSON: `rare`, `low`, `medium`, `high`, `legacy`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rare => "rare",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Legacy => "legacy",
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One event of the catalog.
///
/// `measurements` and `metadata` list what the event is documented to carry. Any key of the catalog
/// may be used with any event, so that an emitter can say more than the document promises.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct EventSpec {
    /// Index in the catalog.
    pub id: EventId,
    /// What handlers see and attach to: `snakepit.python.tool.execution.stop`.
    pub name: Arc<str>,
    /// What a worker sends: `tool.execution.stop`. `None` when a worker may not send the event.
    pub wire_name: Option<Arc<str>>,
    /// Who may emit it.
    pub origin: Origin,
    /// Documented measurement keys; ids of the catalog's measurement table.
    pub measurements: Box<[KeyId]>,
    /// Documented metadata keys besides node, pool_name and worker_id; ids of the catalog's
    /// metadata table.
    pub metadata: Box<[KeyId]>,
    /// Expected frequency.
    pub rate: Rate,
    /// One sentence: when it is emitted.
    pub doc: Cow<'static, str>,
}

impl EventSpec {
    /// How a metrics exporter should expose measurement `key` of this event.
    ///
    /// It is [`KeySpec::kind`], except in a `….sampled` event: what is sampled is a level, so a key
    /// that elsewhere adds up (`bytes`) is a gauge there.
    #[must_use]
    pub fn metric_kind(&self, key: &KeySpec) -> MetricKind {
        if key.kind == MetricKind::Counter && self.name.ends_with(".sampled") {
            MetricKind::Gauge
        } else {
            key.kind
        }
    }

    /// Whether no catalog has the event: it was learned from workers.
    #[must_use]
    pub fn is_learned(&self) -> bool {
        self.id == EventId::LEARNED
    }

    /// The event name without the leading `snakepit.`: `python.tool.execution.stop`.
    #[must_use]
    pub fn path(&self) -> &str {
        self.name
            .strip_prefix(super::NAME_PREFIX)
            .unwrap_or(&self.name)
    }
}
