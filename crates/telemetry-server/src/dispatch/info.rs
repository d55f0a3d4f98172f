//! What operators see of a handler: its patterns and the ledger of its events.
//!
//! Plain data, copied out of the running handler at one moment.

use serde::Serialize;
use telemetry_core::ledger::{Counts, Imbalance};

/// One attached handler, at the moment it was asked for.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[non_exhaustive]
pub struct HandlerInfo {
    /// The id under which it is attached.
    pub id: String,
    /// The patterns it is attached with.
    pub patterns: Vec<String>,
    /// How many events of the catalog the patterns cover.
    pub matching_events: usize,
    /// Whether it has a thread and a queue of its own.
    pub queued: bool,
    /// Most events its queue holds; 0 for an inline handler.
    pub capacity: usize,
    /// What became of the events dispatched to it.
    pub ledger: HandlerLedger,
}

/// What became of the events dispatched to one handler.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct HandlerLedger {
    /// Events that matched while the handler was attached.
    pub dispatched: u64,
    /// Events the handler returned from without failing.
    pub delivered: u64,
    /// Events it never got or failed on, by reason.
    pub dropped: Counts,
    /// Events waiting in its queue.
    pub queued: u64,
    /// Events inside the handler, or being handed to it, at that moment.
    pub in_flight: u64,
}

impl HandlerLedger {
    /// Checks M2: `dispatched = delivered + Σ dropped + queued + in flight`.
    ///
    /// Holds at any moment, also while events flow. A handler at rest also has `in_flight == 0`,
    /// which this does not check.
    ///
    /// # Errors
    ///
    /// [`Imbalance`] with both sides.
    pub fn check(&self) -> Result<(), Imbalance> {
        let parts = [
            self.delivered,
            self.dropped.total(),
            self.queued,
            self.in_flight,
        ];
        let right = parts
            .iter()
            .fold(0_u64, |sum, part| sum.saturating_add(*part));
        let parts = "delivered + dropped + queued + in flight";
        Imbalance::check("M2", ("dispatched", self.dispatched), (parts, right))
    }
}
