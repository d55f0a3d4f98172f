//! The way out of the queue: drained into frames, discarded, or waited for.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::task::Waker;
use std::time::{Duration, Instant};

use super::Recorder;
use crate::ledger::Reason;
use crate::queue::{Budget, Record, Sleep};
use crate::wire::{DecodeLimits, append_sequence, decode_event, frame_header, sequence_len};

impl Recorder {
    /// Moves queued events into `out` as gRPC frames, each stamped with its sequence, and returns how
    /// many.
    pub fn drain_frames(&self, out: &mut Vec<u8>, budget: Budget) -> usize {
        let mut to_recheck = self.to_recheck.swap(0, Ordering::Relaxed);
        let mut filtered = 0;
        let drained = self.queue.drain_into(
            |event| {
                self.gate.count_left(event.tag());
                if to_recheck > 0 {
                    to_recheck -= 1;
                    if !self.passes(event) {
                        filtered += 1;
                        return self.gate.count_dropped_late(Reason::Filtered, 1);
                    }
                }
                let sequence = self.gate.next_sequence();
                out.extend_from_slice(&frame_header(event.len() + sequence_len(sequence)));
                event.append_to(out);
                append_sequence(out, sequence);
            },
            budget,
        );
        self.to_recheck.fetch_add(to_recheck, Ordering::Relaxed);
        if drained.events > 0 {
            self.wake_waiters();
        }
        drained.events - filtered
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
        self.pump.register(waker);
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
        self.pump.register(waker);
        !self.queue.has_batch() && !self.is_closed() && self.awaited.load(Ordering::SeqCst) == 0
    }

    /// Wakes the pump whether or not there is an event, as when a stream is replaced.
    pub fn wake_pump(&self) {
        self.pump.wake();
    }

    /// Waits until the queue was empty for a moment, and says whether it was in time.
    pub fn wait_drained(&self, timeout: Duration) -> bool {
        self.awaited.fetch_add(1, Ordering::SeqCst);
        self.wake_pump();
        let drained = self.wait_until_empty(timeout);
        self.awaited.fetch_sub(1, Ordering::SeqCst);
        drained
    }

    fn wait_until_empty(&self, timeout: Duration) -> bool {
        // No deadline if it lies beyond what the clock can tell.
        let deadline = Instant::now().checked_add(timeout);
        let mut waiters = self.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        while !self.queue.is_empty() {
            let left = deadline.map_or(timeout, |deadline| {
                deadline.saturating_duration_since(Instant::now())
            });
            if left.is_zero() {
                return false;
            }
            *waiters += 1;
            waiters = self
                .drained
                .wait_timeout(waiters, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            *waiters -= 1;
        }
        true
    }

    /// Drops everything queued under `reason`, what is in the hands of a backend included, and returns
    /// how many events that were.
    pub fn discard_queued(&self, reason: Reason) -> u64 {
        let count = self.queue.drain_all(|event| {
            self.gate.count_left(event.tag());
            self.gate.count_dropped_late(reason, 1);
        });
        if count > 0 {
            self.wake_waiters();
        }
        count + self.gate.drop_in_hands(reason)
    }

    /// Lets those in `wait_drained` look at the queue again.
    pub(super) fn wake_waiters(&self) {
        // Whoever saw a full queue holds the lock until it waits, so the wake comes after.
        if *self.waiters.lock().unwrap_or_else(PoisonError::into_inner) > 0 {
            self.drained.notify_all();
        }
    }
}
