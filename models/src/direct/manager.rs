//! One manager: what it knows of the worker, what it has in its hand, and its end of a stream.

use super::{Config, Joining, Twist};
use crate::events::Events;
use crate::model::Fault;

/// From the worker to a manager.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub(super) enum Upward {
    /// Hello and first report, in one frame.
    Hello {
        retained_from: u8,
        acknowledged: u8,
        position: u8,
    },
    /// All up to here were sent on this stream, or will not be.
    Report(u8),
    Event(u8),
}

/// From a manager to the worker.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub(super) enum Downward {
    /// What it handled of this incarnation, if it knows it.
    Hello(Option<u8>),
    /// It is done with all up to here.
    Ack(u8),
}

/// One life of a manager.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, PartialOrd, Ord)]
pub(super) struct Manager {
    pub(super) is_dead: bool,
    /// Whether it ever read a hello of this incarnation.
    pub(super) is_acquainted: bool,
    /// Where it began: what came before is none of its business.
    pub(super) began: u8,
    /// Dispatched or booked as a gap, all up to here.
    pub(super) handled: u8,
    pub(super) gaps: Events,
    /// The last acknowledgement on its newest stream.
    pub(super) told: u8,
    /// Read, and neither dispatched nor known to be a duplicate.
    pub(super) in_hand: Option<u8>,
    pub(super) up: Vec<Upward>,
    pub(super) down: Vec<Downward>,
}

impl Manager {
    /// Whether nothing is under way to it, from it, or in it.
    pub(super) fn is_idle(&self) -> bool {
        self.up.is_empty() && self.down.is_empty() && self.in_hand.is_none()
    }

    /// Its stream is gone, with what was on it.
    pub(super) fn lose_stream(&mut self) {
        self.up.clear();
        self.down.clear();
    }

    /// Its own hello on a new stream.
    pub(super) fn greet(&mut self, config: &Config) -> Option<u8> {
        self.lose_stream();
        let handled = self.is_acquainted.then_some(self.handled);
        // A worker that listens takes the hello for an acknowledgement.
        self.told = match config.twist {
            Some(Twist::RewindToBase | Twist::RewindAndTakeRepeats) => 0,
            _ => handled.unwrap_or_default(),
        };
        self.down.push(Downward::Hello(handled));
        handled
    }

    /// Reads the hello of the worker.
    pub(super) fn meet(&mut self, config: &Config, retained_from: u8, acknowledged: u8) {
        let start = match (config.joining, config.twist) {
            (Joining::AtAcknowledged, _) => acknowledged,
            (Joining::AtRetained, Some(Twist::StartAtNothing)) => 0,
            (Joining::AtRetained, _) => retained_from - 1,
        };
        if !self.is_acquainted {
            self.is_acquainted = true;
            self.began = start;
            self.handled = start;
        } else if config.joining == Joining::AtAcknowledged {
            self.handled = self.handled.max(start);
        }
    }

    /// All up to `position` either came or never will.
    pub(super) fn book(&mut self, position: u8) {
        self.gaps = self.gaps.and(Events::between(self.handled + 1, position));
        self.handled = self.handled.max(position);
    }

    /// Dispatches what it has in its hand, and says so unless it was a duplicate.
    pub(super) fn dispatch(
        &mut self,
        config: &Config,
        dispatched: Events,
    ) -> Result<Option<u8>, Fault> {
        let Some(event) = self.in_hand.take() else {
            return Ok(None);
        };
        let takes_repeats = matches!(
            config.twist,
            Some(Twist::TakeRepeats | Twist::RewindAndTakeRepeats)
        );
        if event <= self.handled && !takes_repeats {
            return Ok(None);
        }
        Fault::unless(
            !dispatched.has(event),
            "one manager dispatches an event twice",
        )?;
        Fault::unless(
            dispatched.without(Events::between(1, event)).is_empty(),
            "one manager dispatches events out of order",
        )?;
        self.book(event - 1);
        self.handled = self.handled.max(event);
        Ok(Some(event))
    }
}
