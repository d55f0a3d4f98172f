//! What a pump and those who wait for it say to each other: is everything that was counted so far
//! written?

use std::time::{Duration, Instant};

use super::Recorder;
use crate::settle::{IsWritten, Waited};

/// A place in the order of events that were ever queued: behind all those of a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark(u64);

impl Recorder {
    /// Waits until everything that was counted before is in the socket of the present stream, and
    /// says whether it was in time. Without a stream, and when it ends meanwhile, that is false at
    /// once, unless there is nothing to be written.
    ///
    /// Without any time it says whether all events are there already; ask again after a moment.
    pub fn settle(&self, timeout: Duration) -> bool {
        // No deadline if it lies beyond what the clock can tell.
        let deadline = Instant::now().checked_add(timeout);
        let settle = self.gate.settle();
        match settle.awaiting(|| settle.wait(settle.ask(), deadline)) {
            Waited::Written => true,
            Waited::TooLate => {
                timeout.is_zero() && settle.written() == self.queue.at_rest().pushed()
            }
            Waited::NoStream { left_unwritten } => !left_unwritten && self.has_sent_all(),
        }
    }

    /// [`settle`](Self::settle), but without a stream it waits for one, or until whoever else drains
    /// the queue has emptied it.
    pub fn wait_drained(&self, timeout: Duration) -> bool {
        let deadline = Instant::now().checked_add(timeout);
        let settle = self.gate.settle();
        settle.awaiting(|| {
            loop {
                match settle.wait(settle.ask(), deadline) {
                    Waited::Written => return true,
                    Waited::TooLate => return false,
                    Waited::NoStream { left_unwritten } if self.has_sent_all() => {
                        return !left_unwritten;
                    }
                    Waited::NoStream { .. } => {}
                }
                if !settle.wait_without_stream(deadline, || self.has_sent_all()) {
                    return false;
                }
            }
        })
    }

    /// Whether nothing waits to be sent, or to be sent again.
    fn has_sent_all(&self) -> bool {
        let resting = self.queue.at_rest();
        resting.queued() == 0 && resting.retained() == 0
    }

    /// A stream begins to drain the queue, in place of the one before. Returns its number.
    pub fn begin_stream(&self) -> u64 {
        self.queue.set_eager(false);
        self.gate.settle().begin_stream()
    }

    /// The stream of this number is over; `is_written` says whether the bytes that it was given are in
    /// its socket. Nobody waits for it any more, and write-through mode ends with it.
    pub fn end_stream(&self, number: u64, is_written: IsWritten) {
        if self.gate.settle().end_stream(number, is_written) {
            self.queue.set_eager(false);
        }
    }

    /// Whether there is a stream that could answer [`settle`](Self::settle).
    #[must_use]
    pub fn has_stream(&self) -> bool {
        self.gate.settle().has_stream()
    }

    /// Whether the last stream ended with bytes that are not in its socket, and none began since.
    #[must_use]
    pub fn left_unwritten(&self) -> bool {
        self.gate.settle().left_unwritten()
    }

    /// The highest ticket of those who wait. What was counted before it was given out is visible to
    /// whoever got it here.
    #[must_use]
    pub fn asked(&self) -> u64 {
        self.gate.settle().asked()
    }

    /// Everything that was counted before this ticket, and every event before the mark, is in the
    /// socket.
    pub fn answer(&self, ticket: u64, mark: Mark) {
        self.gate.settle().answer(ticket, mark.0);
    }

    /// Behind every event that is in the queue now.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark(self.queue.at_rest().pushed())
    }

    /// Whether every event before `mark` has left the queue, and what was to be sent again too.
    #[must_use]
    pub fn is_past(&self, mark: Mark) -> bool {
        let resting = self.queue.at_rest();
        !resting.is_rewound() && resting.pushed() - resting.queued() >= mark.0
    }

    /// Begins write-through mode: from now on an emit returns once its outcome is written, if that
    /// does not take longer than [`WRITE_THROUGH_WAIT`](crate::emit::WRITE_THROUGH_WAIT), and events wait for
    /// no others. It ends with the stream. What is queued and counted by now is for the pump to send.
    pub fn begin_write_through(&self) {
        self.gate.begin_write_through();
        // A push before this is in the queue, one after it is told to wake and to wait.
        self.queue.set_eager(true);
    }

    /// Whether write-through mode keeps its promise right now: no emit gave up waiting, or its outcome
    /// was written since.
    #[must_use]
    pub fn is_written_through(&self) -> bool {
        self.gate.settle().is_kept()
    }
}
