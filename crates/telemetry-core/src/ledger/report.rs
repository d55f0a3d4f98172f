//! The ledger on the wire: [`WorkerSnapshot`] to and from a `WorkerReport`.
//!
//! What a worker claims is taken as numbers only, and nothing in it makes the rest void: a number that
//! is not in the lists is counted as `other`, because a sum with a hole in it would look like a loss.

use telemetry_proto::{ReasonCount, WorkerReport};

use super::reason::{Counts, Note, Notes, Reason, Stage};
use super::worker::WorkerSnapshot;

/// Fills the counters of a report; names, policy and control fields stay as they are in `report`.
///
/// A report is about the stream. What a backend that is no stream took was never meant for the
/// manager, so it counts there neither as emitted nor as accepted, and the laws hold without it.
pub fn snapshot_to_report(snapshot: &WorkerSnapshot, report: &mut WorkerReport) {
    report.emitted = snapshot.emitted.saturating_sub(snapshot.delivered);
    report.accepted = snapshot.accepted.saturating_sub(snapshot.delivered);
    report.sent = snapshot.sent;
    report.queued = snapshot.queued;
    report.acknowledged = snapshot.acknowledged;
    report.retained = snapshot.retained;
    report.forgotten = snapshot.forgotten;
    report.repeated = snapshot.repeated;
    report.dropped = snapshot
        .dropped
        .iter()
        .map(|(reason, count)| ReasonCount {
            reason: reason.number(),
            count,
        })
        .collect();
    report.notes = snapshot
        .notes
        .iter()
        .map(|(note, count)| ReasonCount {
            reason: note.number(),
            count,
        })
        .collect();
}

/// Reads the counters of a report.
///
/// What this version does not know is counted as [`Reason::Other`] and [`Note::OtherNote`], so that
/// the sums stay whole. Drops under a reason that is not a worker's to count are left out one by one;
/// the second is how many entries that were.
#[must_use]
pub fn snapshot_from_report(report: &WorkerReport) -> (WorkerSnapshot, usize) {
    let mut dropped = Counts::default();
    let mut refused = 0;
    for entry in &report.dropped {
        match Reason::from_number(entry.reason).unwrap_or(Reason::Other) {
            reason if reason.stage() == Stage::Worker => dropped.add(reason, entry.count),
            _ => refused += 1,
        }
    }
    let mut notes = Notes::default();
    for entry in &report.notes {
        let note = Note::from_number(entry.reason).unwrap_or(Note::OtherNote);
        notes.add(note, entry.count);
    }
    let snapshot = WorkerSnapshot {
        emitted: report.emitted,
        accepted: report.accepted,
        sent: report.sent,
        delivered: 0,
        queued: report.queued,
        retained: report.retained,
        acknowledged: report.acknowledged,
        forgotten: report.forgotten,
        repeated: report.repeated,
        dropped,
        notes,
    };
    (snapshot, refused)
}

/// Says a report in the words of revision 1, whose managers refuse a report as a whole for a reason
/// above 13: those drops are counted as `not_running`.
pub fn fold_for_closed_reasons(report: &mut WorkerReport) {
    let known = |entry: &ReasonCount| entry.reason <= Reason::InternalError.number();
    let folded = report.dropped.iter().filter(|entry| !known(entry));
    let folded: u64 = folded.map(|entry| entry.count).sum();
    report.dropped.retain(known);
    if folded == 0 {
        return;
    }
    let not_running = Reason::NotRunning.number();
    match report
        .dropped
        .iter_mut()
        .find(|entry| entry.reason == not_running)
    {
        Some(entry) => entry.count += folded,
        None => report.dropped.push(ReasonCount {
            reason: not_running,
            count: folded,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(reason: u32, count: u64) -> ReasonCount {
        ReasonCount { reason, count }
    }

    #[test]
    fn a_snapshot_survives_the_wire() {
        let mut snapshot = WorkerSnapshot {
            emitted: 10,
            accepted: 7,
            sent: 5,
            queued: 2,
            ..Default::default()
        };
        snapshot.dropped.add(Reason::QueueFull, 2);
        snapshot.dropped.add(Reason::BackendError, 1);
        snapshot.notes.add(Note::Redacted, 1);
        let mut report = WorkerReport::default();
        snapshot_to_report(&snapshot, &mut report);
        assert_eq!(snapshot_from_report(&report), (snapshot, 0));
    }

    #[test]
    fn what_another_backend_took_is_no_business_of_the_manager() {
        let mut snapshot = WorkerSnapshot {
            emitted: 10,
            accepted: 9,
            sent: 3,
            delivered: 4,
            queued: 2,
            ..Default::default()
        };
        snapshot.dropped.add(Reason::BackendError, 1);
        assert_eq!(snapshot.check(), Ok(()));
        let mut report = WorkerReport::default();
        snapshot_to_report(&snapshot, &mut report);
        let (told, _) = snapshot_from_report(&report);
        assert_eq!(told.check(), Ok(()));
        assert_eq!((told.emitted, told.sent), (6, 3));
    }

    #[test]
    fn what_is_not_in_the_lists_is_counted_as_other() {
        let report = WorkerReport {
            dropped: vec![count(99, 1), count(17, 2), count(7, 3)],
            notes: vec![count(77, 4)],
            ..Default::default()
        };
        let (snapshot, refused) = snapshot_from_report(&report);
        assert_eq!(snapshot.dropped.get(Reason::Other), 3);
        assert_eq!(snapshot.dropped.get(Reason::QueueFull), 3);
        assert_eq!(snapshot.notes.get(Note::OtherNote), 4);
        assert_eq!(refused, 0);
    }

    #[test]
    fn reasons_of_another_stage_are_left_out_and_no_others() {
        let report = WorkerReport {
            dropped: vec![count(20, 3), count(31, 5), count(40, 1), count(7, 2)],
            ..Default::default()
        };
        let (snapshot, refused) = snapshot_from_report(&report);
        assert_eq!((snapshot.dropped.total(), refused), (2, 3));
    }

    #[test]
    fn an_old_manager_is_told_of_no_reason_it_does_not_know() {
        let dropped = vec![count(10, 1), count(15, 2), count(16, 4), count(7, 8)];
        let mut report = WorkerReport {
            dropped,
            ..Default::default()
        };
        fold_for_closed_reasons(&mut report);
        assert_eq!(report.dropped, [count(10, 7), count(7, 8)]);
        let mut report = WorkerReport {
            dropped: vec![count(19, 1)],
            ..Default::default()
        };
        fold_for_closed_reasons(&mut report);
        assert_eq!(report.dropped, [count(10, 1)]);
    }
}
