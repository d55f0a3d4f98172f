//! What an account shows: its sums at one moment, with what only the present incarnation and the open
//! stream know.

use telemetry_core::ledger::{StreamSnapshot, WorkerSnapshot};

use super::super::book::lock;
use super::{Account, Open, Standing};

/// What is counted of one worker.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sums {
    /// Over all streams.
    pub(crate) ledger: StreamSnapshot,
    /// Over the streams of the present incarnation.
    pub(crate) incarnation_ledger: StreamSnapshot,
    /// What has come to its end of what all incarnations emitted, and what is outstanding.
    pub(crate) reported: WorkerSnapshot,
    /// What the present incarnation last reported.
    pub(crate) report: Option<WorkerSnapshot>,
    pub(crate) report_final: bool,
    /// Sequences of the present incarnation that came before this manager.
    pub(crate) joined_at: u64,
    pub(crate) lost_at_crash: u64,
    pub(crate) away: u64,
    pub(crate) unaccounted: u64,
    pub(crate) unknown_since_ns: Option<i64>,
    /// By how many events its last report and what was counted until then disagree.
    pub(crate) difference: u64,
}

impl Account {
    /// A copy of all sums at one moment.
    pub(crate) fn sums(&self) -> Sums {
        let mut sums = Sums {
            ledger: self.folded.clone(),
            incarnation_ledger: self.incarnation_folded.clone(),
            reported: self.reported.clone(),
            joined_at: self.joined_at,
            lost_at_crash: self.lost,
            unaccounted: self.unaccounted,
            unknown_since_ns: self.unknown_since_ns,
            difference: self.difference,
            ..Sums::default()
        };
        sums.ledger.notes.merge(&self.notes);
        let counted = self.stream.as_ref().map(|open| open.reader.snapshot());
        if let Some((open, counted)) = self.stream.as_ref().zip(counted.as_ref()) {
            sums.ledger.merge(counted);
            let is_settled = open.standing == Standing::Assigned;
            if is_settled || self.key.is_none() || matches!(open.standing, Standing::Named(_)) {
                sums.incarnation_ledger.merge(counted);
            }
            if self.incarnation_folded == StreamSnapshot::default() {
                sums.joined_at = open.reader.origin();
            }
        }
        self.add_present(&mut sums, counted.unwrap_or_default());
        sums.reported.accepted = sums
            .reported
            .emitted
            .saturating_sub(sums.reported.dropped.total());
        sums
    }

    /// Adds what only the present incarnation and the open stream know.
    fn add_present(&self, sums: &mut Sums, counted: StreamSnapshot) {
        let is_settled = |open: &Open| open.standing == Standing::Assigned;
        let settled = self.stream.as_ref().is_some_and(is_settled);
        if !settled {
            let evident = evident(&counted);
            sums.reported.merge(&evident);
        }
        let Some(present) = &self.present else { return };
        let present = lock(present);
        if present.owner != Some(self.owner) {
            return;
        }
        let counted = if settled {
            counted
        } else {
            StreamSnapshot::default()
        };
        sums.reported.merge(&present.news(&counted));
        if !present.ended {
            sums.away = present.away(&counted);
            sums.reported.queued = present.outstanding(&counted).saturating_sub(sums.away);
            sums.reported.sent = sums.reported.sent.saturating_add(sums.away);
        }
        sums.report = present.last().cloned();
        sums.report_final = present.is_final;
    }
}

/// What is emitted and sent for certain if this arrived.
pub(super) fn evident(counted: &StreamSnapshot) -> WorkerSnapshot {
    let mut snapshot = WorkerSnapshot::default();
    snapshot.emitted = counted.received.saturating_add(counted.gaps);
    snapshot.sent = counted.sequenced.saturating_add(counted.gaps);
    snapshot
}
