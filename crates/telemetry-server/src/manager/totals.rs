//! Sums over workers: those that are registered and those that ended, so that no total ever falls.

use serde::Serialize;
use telemetry_core::ledger::{Imbalance, StreamSnapshot, WorkerSnapshot};

use crate::accounts::Strays;
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
    /// Events that workers which ended had accepted, as they reported, and that never arrived.
    pub lost_at_crash: u64,
    /// Events that workers which may still live say they sent, and that did not arrive so far.
    pub away: u64,
    /// Incarnations that ended without a last word: what they emitted after their last report and did
    /// not send is unknown, and in no other number.
    pub unaccounted_incarnations: u64,
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
        self.away = self.away.saturating_add(info.away);
        self.unaccounted_incarnations += info.unaccounted_incarnations;
        self.reconnects = self.reconnects.saturating_add(info.reconnects);
    }

    /// Whether no event was ever heard of.
    pub(super) fn is_without_events(&self) -> bool {
        [
            self.ledger.received,
            self.reported.emitted,
            self.lost_at_crash,
            self.away,
        ] == [0; 4]
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
        self.away = self.away.saturating_add(folded.away);
        self.unaccounted_incarnations += folded.unaccounted_incarnations;
        self.reconnects = self.reconnects.saturating_add(folded.reconnects);
    }

    /// Adds what incarnations left that no worker shows any more.
    pub(super) fn add_strays(&mut self, strays: &Strays) {
        self.lost_at_crash = self.lost_at_crash.saturating_add(strays.lost);
        self.away = self.away.saturating_add(strays.away);
        let reported = &mut self.reported;
        reported.emitted = reported.emitted.saturating_add(strays.lost);
        reported.queued = reported.queued.saturating_add(strays.queued);
        let sent = strays.lost.saturating_add(strays.away);
        reported.sent = reported.sent.saturating_add(sent);
        self.unaccounted_incarnations += strays.unaccounted;
    }

    /// Checks M3 (`Σ sent = Σ sequenced + gaps + lost + away`, in which what died in a queue counts as
    /// sent) and M4 (`Σ emitted = Σ received + gaps + dropped + lost`).
    ///
    /// # Errors
    ///
    /// The first law that does not hold, with both sides.
    pub fn check(&self) -> Result<(), Imbalance> {
        let sum = |parts: &[u64]| parts.iter().copied().fold(0, u64::saturating_add);
        let (ledger, reported) = (&self.ledger, &self.reported);
        let (lost, away) = (self.lost_at_crash, self.away);
        Imbalance::check(
            "M3",
            ("sent", reported.sent),
            (
                "sequenced + gaps + lost + away",
                sum(&[ledger.sequenced, ledger.gaps, lost, away]),
            ),
        )?;
        let dropped = reported.dropped.total();
        Imbalance::check(
            "M4",
            ("emitted", reported.emitted),
            (
                "received + gaps + dropped + lost",
                sum(&[ledger.received, ledger.gaps, dropped, lost]),
            ),
        )
    }

    /// Adds the events of a capture.
    pub(super) fn add_captured(&mut self, captured: &StreamSnapshot) {
        self.ledger.merge(captured);
        // What arrived was emitted; a line says no more.
        self.reported.emitted = self.reported.emitted.saturating_add(captured.received);
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
