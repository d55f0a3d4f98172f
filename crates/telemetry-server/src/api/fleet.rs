//! The whole at one glance.

use serde::Serialize;

use super::Ledger;
use crate::manager::Manager;

/// The manager and all its workers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct Fleet {
    /// The manager's version.
    pub version: String,
    /// The node in the metadata of every event.
    pub node: String,
    /// The manager's time of this answer.
    pub time_ns: i64,
    /// Workers that are there.
    pub workers: u64,
    /// Those of them that are streaming.
    pub streaming: u64,
    /// Pools, also of workers that are gone.
    pub pools: usize,
    /// Handlers that are attached.
    pub handlers: usize,
    /// Names that the catalog does not know.
    pub quarantined: usize,
    /// Streams opened after the first one of a worker.
    pub reconnects: u64,
    /// What became of all events.
    pub ledger: Ledger,
}

impl Fleet {
    /// What a manager knows.
    #[must_use]
    pub fn of(manager: &Manager) -> Self {
        let totals = manager.totals();
        let dispatcher = manager.dispatcher();
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            node: manager.node().to_owned(),
            time_ns: dispatcher.clock().unix_nanos(),
            workers: totals.workers,
            streaming: totals.streaming,
            pools: manager.pools().len(),
            handlers: dispatcher.list_handlers("").len(),
            quarantined: manager.quarantine().list().len(),
            reconnects: totals.reconnects,
            ledger: Ledger::of_totals(&totals),
        }
    }
}
