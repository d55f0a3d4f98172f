//! Managers that write to a durable log, and acknowledge what it confirmed.
//!
//! One of two managers holds a lease with an epoch, and only that one serves the worker. It collects
//! what it handled into batches, *publishes* them, and learns of their fate by replies that may be lost
//! as may the batches. The log takes a batch only at the position at which it was meant to be written
//! (the *fence*); a batch that was refused, or of which nothing is heard, makes its manager look at lease
//! and log again. The lease may be taken from an owner that lives, which a pause or a clock can bring
//! about; such a *zombie* learns of it late.
//!
//! The worker waits when its ring is full, or forgets; both are tried. It refuses older epochs.

mod broker;
mod log;
mod manager;
mod moves;
mod step;

use crate::events::Events;
use crate::model::{Fault, Model, Moves};
use crate::seat::{Pair, Seat};
use crate::worker::{Limits, Worker};
use log::Log;
use manager::Manager;

pub use log::LogKind;
pub use step::Step;

/// How often each fault may happen.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, PartialOrd, Ord)]
pub struct Faults {
    /// A stream breaks, with all that is under way on it.
    pub cuts: u8,
    /// A manager is killed. What it gave to the network may still reach the log.
    pub kills: u8,
    /// The lease is taken from an owner that lives.
    pub takeovers: u8,
    /// A batch or a reply is lost.
    pub drops: u8,
    /// An owner does not wait for an answer that is under way.
    pub haste: u8,
}

/// A deliberate change of the design.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Twist {
    /// The position is all that was ever sent, also where a part of it is about to be sent again.
    AnnounceSent,
    /// What was read is acknowledged.
    AckOnReceive,
    /// A hello releases what its manager handled.
    ReleaseOnHandled,
    /// A new owner begins at nothing instead of where the log ends.
    BlindTakeover,
    /// What is sent is released at once.
    NoReplay,
    /// An owner that was refused or hears nothing gives up the lease.
    GiveUp,
    /// An owner that hears nothing sends the same again.
    BlindRetry,
    /// The worker takes any epoch.
    AnyEpoch,
    /// A confirmed batch makes all before it durable, also batches of which nothing is known yet.
    SettleLatest,
}

/// What is searched.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// The worker.
    pub limits: Limits,
    /// Messages that may be under way to a manager.
    pub pipe: usize,
    /// Batches of a manager whose fate may be unknown.
    pub publishes: usize,
    /// What the log takes.
    pub log: LogKind,
    /// The faults.
    pub faults: Faults,
    /// Whether it is a fault when the worker is served by an older epoch than before; the laws of
    /// delivery hold even then.
    pub guards_epochs: bool,
    /// What differs from the design.
    pub twist: Option<Twist>,
    /// Whether states that differ only in which manager is which are one.
    pub is_symmetric: bool,
}

/// One moment.
#[derive(Clone, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct State {
    managers: Pair<Manager>,
    /// Whom the worker serves.
    serving: Option<Seat>,
    /// Who holds the lease.
    lease: Option<Seat>,
    /// How often it was taken.
    lease_epoch: u8,
    worker: Worker,
    /// The highest epoch that the worker has seen.
    epoch: u8,
    log: Log,
    spent: Faults,
}

impl State {
    /// Losses that the log knows.
    #[must_use]
    pub fn gaps(&self) -> Events {
        self.log.gaps
    }

    /// The worker.
    #[must_use]
    pub fn worker(&self) -> &Worker {
        &self.worker
    }

    /// How often the lease was taken from an owner that lived.
    #[must_use]
    pub fn takeovers(&self) -> u8 {
        self.spent.takeovers
    }

    fn mirrored(&self) -> Self {
        let mut mirrored = self.clone();
        mirrored.managers.swap();
        mirrored.serving = mirrored.serving.map(Seat::other);
        mirrored.lease = mirrored.lease.map(Seat::other);
        mirrored
    }

    /// The stream of `seat` is gone, with what was on it.
    fn lose_stream(&mut self, seat: Seat) {
        self.managers[seat].lose_stream();
        if self.serving == Some(seat) {
            self.serving = None;
        }
    }
}

impl Model for Config {
    type State = State;
    type Step = Step;

    fn start(&self) -> State {
        State {
            managers: Pair::default(),
            serving: None,
            lease: None,
            lease_epoch: 0,
            worker: Worker::new(&self.limits),
            epoch: 0,
            log: Log::default(),
            spent: Faults::default(),
        }
    }

    fn moves(&self, state: &State, moves: &mut Moves<Self>) {
        moves::of_worker(self, state, moves);
        for seat in Seat::BOTH {
            moves::of_manager(self, state, seat, moves);
            broker::moves(self, state, seat, moves);
            moves::faults(self, state, seat, moves);
            moves::of_lease(self, state, seat, moves);
        }
    }

    fn laws(&self, state: &State) -> Result<(), Fault> {
        let (worker, log) = (&state.worker, &state.log);
        worker.laws(&self.limits)?;
        Fault::unless(
            log.gaps.without(worker.forgotten).is_empty(),
            "the log counts a loss that the worker had or could send again",
        )?;
        let beyond = Events::between(log.covered + 1, worker.base);
        Fault::unless(
            beyond.without(worker.forgotten).is_empty(),
            "released before it was durable",
        )?;
        let is_uncounted =
            self.is_quiet(state) && !log.missing.without(worker.forgotten).is_empty();
        Fault::unless(
            !is_uncounted,
            "all is quiet, and an event is missing in the log and not counted",
        )?;
        let served_by = state.serving.map(|seat| state.managers[seat].epoch);
        Fault::unless(
            !self.guards_epochs || served_by.is_none_or(|epoch| epoch == state.epoch),
            "the worker went back to an older epoch",
        )
    }

    fn is_quiet(&self, state: &State) -> bool {
        let worker = &state.worker;
        worker.emitted == self.limits.events
            && worker.queued == 0
            && worker.base == worker.sent
            && state.log.covered == worker.sent
    }

    fn summary(&self, state: &State) -> String {
        let (worker, log) = (&state.worker, &state.log);
        let mut text = format!("worker: base {}, sent {}", worker.base, worker.sent);
        text += &format!("; log: {} in {}", log.covered, log.position);
        for seat in Seat::BOTH {
            let manager = &state.managers[seat];
            if manager.is_owner {
                let (handled, durable) = (manager.handled, manager.durable);
                text += &format!("; {seat}: handled {handled}, durable {durable}");
            }
        }
        text
    }

    fn canonical(&self, state: State) -> State {
        if self.is_symmetric {
            let mirrored = state.mirrored();
            return state.min(mirrored);
        }
        state
    }
}
