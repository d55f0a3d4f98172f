//! Sums over workers: those that are registered and those that ended, so that no total ever falls.

use serde::Serialize;
use telemetry_core::{StreamSnapshot, WorkerSnapshot};

use crate::session::{StreamInfo, StreamState};

/// What was counted over several workers, past and present.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Totals {
    /// Workers registered now.
    pub workers: u64,
    /// Workers that are streaming now.
    pub streaming: u64,
    /// What the manager counted.
    pub ledger: StreamSnapshot,
    /// What the workers reported.
    pub reported: WorkerSnapshot,
    /// Events accepted by workers that died, which never arrived.
    pub lost_at_crash: u64,
    /// Streams opened after the first one of a worker.
    pub reconnects: u64,
    /// By how many events the ledgers of the registered workers do not balance; must read 0.
    pub ledger_difference: u64,
}

impl Totals {
    /// Adds what a worker counted over its life, but not that it is there.
    pub(super) fn fold(&mut self, info: &StreamInfo) {
        self.ledger.merge(&info.ledger);
        self.reported.merge(&info.reported);
        self.lost_at_crash = self.lost_at_crash.saturating_add(info.lost_at_crash);
        self.reconnects = self.reconnects.saturating_add(info.reconnects);
    }

    /// Adds a registered worker.
    pub(super) fn add(&mut self, info: &StreamInfo) {
        self.workers += 1;
        self.streaming += u64::from(info.state == StreamState::Streaming);
        self.ledger_difference = self
            .ledger_difference
            .saturating_add(info.ledger_difference());
        self.fold(info);
    }

    /// Adds the sums of workers that are gone.
    pub(super) fn merge(&mut self, folded: &Self) {
        self.ledger.merge(&folded.ledger);
        self.reported.merge(&folded.reported);
        self.lost_at_crash = self.lost_at_crash.saturating_add(folded.lost_at_crash);
        self.reconnects = self.reconnects.saturating_add(folded.reconnects);
    }

    /// Adds the events of a capture.
    pub(super) fn add_captured(&mut self, captured: &StreamSnapshot) {
        self.ledger.merge(captured);
    }
}

/// The sums of one pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PoolInfo {
    /// The pool; `None` for workers that are in none.
    pub pool_name: Option<String>,
    /// Its sums.
    pub totals: Totals,
}
