//! The ledger on the wire: [`WorkerSnapshot`] to and from a `WorkerReport`.
//!
//! What a worker claims is taken as numbers only; unknown reasons are refused, because a sum with a
//! hole in it would look like a loss.

use telemetry_proto::{ReasonCount, WorkerReport};

use super::reason::{Counts, Note, Notes, Reason};
use super::worker::WorkerSnapshot;

/// A report that cannot be taken over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// A reason that this version does not know.
    #[error("the report counts drops under reason {0}, which is not in the closed list")]
    UnknownReason(u32),
}

/// Fills the counters of a report; names, policy and control fields stay as they are in `report`.
pub fn snapshot_to_report(snapshot: &WorkerSnapshot, report: &mut WorkerReport) {
    report.emitted = snapshot.emitted;
    report.accepted = snapshot.accepted;
    report.sent = snapshot.sent;
    report.queued = snapshot.queued;
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
/// # Errors
///
/// [`ReportError::UnknownReason`] if a drop is counted under a number that is not in the closed
/// list. Unknown notes are left out: they are no losses.
pub fn snapshot_from_report(report: &WorkerReport) -> Result<WorkerSnapshot, ReportError> {
    let mut dropped = Counts::default();
    for entry in &report.dropped {
        let reason =
            Reason::from_number(entry.reason).ok_or(ReportError::UnknownReason(entry.reason))?;
        dropped.add(reason, entry.count);
    }
    let mut notes = Notes::default();
    for entry in &report.notes {
        if let Some(note) = Note::from_number(entry.reason) {
            notes.add(note, entry.count);
        }
    }
    Ok(WorkerSnapshot {
        emitted: report.emitted,
        accepted: report.accepted,
        sent: report.sent,
        queued: report.queued,
        dropped,
        notes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_survives_the_wire() {
        let mut snapshot = WorkerSnapshot {
            emitted: 10,
            accepted: 7,
            sent: 5,
            queued: 2,
            ..Default::default()
        };
        snapshot.dropped.add(Reason::QueueFull, 3);
        snapshot.notes.add(Note::Redacted, 1);
        let mut report = WorkerReport::default();
        snapshot_to_report(&snapshot, &mut report);
        assert_eq!(snapshot_from_report(&report), Ok(snapshot));
    }

    #[test]
    fn a_reason_outside_the_list_is_refused() {
        let report = WorkerReport {
            dropped: vec![ReasonCount {
                reason: 99,
                count: 1,
            }],
            ..Default::default()
        };
        assert_eq!(
            snapshot_from_report(&report),
            Err(ReportError::UnknownReason(99))
        );
    }
}
