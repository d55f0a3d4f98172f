//! The last step of an emit: the encoded event goes into the queue, or is counted as dropped.

use super::{Overflow, Recorder};
use crate::callsite::Callsite;
use crate::gate::Outcome;
use crate::ledger::Reason;
use crate::queue::{Pushed, Record, Refused};

/// How often an event that evicts others looks for one in a queue that others just emptied.
const EVICT_ATTEMPTS: usize = 8;

impl Recorder {
    /// Queues an encoded event.
    #[inline(always)]
    pub(super) fn push(&self, site: &Callsite, event: &[u8]) -> Outcome {
        match self.queue.try_push(event, site.tag()) {
            Ok(pushed) => self.pushed(pushed),
            Err(refused) => self.push_refused(site, event, refused),
        }
    }

    /// Wakes the pump if that is on us, and waits for it in write-through mode.
    #[inline]
    fn pushed(&self, pushed: Pushed) -> Outcome {
        if pushed.wake {
            self.gate.settle().after_waking_push();
        }
        Outcome::Accepted
    }

    /// Counts an event that was refused, or makes room for it where the configuration says so.
    #[cold]
    fn push_refused(&self, site: &Callsite, event: &[u8], mut refused: Refused) -> Outcome {
        let mut attempts = 0;
        while refused == Refused::Full
            && self.is_started()
            && self.queue.can_hold(event.len())
            && attempts < EVICT_ATTEMPTS
        {
            let evict = |oldest: Record<'_>| {
                self.gate.count_left(oldest.tag());
                self.gate.count_dropped_late(Reason::EvictedOldest, 1);
            };
            let may_evict = self.overflow == Overflow::DropOldest;
            match self.queue.make_room(may_evict.then_some(evict)) {
                Some(forgotten) => self.gate.count_forgotten(forgotten),
                None if !may_evict => break,
                None => {
                    // Somebody made room, or is about to publish what he claimed.
                    attempts += 1;
                    std::thread::yield_now();
                }
            }
            match self.queue.try_push(event, site.tag()) {
                Ok(pushed) => return self.pushed(pushed),
                Err(still) => refused = still,
            }
        }
        self.gate.count_dropped(
            site,
            match refused {
                Refused::Full if !self.is_started() => self.reason_unstarted(),
                Refused::Full => Reason::QueueFull,
                Refused::Closed => Reason::NotRunning,
            },
        )
    }
}
