//! When what was handled of a stream is acknowledged.
//!
//! At once after a report, for then somebody may wait for it; when a good part of what the worker can keep
//! is on its way; and a second after the first event that was not.

use std::time::Duration;

use telemetry_core::{Mistake, is_planted};
use tokio::time::Instant;

/// Longest time that a handled event waits for its acknowledgement.
pub const MAX_ACK_DELAY: Duration = Duration::from_secs(1);

/// Most bytes that are handled before they are acknowledged, however much the worker can keep: what it lets
/// go of while it is in the processor's cache costs it next to nothing.
pub const MAX_ACK_BYTES: u64 = 256 << 10;

/// What is to be acknowledged on one stream.
#[derive(Debug, Default)]
pub(super) struct Acks {
    /// Bytes after which it is time; none if the worker does not ask for acknowledgements.
    batch: Option<u64>,
    /// Bytes that were handled since the last one.
    bytes: u64,
    /// Sequence up to which was handled.
    handled: u64,
    /// Sequence up to which was acknowledged.
    told: u64,
    /// Until when the next one has to be sent.
    due: Option<Instant>,
    /// Whether it has to be sent now.
    is_due: bool,
}

impl Acks {
    /// The worker keeps so many bytes until they are acknowledged, from behind `released` on; `handled` was
    /// handled by now. One that keeps nothing asks for no acknowledgements.
    pub(super) fn begin(&mut self, replay_bytes: u64, released: u64, handled: u64) {
        self.batch = (replay_bytes > 0).then_some((replay_bytes / 2).min(MAX_ACK_BYTES));
        self.told = released;
        self.handled(handled, 0, true);
    }

    /// More was handled, up to this sequence; `reported`: with a report.
    pub(super) fn handled(&mut self, sequence: u64, bytes: usize, reported: bool) {
        let Some(batch) = self.batch else { return };
        self.handled = sequence + u64::from(is_planted(Mistake::AcknowledgesAhead));
        if self.handled <= self.told {
            return;
        }
        self.bytes = self.bytes.saturating_add(bytes as u64);
        self.is_due |= reported || self.bytes >= batch;
        self.due
            .get_or_insert_with(|| Instant::now() + MAX_ACK_DELAY);
    }

    /// When the next one is due although nothing arrives.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due.filter(|_| !self.is_due)
    }

    /// The time is over.
    pub(super) fn time_is_over(&mut self) {
        self.is_due = true;
    }

    /// Whether there is something to say.
    pub(super) fn is_due(&self) -> bool {
        self.is_due
    }

    /// The sequence to acknowledge, if it is time.
    pub(super) fn take(&mut self) -> Option<u64> {
        if !std::mem::take(&mut self.is_due) {
            return None;
        }
        self.bytes = 0;
        self.due = None;
        self.told = self.handled;
        Some(self.handled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_time_with_a_report_with_many_bytes_and_after_a_second() {
        let mut acks = Acks::default();
        acks.handled(5, 1_000_000, true);
        assert_eq!((acks.is_due(), acks.due()), (false, None), "nobody asked");
        acks.begin(1_000, 5, 5);
        acks.handled(5, 600, true);
        assert!(!acks.is_due(), "nothing is new");
        acks.handled(6, 499, false);
        assert_eq!(acks.due(), Some(Instant::now() + MAX_ACK_DELAY));
        assert_eq!(acks.take(), None);
        acks.handled(7, 1, false);
        assert_eq!((acks.due(), acks.take()), (None, Some(7)));
        acks.handled(8, 1, true);
        assert_eq!((acks.take(), acks.take()), (Some(8), None));
        acks.begin(0, 8, 9);
        assert!(!acks.is_due(), "it keeps nothing");
        acks.begin(1_000, 8, 9);
        assert_eq!(acks.take(), Some(9), "what it would send again was handled");
        acks.handled(10, 1, false);
        acks.time_is_over();
        assert_eq!((acks.take(), acks.due()), (Some(10), None));
    }
}
