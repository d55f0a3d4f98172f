//! What is in a queue while nothing is taken out of it.

use std::fmt;

use super::Queue;
use super::cursor::{Cursor, Distance};
use super::drain::Consumer;
use crate::sync::{MutexGuard, Ordering};

/// A queue from which nothing is taken out.
pub struct Resting<'a> {
    queue: &'a Queue,
    consumer: MutexGuard<'a, Consumer>,
    /// Where the next record was claimed when the view was made.
    end: Cursor,
}

impl fmt::Debug for Resting<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resting")
            .field("pushed", &self.pushed())
            .field("queued", &self.queued())
            .field("retained", &self.retained())
            .finish()
    }
}

impl<'a> Resting<'a> {
    pub(super) fn new(queue: &'a Queue, consumer: MutexGuard<'a, Consumer>) -> Self {
        let end = Cursor::unpack(queue.tail().load(Ordering::Acquire));
        Self {
            queue,
            consumer,
            end,
        }
    }

    /// Records ever let in.
    #[must_use]
    pub fn pushed(&self) -> u64 {
        self.consumer.taken + self.queued()
    }

    /// Records that were not handed out yet.
    #[must_use]
    pub fn queued(&self) -> u64 {
        self.end.since(self.consumer.sent.at).records as u64
    }

    /// The records that were not handed out yet, and their words.
    pub(super) fn waiting(&self) -> Distance {
        self.end.since(self.consumer.sent.at)
    }

    /// Records that were sent and are kept.
    #[must_use]
    pub fn retained(&self) -> u64 {
        self.consumer.sent.number - self.consumer.base.number
    }

    /// Number of the last record that was sent.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.consumer.sent.number
    }

    /// Whether records are to be handed out again.
    #[must_use]
    pub fn is_rewound(&self) -> bool {
        self.consumer.next != self.consumer.sent
    }

    /// The tags of the records that were not handed out yet, oldest first, up to one that is not yet
    /// published.
    pub fn tags(&self) -> impl Iterator<Item = u32> + use<'_> {
        let mut at = self.consumer.sent.at;
        std::iter::from_fn(move || {
            let header = (at != self.end).then(|| self.queue.header(at)).flatten()?;
            at = at.after(header.words());
            Some(header.tag())
        })
    }
}
