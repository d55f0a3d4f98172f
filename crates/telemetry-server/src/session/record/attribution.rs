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
        memory.attributed = false;
        Arc::clone(&self.unnamed)
    }

    /// The counters for the next event of the present stream.
    pub(in crate::session) fn counting(&self) -> Arc<StreamLedger> {
        let ledger = if self.lock().attributed {
            &self.ledger
        } else {
            &self.unnamed
        };
        Arc::clone(ledger)
    }

    /// Takes a report's word for what the worker had sent when it is still open whose events these
    /// are: after a hello of which nobody knows whether it names the incarnation before it, or without
    /// one.
    pub(super) fn attribute_by(&self, sent: u64) {
        let mut memory = self.lock();
        if !memory.attributed
            && let Some(same) = self.goes_on(Some(sent))
        {
            self.attribute(&mut memory, same);
        }
    }

    /// The present stream, if there is one, is over; nobody will say any more whose it was.
    pub(super) fn end_stream(&self, memory: &mut Memory) {
        if memory.attributed {
            return;
        }
        let same = self.goes_on(None).unwrap_or_else(|| {
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
    pub(super) fn goes_on(&self, sent: Option<u64>) -> Option<bool> {
        let highest = self.ledger.position();
        if highest == 0 {
            return Some(true);
        }
        let next = sent.map(|sent| sent.saturating_add(1));
        let first = self.unnamed.first().or(next)?;
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
        self.ledger.absorb(&self.unnamed);
        memory.attributed = true;
    }
}
