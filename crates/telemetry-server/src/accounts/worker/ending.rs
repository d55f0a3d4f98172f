//! The end of the process behind a worker: it is known first, and booked when all of it is read.

use telemetry_core::{Mistake, is_planted};

use super::super::book::{Shared, lock};
use super::super::incarnation::{End, Silent};
use super::Account;

/// A process that is known to have ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gone {
    pub(super) how: End,
    silent: Option<Silent>,
}

impl Account {
    /// The process behind this worker is known to have ended; whatever it sent is still to be read, if
    /// its stream is open. It is booked by [`end_if_gone`](Self::end_if_gone). `silent`: one that never
    /// said anything counts, too.
    pub(crate) fn process_ended(&mut self, how: End, silent: Option<Silent>) {
        self.gone = Some(Gone { how, silent });
    }

    /// Whether its process has ended, and no stream of it is open.
    pub(crate) fn is_gone(&self) -> bool {
        let is_read = self.stream.is_none() || is_planted(Mistake::ReadsMemoryFirst);
        self.gone.is_some() && is_read
    }

    /// Whether the process behind the socket may be gone: its stream is over, and its end is not known.
    pub(crate) fn may_have_ended(&self) -> bool {
        let is_silent = |present: &Shared| {
            let present = lock(present);
            present.owner == Some(self.owner) && present.is_silent()
        };
        self.stream.is_none() && self.present.as_ref().is_some_and(is_silent)
    }

    /// Notices that it is gone, where nobody else will say so; whether it is news.
    pub(crate) fn notice_end(&mut self) -> bool {
        let is_over = |present: &Shared| {
            let present = lock(present);
            present.owner == Some(self.owner) && present.is_silently_over()
        };
        let is_over = self.stream.is_none() && self.present.as_ref().is_some_and(is_over);
        if is_over {
            self.process_ended(End::Unasked, None);
        }
        is_over
    }

    /// Sets the known end aside while what is left of the process is read, which may name it for the first
    /// time.
    pub(crate) fn set_end_aside(&mut self) -> Option<Gone> {
        self.gone.take()
    }

    /// What was set aside holds again.
    pub(crate) fn end_is_known(&mut self, gone: Option<Gone>) {
        self.gone = self.gone.take().or(gone);
    }

    /// Books the end of a process that is known to have ended and of which nothing is left to be read.
    pub(crate) fn end_if_gone(&mut self) {
        if !self.is_gone() {
            return;
        }
        let Some(gone) = self.gone.take() else {
            return;
        };
        if let Some(present) = self.present.clone() {
            let mut incarnation = lock(&present);
            if incarnation.owner == Some(self.owner) && !incarnation.ended {
                if !incarnation.claimed {
                    let news = incarnation.end(gone.how);
                    drop(incarnation);
                    self.add(&news);
                }
                return;
            }
        }
        if let Some(silent) = gone.silent {
            self.unaccounted += 1;
            self.unknown_since_ns = Some(silent.since_ns);
            let (worker_id, pool_name) = (self.worker_id.clone(), self.pool_name.clone());
            self.book.enter_silent(worker_id, pool_name, silent);
        }
    }
}
