//! Where events go.

use serde::Serialize;
use telemetry_core::ledger::Counts;

use super::Row;
use crate::dispatch::HandlerInfo;

/// A handler that is attached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct Handler {
    /// Its id.
    pub id: String,
    /// What it is attached to.
    pub patterns: Vec<String>,
    /// How many events of the catalog those cover.
    pub matching_events: usize,
    /// How many events its queue holds; 0: it has none and runs where events arrive.
    pub capacity: usize,
    /// Events that it should get.
    pub dispatched: u64,
    /// Events that it took.
    pub delivered: u64,
    /// Events that it never got or failed on, by reason.
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, u64>))]
    pub dropped: Counts,
    /// Events that wait in its queue.
    pub queued: u64,
    /// Events that it has in hand.
    pub in_flight: u64,
}

impl From<HandlerInfo> for Handler {
    fn from(info: HandlerInfo) -> Self {
        Self {
            id: info.id,
            patterns: info.patterns,
            matching_events: info.matching_events,
            capacity: info.capacity,
            dispatched: info.ledger.dispatched,
            delivered: info.ledger.delivered,
            dropped: info.ledger.dropped,
            queued: info.ledger.queued,
            in_flight: info.ledger.in_flight,
        }
    }
}

impl Row for Handler {
    const SORTS: &'static [&'static str] = &["name", "delivered", "dropped", "queued"];

    fn name(&self) -> &str {
        &self.id
    }

    fn number(&self, sort: &str) -> u64 {
        match sort {
            "delivered" => self.delivered,
            "dropped" => self.dropped.total(),
            _ => self.queued,
        }
    }
}
