//! Managers with nothing durable behind them: what is dispatched is acknowledged.
//!
//! One worker forgets the oldest sent when its ring is full. Of two managers each may be killed, which
//! takes all that it knew, and each may serve the worker; the newest stream is the only one that is fed.
//! A manager opens a stream with its hello, which says what it handled of this incarnation. The
//! worker answers with its own, resumes behind both, and says its *position*: all up to there were sent on
//! this stream or will not be. Between a read and its dispatch a manager may be cut off or killed.
//!
//! The epoch of such managers is 0, which is never refused, and therefore not part of the model.

mod manager;
mod moves;
mod step;
mod truth;

use crate::events::Events;
use crate::model::{Fault, Model, Moves};
use crate::seat::{Pair, Seat};
use crate::worker::{Limits, Worker};
use manager::Manager;
use truth::Truth;

pub use step::Step;

/// How often each fault may happen.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, PartialOrd, Ord)]
pub struct Faults {
    /// A stream breaks, with all that is under way on it.
    pub cuts: u8,
    /// A manager is killed, with all that it knew.
    pub kills: u8,
    /// A manager takes the worker from another that lives.
    pub changes: u8,
    /// The ring is full and gives up the oldest sent, whatever the worker is doing.
    pub evictions: u8,
    /// A manager acknowledges what was never sent.
    pub absurd_acks: u8,
}

/// Where a manager goes on, and whose the events before it are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Joining {
    /// A manager that does not know the incarnation begins at the first event that is retained. What was
    /// forgotten before is nobody's.
    AtRetained,
    /// Every manager goes on behind what was ever acknowledged, to whomever. What was forgotten beyond
    /// that is a gap, also where a manager that is gone had handled it.
    AtAcknowledged,
}

/// A deliberate change of the design.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Twist {
    /// The position is all that was ever sent, also where a part of it is about to be sent again.
    AnnounceSent,
    /// What was read and not yet dispatched is acknowledged.
    AckOnReceive,
    /// A new stream begins behind all that was ever sent.
    NoReplay,
    /// The worker believes any acknowledgement.
    BelieveAcks,
    /// A new stream begins behind what was released, whatever its manager says that it handled.
    RewindToBase,
    /// A manager dispatches whatever it reads.
    TakeRepeats,
    /// Both of the last two.
    RewindAndTakeRepeats,
    /// A manager that does not know the incarnation expects its first event.
    StartAtNothing,
    /// What was sent on a stream that ended is released.
    EndReleases,
}

/// A law that the design does not promise to keep.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wish {
    /// Each loss is counted, also what was forgotten before its manager ever heard of the worker.
    EveryLossIsCounted,
    /// No manager counts as a gap what another dispatched.
    EveryGapIsALoss,
    /// No two managers that live count the same gap.
    EveryGapIsCountedOnce,
}

/// What is searched.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// The worker.
    pub limits: Limits,
    /// Messages that may be under way to a manager.
    pub pipe: usize,
    /// The faults.
    pub faults: Faults,
    /// Where managers go on.
    pub joining: Joining,
    /// What is asked beyond what the design promises.
    pub wish: Option<Wish>,
    /// What differs from the design.
    pub twist: Option<Twist>,
    /// Whether states that differ only in which manager is which are one.
    pub is_symmetric: bool,
}

/// The newest stream, as the worker sees it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
struct Stream {
    /// To whom.
    to: Seat,
    /// Whether its hello is still to come; nothing is sent before it.
    is_waiting: bool,
    /// The position that follows from what was sent on it.
    told: u8,
}

/// One moment.
#[derive(Clone, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct State {
    managers: Pair<Manager>,
    worker: Worker,
    stream: Option<Stream>,
    /// All up to here some manager said to be done with.
    acknowledged: u8,
    /// Whom the worker served last, if that life goes on.
    holder: Option<Seat>,
    truth: Truth,
    spent: Faults,
}

impl State {
    /// Events that were dispatched at least once.
    #[must_use]
    pub fn handled(&self) -> Events {
        self.truth.ever
    }

    /// Events that were dispatched more than once, by different managers.
    #[must_use]
    pub fn repeated(&self) -> Events {
        self.truth.twice
    }

    /// What a manager that lives counted as gaps.
    #[must_use]
    pub fn gaps(&self, of: Seat) -> Events {
        self.managers[of].gaps
    }

    /// The worker.
    #[must_use]
    pub fn worker(&self) -> &Worker {
        &self.worker
    }

    /// Whether `of` has read something that it has not dispatched.
    #[must_use]
    pub fn has_in_hand(&self, of: Seat) -> bool {
        self.managers[of].in_hand.is_some()
    }

    /// Whether `of` knows the worker.
    #[must_use]
    pub fn is_acquainted(&self, of: Seat) -> bool {
        self.managers[of].is_acquainted
    }

    fn is_served_by(&self, seat: Seat) -> bool {
        self.stream.as_ref().is_some_and(|it| it.to == seat)
    }

    /// Whether the worker is about to send again what it has sent before.
    #[must_use]
    pub fn is_replaying(&self) -> bool {
        let is_sending = self.stream.as_ref().is_some_and(|it| !it.is_waiting);
        is_sending && self.worker.cursor <= self.worker.sent
    }

    fn mirrored(&self) -> Self {
        let mut mirrored = self.clone();
        mirrored.managers.swap();
        mirrored.truth.swap();
        if let Some(stream) = &mut mirrored.stream {
            stream.to = stream.to.other();
        }
        mirrored.holder = mirrored.holder.map(Seat::other);
        mirrored
    }
}

impl Model for Config {
    type State = State;
    type Step = Step;

    fn start(&self) -> State {
        State {
            managers: Pair::default(),
            worker: Worker::new(&self.limits),
            stream: None,
            acknowledged: 0,
            holder: None,
            truth: Truth::default(),
            spent: Faults::default(),
        }
    }

    fn moves(&self, state: &State, moves: &mut Moves<Self>) {
        moves::of_worker(self, state, moves);
        for seat in Seat::BOTH {
            moves::of_manager(self, state, seat, moves);
            moves::faults(self, state, seat, moves);
        }
    }

    fn laws(&self, state: &State) -> Result<(), Fault> {
        state.worker.laws(&self.limits)?;
        truth::laws(self, state)
    }

    fn is_quiet(&self, state: &State) -> bool {
        let worker = &state.worker;
        let is_done = worker.emitted == self.limits.events
            && worker.queued == 0
            && worker.base == worker.sent
            && Seat::BOTH
                .iter()
                .all(|seat| state.managers[*seat].is_idle());
        let Some(stream) = &state.stream else {
            return false;
        };
        is_done && !stream.is_waiting && state.managers[stream.to].handled == worker.sent
    }

    fn summary(&self, state: &State) -> String {
        let worker = &state.worker;
        let mut text = format!("worker: base {}, sent {}", worker.base, worker.sent);
        for seat in Seat::BOTH {
            let manager = &state.managers[seat];
            if manager.is_acquainted {
                text += &format!("; {seat}: handled {}", manager.handled);
            }
            if !manager.gaps.is_empty() {
                text += &format!(", gaps {}", manager.gaps);
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
