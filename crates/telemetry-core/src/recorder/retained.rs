//! Events that were sent and are kept until the manager acknowledges them.

use std::time::{Duration, Instant};

use super::Recorder;
use crate::mistake::{Mistake, is_planted};

impl Recorder {
    /// The manager has taken responsibility for the events up to this sequence: they are released. One
    /// that was never sent cannot be acknowledged.
    pub fn acknowledge(&self, sequence: u64) {
        let sequence = sequence.min(self.gate.sent());
        if sequence <= self.gate.acknowledged() {
            return;
        }
        // In this order, so that no reading finds more acknowledged and retained than sent.
        self.queue.release(sequence);
        self.gate.count_acknowledged(sequence);
        self.gate.settle().tell_waiters();
    }

    /// A stream begins whose manager acknowledges and has handled the events up to `handled` of what
    /// this worker sent. What is kept behind that goes out again before all others. Returns the
    /// sequence behind which the stream goes on.
    pub fn resume(&self, handled: u64) -> u64 {
        self.gate.settle().set_unacknowledged(false);
        if is_planted(Mistake::NeverRepeats) {
            return self.gate.sent();
        }
        self.queue.rewind(handled)
    }

    /// Sequence of the last event that was released; those behind it were sent and are kept, or wait.
    #[must_use]
    pub fn released(&self) -> u64 {
        let resting = self.queue.at_rest();
        resting.sent() - resting.retained()
    }

    /// Whether there are events to be sent, or to be sent again.
    #[must_use]
    pub fn has_more(&self) -> bool {
        let resting = self.queue.at_rest();
        resting.is_rewound() || resting.queued() > 0
    }

    /// Events that were sent and are kept.
    #[must_use]
    pub fn retained(&self) -> u64 {
        self.queue.at_rest().retained()
    }

    /// Most bytes that events take which were sent and are kept.
    #[must_use]
    pub fn max_retained_bytes(&self) -> usize {
        self.queue.max_words() / 2 * size_of::<u64>()
    }

    /// Lets go of all events that were sent: the manager of the stream that begins acknowledges nothing.
    pub fn forget_retained(&self) {
        self.forget_beyond(0);
        self.gate.settle().set_unacknowledged(true);
    }

    /// Lets go of events that were sent until those that are kept take no more words than this.
    pub(super) fn forget_beyond(&self, words: usize) {
        let mut forgotten = self.queue.release_beyond(words);
        if is_planted(Mistake::ForgetsUncounted) {
            forgotten = 0;
        }
        self.gate.count_forgotten(forgotten);
    }

    /// Whether the present stream, or the last one, is known to have a manager that acknowledges nothing.
    #[must_use]
    pub fn is_unacknowledged(&self) -> bool {
        self.gate.settle().is_unacknowledged()
    }

    /// Whether all events up to this sequence are acknowledged.
    #[must_use]
    pub fn is_acknowledged(&self, sequence: u64) -> bool {
        self.gate.acknowledged() >= sequence
    }

    /// [`settle`](Self::settle), and waits until everything that was sent by then is acknowledged, as
    /// long as the stream is there and its manager can acknowledge it; says whether it is.
    pub fn settle_acknowledged(&self, timeout: Duration) -> bool {
        let deadline = Instant::now().checked_add(timeout);
        if !self.settle(timeout) {
            return false;
        }
        let sent = self.gate.sent();
        let settle = self.gate.settle();
        let is_known = || {
            let is_hopeless = settle.is_unacknowledged() || self.retained() == 0;
            is_hopeless || self.is_acknowledged(sent)
        };
        settle.wait_on_stream(deadline, is_known) && self.is_acknowledged(sent)
    }
}
