//! The way out of the queue: drained into frames or discarded, and the sleep of who drains it.

use std::sync::atomic::Ordering;
use std::task::Waker;

use super::Recorder;
use crate::codec::{DecodeLimits, append_sequence, decode_event, frame_header, sequence_len};
use crate::ledger::Reason;
use crate::mistake::{Mistake, is_planted};
use crate::queue::{Budget, Fate, Record, Sleep};

/// What was drained into frames.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FramedOut {
    /// How many events.
    pub events: usize,
    /// How many of them were sent before.
    pub repeated: usize,
    /// Sequence of the first one; 0 without any.
    pub first_sequence: u64,
    /// Sequence of the last one; 0 without any. All between them are there.
    pub last_sequence: u64,
}

/// What becomes of events that were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// They stay until the manager acknowledges them, as far as there is room: half of the queue.
    UntilAcknowledged,
    /// They go: the manager acknowledges nothing.
    Nothing,
}

impl Recorder {
    /// Moves queued events into `out` as gRPC frames, each stamped with its sequence, and returns how
    /// many.
    pub fn drain_frames(&self, out: &mut Vec<u8>, budget: Budget) -> usize {
        self.frame_out(out, budget, Keep::Nothing).events
    }

    /// [`drain_frames`](Self::drain_frames), beginning with what is to be sent again. Without an event in
    /// it there is none that could be sent.
    pub fn frame_out(&self, out: &mut Vec<u8>, budget: Budget, keep: Keep) -> FramedOut {
        loop {
            let mut framed = FramedOut::default();
            let drained = self.frame_some(out, budget, keep, &mut framed);
            // All of them may have been filtered, and others wait behind them.
            if framed.events > 0 || drained == 0 {
                return framed;
            }
        }
    }

    /// One turn of `frame_out`; how many events were taken up.
    fn frame_some(
        &self,
        out: &mut Vec<u8>,
        budget: Budget,
        keep: Keep,
        framed: &mut FramedOut,
    ) -> usize {
        let mut to_recheck = self.to_recheck.swap(0, Ordering::Relaxed);
        let mut repeated = 0;
        let drained = self.queue.hand_out(
            |event| {
                if event.is_repeated() {
                    repeated += 1;
                } else {
                    self.gate.count_left(event.tag());
                    if to_recheck > 0 {
                        to_recheck -= 1;
                        if !self.passes(event) {
                            let count = u64::from(!is_planted(Mistake::FiltersUncounted));
                            self.gate.count_dropped_late(Reason::Filtered, count);
                            return Fate::Gone;
                        }
                    }
                    self.gate.count_sent(event.number());
                }
                let sequence = event.number();
                framed.events += 1;
                if framed.first_sequence == 0 {
                    framed.first_sequence = sequence;
                }
                framed.last_sequence = sequence;
                out.extend_from_slice(&frame_header(event.len() + sequence_len(sequence)));
                event.append_to(out);
                append_sequence(out, sequence);
                match keep {
                    Keep::UntilAcknowledged => Fate::Kept,
                    Keep::Nothing => Fate::Sent,
                }
            },
            budget,
        );
        self.to_recheck.fetch_add(to_recheck, Ordering::Relaxed);
        framed.repeated += repeated;
        self.gate.count_repeated(repeated as u64);
        // Ahead of those who emit, who would have to take the consumer's lock for it.
        self.forget_beyond(self.queue.max_words() / 2);
        if drained.events > 0 {
            self.gate.settle().tell_waiters();
        }
        drained.events
    }

    /// Has what is queued now pass the toggle and the filter of the present policy before it is
    /// drained; what does not is dropped as `filtered`. A pump asks for it when the first control of
    /// a stream has arrived, so that a worker which started before it leaks nothing.
    pub fn recheck_queued(&self) {
        self.to_recheck.store(self.queue.len(), Ordering::Relaxed);
    }

    /// Whether a queued event passes the toggle and the filter of the present policy.
    fn passes(&self, event: Record<'_>) -> bool {
        let mut bytes = Vec::with_capacity(event.len());
        event.append_to(&mut bytes);
        let name = decode_event(&bytes, &DecodeLimits::default()).and_then(|it| it.parts.dotted());
        // What we encoded we can decode; were it not so, the manager is the one to count it.
        name.map_or(true, |name| {
            self.gate
                .callsite(&name)
                .map_or(true, |site| self.gate.is_enabled(&site))
        })
    }

    /// Puts the pump to sleep: returns true once `waker` is set to be woken by the next event, and
    /// false if there is an event already.
    pub fn sleep_until_event(&self, waker: &Waker) -> bool {
        self.gate.settle().pump().register(waker);
        match self.queue.try_sleep() {
            Sleep::Granted => true,
            Sleep::Records => false,
            Sleep::Stalled => {
                // The thread that is about to finish the event may need this very core.
                std::thread::yield_now();
                false
            }
        }
    }

    /// Lets events gather: returns true once `waker` is set to be woken by the event that makes a
    /// batch, by `close` and by whoever waits for the queue to be empty; false if there is no time for
    /// that. Nobody is woken for a single event.
    pub fn sleep_until_batch(&self, waker: &Waker) -> bool {
        self.gate.settle().pump().register(waker);
        !self.queue.has_batch() && !self.is_closed() && !self.gate.settle().is_awaited()
    }

    /// Wakes the pump whether or not there is an event, as when a stream is replaced.
    pub fn wake_pump(&self) {
        self.gate.settle().pump().wake();
    }

    /// Drops everything queued under `reason`, what is in the hands of a backend included, and returns
    /// how many events that were.
    pub fn discard_queued(&self, reason: Reason) -> u64 {
        let count = self.queue.drain_all(|event| {
            self.gate.count_left(event.tag());
            self.gate.count_dropped_late(reason, 1);
        });
        if count > 0 {
            self.gate.settle().tell_waiters();
        }
        count + self.gate.drop_in_hands(reason)
    }
}
