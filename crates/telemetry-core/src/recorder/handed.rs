//! The way out of the queue for backends that are no stream: one event at a time, and each says how it
//! ended.
//!
//! Writing a line may take long or fail, so no lock is held meanwhile, and the event counts as queued
//! until its end is known.

use super::Recorder;
use crate::ledger::Reason;
use crate::queue::Budget;

/// An event in the hands of a backend. Dropped without a word it counts as `backend_error`.
#[must_use = "an event whose end is not told counts as lost"]
#[derive(Debug)]
pub struct Handed<'a> {
    /// Where it was queued.
    recorder: &'a Recorder,
    /// How it ended, as far as is known.
    end: Result<(), Reason>,
}

impl Handed<'_> {
    /// The backend took it.
    pub fn delivered(mut self) {
        self.end = Ok(());
    }

    /// It was not delivered.
    pub fn dropped(mut self, reason: Reason) {
        self.end = Err(reason);
    }
}

impl Drop for Handed<'_> {
    fn drop(&mut self) {
        self.recorder.gate.put_down(self.end);
    }
}

impl Recorder {
    /// Takes the oldest event out for a backend that is no stream: its bytes, without a frame and
    /// without a sequence, replace those in `event`. `None` if no event is ready.
    pub fn hand_out(&self, event: &mut Vec<u8>) -> Option<Handed<'_>> {
        event.clear();
        let one = Budget {
            events: 1,
            bytes: usize::MAX,
        };
        let drained = self.queue.drain_into(
            |record| {
                self.gate.count_left(record.tag());
                self.gate.pick_up();
                record.append_to(event);
            },
            one,
        );
        if drained.events == 0 {
            return None;
        }
        self.gate.settle().tell_waiters();
        Some(Handed {
            recorder: self,
            end: Err(Reason::BackendError),
        })
    }
}
