//! What a report may claim: a worker that lies or is broken must not move a sum.
//!
//! Counters of one incarnation only rise, and not faster than any process can emit. What is read of a
//! running worker, one counter after the other, may be apart by the events under way.

use std::time::Duration;

use telemetry_core::ledger::WorkerSnapshot;

/// Most events that a worker can emit in a second of its life; who claims more lies or is broken.
const MAX_EVENTS_PER_SECOND: u64 = 1_000_000_000;
/// Life that is granted to an incarnation before it was first seen.
const GRANTED_LIFE: Duration = Duration::from_secs(1);
/// Most events that the queue of a worker holds: 2 GiB of words, its largest, of the smallest records.
const MAX_QUEUED: u64 = 1 << 27;
/// What counters that are read one after the other may be apart while events are under way.
const READING_SLACK: u64 = 1 << 20;

/// A report that was left out: it cannot be true.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the report cannot be true: {what} is {claimed}, after or beside {before}")]
pub(crate) struct Implausible {
    pub(super) what: &'static str,
    pub(super) before: u64,
    pub(super) claimed: u64,
}

impl Implausible {
    /// More than can be in a life that began with us.
    pub(super) fn of_beginning(claimed: u64) -> Self {
        Self {
            what: "emitted",
            before: 0,
            claimed,
        }
    }

    /// A sequence beyond belief behind another one.
    pub(super) fn of_position(before: u64, claimed: u64) -> Self {
        Self {
            what: "position",
            before,
            claimed,
        }
    }
}

/// Most events that can be emitted in a life of this length, seen in part.
pub(super) fn allowance(life: Duration) -> u64 {
    let life = life.saturating_add(GRANTED_LIFE);
    u64::try_from(life.as_millis())
        .unwrap_or(u64::MAX)
        .saturating_mul(MAX_EVENTS_PER_SECOND / 1_000)
}

/// Whether the counters of one report can stand beside each other.
pub(super) fn is_consistent(
    report: &WorkerSnapshot,
    position: Option<u64>,
) -> Result<(), Implausible> {
    let most = report.emitted.saturating_add(READING_SLACK);
    let parts = [
        ("accepted", report.accepted, most),
        ("sent", report.sent, most),
        ("dropped", report.dropped.total(), most),
        ("queued", report.queued, most.min(MAX_QUEUED)),
        ("position", position.unwrap_or(0), report.sent),
    ];
    for (what, claimed, most) in parts {
        if claimed > most {
            return Err(Implausible {
                what,
                before: most,
                claimed,
            });
        }
    }
    Ok(())
}

/// Whether a report can follow on another one of the same incarnation, known for so long.
pub(super) fn is_plausible(
    first: &WorkerSnapshot,
    last: &WorkerSnapshot,
    report: &WorkerSnapshot,
    known_for: Duration,
) -> Result<(), Implausible> {
    let most = allowance(known_for);
    let rising = |what, first: u64, before: u64, claimed: u64| {
        if claimed < before || claimed.saturating_sub(first) > most {
            return Err(Implausible {
                what,
                before,
                claimed,
            });
        }
        Ok(())
    };
    rising("emitted", first.emitted, last.emitted, report.emitted)?;
    rising("sent", first.sent, last.sent, report.sent)?;
    for (reason, before) in last.dropped.iter() {
        let then = first.dropped.get(reason);
        rising("dropped", then, before, report.dropped.get(reason))?;
    }
    for (note, before) in last.notes.iter() {
        let then = first.notes.get(note);
        rising("notes", then, before, report.notes.get(note))?;
    }
    let (then, before) = (first.dropped.total(), last.dropped.total());
    rising("dropped", then, before, report.dropped.total())?;
    let (then, before) = (first.notes.total(), last.notes.total());
    rising("notes", then, before, report.notes.total())
}
