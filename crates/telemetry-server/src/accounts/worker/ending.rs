//! The end of the process behind a worker: it is known first, and booked when all of it is read.

use telemetry_core::{Mistake, is_planted};

use super::super::book::{Place, Shared, lock};
use super::super::incarnation::{End, Incarnation, Silent};
use super::Account;

/// A process that is known to have ended.
#[derive(Debug)]
pub(crate) struct Gone {
    pub(super) how: End,
    /// The incarnation that ended, where it need not be the present one.
    of: Option<String>,
    /// It counts, too, if it never said anything.
    silent: Option<Silent>,
}

impl Account {
    /// The process behind this worker is known to have ended; whatever it sent is still to be read, if
    /// its stream is open. It is booked by [`end_if_gone`](Self::end_if_gone). `silent`: one that never
    /// said anything counts, too.
    pub(crate) fn process_ended(&mut self, how: End, silent: Option<Silent>) {
        let of = None;
        self.gone = Some(Gone { how, of, silent });
    }

    /// The same of an incarnation that need not be the one that is present.
    pub(crate) fn incarnation_ended(&mut self, id: &str) {
        self.gone = Some(Gone {
            how: End::Unasked,
            of: Some(id.to_owned()),
            silent: None,
        });
    }

    /// The same of a process that introduced itself, and may have said nothing else.
    pub(crate) fn caller_ended(&mut self, caller: Silent) {
        self.gone = Some(Gone {
            how: End::Unasked,
            of: Some(caller.incarnation.clone()),
            silent: Some(caller),
        });
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
            let is_named = gone.of.as_ref() == Some(&incarnation.id);
            let is_it = is_named || gone.of.is_none() || incarnation.id.is_empty();
            let is_open = incarnation.owner == Some(self.owner) && !incarnation.ended;
            // Another one may live, and its end will be told.
            let ends = !incarnation.claimed && (is_it || incarnation.is_silently_over());
            if is_open && ends {
                let news = incarnation.end(gone.how);
                drop(incarnation);
                self.add(&news);
            }
            if is_named || (is_it && is_open) {
                return;
            }
        }
        if let Some(silent) = gone.silent.filter(|it| !self.has_spoken(it)) {
            let since_ns = silent.since_ns;
            let (worker_id, pool_name) = (self.worker_id.clone(), self.pool_name.clone());
            let silent = Incarnation::silent(silent, worker_id, pool_name);
            if self.book.enter_silent(&silent) {
                self.unaccounted += 1;
                self.unknown_since_ns = Some(since_ns);
            }
        }
    }

    /// Whether a process is known by its own word, so that its end is booked with that.
    fn has_spoken(&self, silent: &Silent) -> bool {
        let place = silent.pid.map(Place::Process);
        let met = place.and_then(|place| self.met(&silent.incarnation, place));
        met.is_some_and(|it| !silent.incarnation.is_empty() && !lock(&it).id.is_empty())
    }
}
