//! Whose the events of a stream are: those of the present incarnation, or of a new one.
//!
//! A worker that waited in vain for our first control sends events before its hello. They are
//! dispatched like any others and counted apart, for their sequences mean nothing until it is known
//! which incarnation they belong to. The hello says so. Without its word the order decides, because
//! the sequences of an incarnation only ever rise: what begins above the highest one so far goes
//! on with the present incarnation, and what does not is from a new one.
//!
//! A worker that never says hello is therefore never told that it repeats itself across streams. Its
//! streams count for one nameless incarnation as long as the sequences rise, and what is missing
//! between two of them is a gap. Where it restarts and is ahead of the old one at once, which
//! nobody can see, the jump counts as a gap: rather a loss too many than one in silence.

use std::mem;
use std::sync::Arc;

use super::{Hello, Memory, Record};
use crate::pipeline::StreamLedger;

impl Record {
    /// A stream begins. Returns the counters for its events until more is known.
    pub(in crate::session) fn begin(&self) -> Arc<StreamLedger> {
        let mut memory = self.lock();
        self.end_stream(&mut memory);
        memory.greeted = false;
        Arc::clone(memory.unnamed.insert(Arc::default()))
    }

    /// The counters for the next event of the present stream.
    pub(in crate::session) fn counting(&self) -> Arc<StreamLedger> {
        Arc::clone(self.lock().unnamed.as_ref().unwrap_or(&self.ledger))
    }

    /// Takes a report's word for what the worker had sent when it is still open whose events these
    /// are: after a hello of which nobody knows whether it names the incarnation before it, or without
    /// one.
    pub(super) fn attribute_by(&self, sent: u64) {
        let mut memory = self.lock();
        if memory.unnamed.is_some()
            && let Some(same) = self.goes_on(&memory, Some(sent))
        {
            self.attribute(&mut memory, same);
        }
    }

    /// The present stream, if there is one, is over; nobody will say any more whose it was.
    pub(super) fn end_stream(&self, memory: &mut Memory) {
        if memory.unnamed.is_none() {
            return;
        }
        let same = self.goes_on(memory, None).unwrap_or_else(|| {
            // It showed no sequence. A hello that is still open must not name what was there before.
            if memory.greeted {
                memory.hello = Hello::default();
            }
            true
        });
        self.attribute(memory, same);
    }

    /// Whether the present stream goes on with the present incarnation, by its first sequence or by
    /// the number of events `sent` before it; `None` if there is neither.
    pub(super) fn goes_on(&self, memory: &Memory, sent: Option<u64>) -> Option<bool> {
        let highest = self.ledger.position();
        if highest == 0 {
            return Some(true);
        }
        let next = sent.map(|sent| sent.saturating_add(1));
        let unnamed = memory.unnamed.as_ref();
        let first = unnamed.and_then(|it| it.first()).or(next)?;
        Some(first > highest)
    }

    /// Settles whose the present stream is: of the `same` incarnation as before or of a new one, which
    /// ends the old one without it.
    pub(super) fn attribute(&self, memory: &mut Memory, same: bool) {
        if !same {
            let hello = mem::take(&mut memory.hello);
            memory.fold(&self.ledger);
            if memory.greeted {
                memory.hello = hello;
            }
        }
        if memory.asked_before && (memory.greeted || !same) {
            self.ledger.join_at(0);
        }
        if let Some(unnamed) = memory.unnamed.take() {
            self.ledger.absorb(&unnamed);
        }
    }
}

impl Memory {
    /// Adds the present incarnation to the past ones.
    pub(super) fn fold(&mut self, ledger: &StreamLedger) {
        let joined_at = ledger.joined_at();
        let counted = ledger.take();
        if let Some(mut report) = self.report.take() {
            let arrived = counted
                .sequenced
                .saturating_add(counted.gaps)
                .saturating_add(joined_at);
            self.lost_at_crash = self
                .lost_at_crash
                .saturating_add(report.accepted.saturating_sub(arrived));
            // What arrived after its last report it had accepted, and emitted, as well.
            report.accepted = report.accepted.max(arrived);
            report.emitted = report
                .emitted
                .max(report.accepted.saturating_add(report.dropped.total()));
            report.sent = arrived;
            report.queued = 0;
            self.folded_reports.merge(&report);
        }
        self.folded.merge(&counted);
        self.report_final = false;
        self.report_difference = 0;
        self.applied_revision = 0;
        self.control_error.clear();
        self.hello = Hello::default();
        // The worker that comes next is ours from its first event on.
        self.asked_before = true;
    }
}
