//! The worker of both models: a queue, a ring of what was sent and is not released, and cursors.
//!
//! It knows sequences and no streams: what it is told to send again is the business of who resumes it.

use crate::events::Events;
use crate::model::Fault;

/// What a worker does when its ring is full of what was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Full {
    /// Sends nothing until something is released.
    Wait,
    /// Forgets the oldest that was sent.
    Forget,
}

/// How much there is, and how much room for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Events that are emitted in all, at most 14.
    pub events: u8,
    /// Events that may wait to be sent.
    pub queue: u8,
    /// Events that may be sent and not released.
    pub ring: u8,
    /// What happens beyond that.
    pub full: Full,
    /// Whether all events wait in the queue from the beginning, however small it is.
    pub is_burst: bool,
}

/// A worker.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, PartialOrd, Ord)]
pub struct Worker {
    /// Events that the program emitted.
    pub emitted: u8,
    /// Those of them that found the queue full.
    pub dropped: u8,
    /// Those that wait to be sent.
    pub queued: u8,
    /// The last sequence that was ever sent.
    pub sent: u8,
    /// All up to here are released: acknowledged or forgotten.
    pub base: u8,
    /// The next to be sent on the newest stream; what lies before `sent` is sent again.
    pub cursor: u8,
    /// Released without an acknowledgement.
    pub forgotten: Events,
}

impl Worker {
    /// One that has sent nothing yet.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        let waiting = if limits.is_burst { limits.events } else { 0 };
        Self {
            emitted: waiting,
            queued: waiting,
            cursor: 1,
            ..Self::default()
        }
    }

    /// The program emits; says whether there was room.
    pub fn emit(&mut self, limits: &Limits) -> bool {
        let has_room = self.queued < limits.queue;
        self.emitted += 1;
        self.queued += u8::from(has_room);
        self.dropped += u8::from(!has_room);
        has_room
    }

    /// Sent and not released.
    #[must_use]
    pub fn retained(&self) -> u8 {
        self.sent - self.base
    }

    /// What would be sent next, again or for the first time.
    #[must_use]
    pub fn next(&self, limits: &Limits) -> Option<u8> {
        let has_room = self.retained() < limits.ring || limits.full == Full::Forget;
        let is_again = self.cursor <= self.sent;
        (is_again || (self.queued > 0 && has_room)).then_some(self.cursor)
    }

    /// Sends what [`next`](Self::next) said.
    pub fn send(&mut self, limits: &Limits) -> u8 {
        if self.cursor > self.sent {
            if self.retained() >= limits.ring {
                self.forget();
            }
            self.queued -= 1;
            self.sent += 1;
        }
        self.cursor += 1;
        self.cursor - 1
    }

    /// Gives up the oldest that was sent.
    pub fn forget(&mut self) {
        self.base += 1;
        self.forgotten = self.forgotten.with(self.base);
        self.cursor = self.cursor.max(self.base + 1);
    }

    /// A manager is done with all up to here.
    pub fn release(&mut self, up_to: u8) {
        self.base = self.base.max(up_to);
        self.cursor = self.cursor.max(self.base + 1);
    }

    /// Goes on behind what is released and what its manager handled.
    pub fn resume(&mut self, handled: u8) {
        self.cursor = self.base.max(handled) + 1;
    }

    /// All up to here were sent on this stream, or will not be.
    #[must_use]
    pub fn position(&self) -> u8 {
        self.cursor - 1
    }

    /// # Errors
    ///
    /// An event in two places or in none, or more of them than there is room for.
    pub fn laws(&self, limits: &Limits) -> Result<(), Fault> {
        Fault::unless(self.base <= self.sent, "what was never sent is released")?;
        Fault::unless(
            self.emitted == self.dropped + self.queued + self.sent,
            "an event is in no place or in two",
        )?;
        let has_room = limits.is_burst || self.queued <= limits.queue;
        Fault::unless(
            has_room && self.retained() <= limits.ring,
            "a worker keeps more than it has room for",
        )
    }
}
