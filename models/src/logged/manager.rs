//! One manager: what it handled, what of it is published, and what of that is durable.

use super::log::Log;
use super::{Config, Twist};
use crate::events::Events;

/// From the worker to a manager.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub(super) enum Upward {
    /// All up to here were sent on this stream, or will not be.
    Report(u8),
    Event(u8),
}

/// What goes into the log in one piece.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub(super) struct Batch {
    pub(super) first: u8,
    pub(super) last: u8,
    /// Those of them that are losses.
    pub(super) gaps: Events,
    /// Where it is meant to be written.
    pub(super) position: u8,
    /// The life of the manager that made it.
    pub(super) life: u8,
}

/// The log's answer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub(super) struct Reply {
    pub(super) is_taken: bool,
    pub(super) last: u8,
}

/// One life of a manager.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, PartialOrd, Ord)]
pub(super) struct Manager {
    pub(super) is_dead: bool,
    /// Whether it believes that it holds the lease.
    pub(super) is_owner: bool,
    pub(super) epoch: u8,
    pub(super) life: u8,
    /// Read or known to be lost, all up to here.
    pub(super) handled: u8,
    pub(super) gaps: Events,
    /// Known to be in the log, all up to here.
    pub(super) durable: u8,
    /// Given to the network, all up to here.
    pub(super) published: u8,
    /// Batches in the log, as far as it knows.
    pub(super) position: u8,
    /// Published batches of which it does not know the fate.
    pub(super) under_way: Vec<Batch>,
    pub(super) has_stream: bool,
    pub(super) up: Vec<Upward>,
    /// Acknowledgements.
    pub(super) down: Vec<u8>,
    /// Batches on their way to the log.
    pub(super) wire: Vec<Batch>,
    pub(super) replies: Vec<Reply>,
}

impl Manager {
    pub(super) fn lose_stream(&mut self) {
        self.has_stream = false;
        self.up.clear();
        self.down.clear();
    }

    /// Reads the next message.
    pub(super) fn read(&mut self, config: &Config) {
        let (last, lost) = match self.up.remove(0) {
            Upward::Report(position) => (position, position),
            Upward::Event(event) => (event, event - 1),
        };
        // A duplicate, or a report that says nothing new.
        if last <= self.handled {
            return;
        }
        self.gaps = self.gaps.and(Events::between(self.handled + 1, lost));
        self.handled = last;
        let is_early = config.twist == Some(Twist::AckOnReceive) && last > lost;
        if is_early && self.down.len() < config.pipe {
            self.down.push(last);
        }
    }

    /// Gives all that it handled since the last time to the network, in one batch.
    pub(super) fn publish(&mut self) -> Batch {
        let first = self.published + 1;
        let waiting = u8::try_from(self.under_way.len()).unwrap_or(u8::MAX);
        let batch = Batch {
            first,
            last: self.handled,
            gaps: self.gaps.among(Events::between(first, self.handled)),
            position: self.position + waiting,
            life: self.life,
        };
        self.published = self.handled;
        self.under_way.push(batch);
        self.wire.push(batch);
        batch
    }

    /// The log took the batch that ends with `last`.
    pub(super) fn settle(&mut self, config: &Config, last: u8) {
        let Some(at) = self.under_way.iter().position(|batch| batch.last == last) else {
            return;
        };
        self.under_way.remove(at);
        self.position += 1;
        // What lies behind a batch of unknown fate is not certain to be whole.
        let certain = self.under_way.first().map(|batch| batch.first - 1);
        let certain = match config.twist {
            Some(Twist::SettleLatest) => last,
            _ => certain.unwrap_or(self.published),
        };
        self.durable = self.durable.max(certain);
    }

    /// Goes on behind the end of the log, whoever wrote it.
    pub(super) fn follow(&mut self, log: &Log) {
        self.position = log.position;
        self.durable = log.covered;
        self.handled = self.handled.max(log.covered);
        self.published = log.covered;
        self.under_way.clear();
        self.replies.clear();
    }

    /// Begins as the owner of a new epoch, at the end of the log.
    pub(super) fn take_over(&mut self, config: &Config, epoch: u8, log: &Log) {
        self.is_owner = true;
        self.epoch = epoch;
        self.gaps = Events::default();
        self.handled = 0;
        self.follow(log);
        if config.twist == Some(Twist::BlindTakeover) {
            (self.durable, self.handled, self.published) = (0, 0, 0);
        }
    }

    /// Is no owner any more.
    pub(super) fn step_down(&mut self) {
        self.is_owner = false;
        self.under_way.clear();
        self.replies.clear();
    }
}
