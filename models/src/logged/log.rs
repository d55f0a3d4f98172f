//! The durable log, with a fence or without.

use super::manager::Batch;
use crate::events::Events;
use crate::model::Fault;

/// What a log takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogKind {
    /// A batch at the position that it names, and at no other.
    Fenced,
    /// Anything; its reader takes what is beyond the highest sequence that it saw.
    OpenHighest,
    /// Anything; its reader remembers which sequences are missing, and takes those that come late.
    OpenIntervals,
}

/// A log, and what its reader makes of it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, PartialOrd, Ord)]
pub(super) struct Log {
    /// Batches in it.
    pub(super) position: u8,
    /// The highest sequence in it.
    pub(super) covered: u8,
    /// Losses that were written into it.
    pub(super) gaps: Events,
    /// Sequences below the highest of which it holds nothing.
    pub(super) missing: Events,
}

impl Log {
    /// Offers a batch; says whether it was taken.
    ///
    /// # Errors
    ///
    /// The fence let something pass that does not follow on what is there.
    pub(super) fn append(&mut self, batch: &Batch, kind: LogKind) -> Result<bool, Fault> {
        if kind == LogKind::Fenced {
            if batch.position != self.position {
                return Ok(false);
            }
            Fault::unless(
                batch.first == self.covered + 1,
                "the log takes a batch that does not follow on the one before",
            )?;
        }
        self.position += 1;
        let (before, inside) = (self.covered, Events::between(batch.first, batch.last));
        let new = inside.without(Events::between(1, before));
        if batch.last > before {
            let skipped = Events::between(before + 1, batch.first.saturating_sub(1));
            self.missing = self.missing.and(skipped);
            self.gaps = self.gaps.and(new.among(batch.gaps));
            self.covered = batch.last;
        }
        if kind == LogKind::OpenIntervals {
            let late = inside.without(new).without(batch.gaps);
            self.missing = self.missing.without(late);
            self.gaps = self.gaps.without(late);
        }
        Ok(true)
    }
}
