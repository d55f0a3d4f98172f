//! What really became of every event, seen by nobody in the model, and the laws that compare.

use super::manager::Manager;
use super::{Config, Joining, State, Wish};
use crate::events::Events;
use crate::model::{Fault, Model};
use crate::seat::{Pair, Seat};

/// The truth.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, PartialOrd, Ord)]
pub(super) struct Truth {
    /// Dispatched by the present life at each seat.
    pub(super) dispatched: Pair<Events>,
    /// Dispatched by anybody.
    pub(super) ever: Events,
    /// Dispatched by two lives.
    pub(super) twice: Events,
    /// Booked as a gap by anybody.
    pub(super) booked: Events,
    /// Those of which the present life at each seat was the last that they were sent to, or were about to be.
    pub(super) owed: Pair<Events>,
    /// Dispatched and not acknowledged when their manager was killed.
    pub(super) unsettled: Events,
}

impl Truth {
    pub(super) fn swap(&mut self) {
        self.dispatched.swap();
        self.owed.swap();
    }

    /// From now on `events` are on their way to `seat`.
    pub(super) fn owe(&mut self, seat: Seat, events: Events) {
        let others = self.owed[seat.other()].without(events);
        self.owed[seat.other()] = others;
        self.owed[seat] = self.owed[seat].and(events);
    }

    /// `seat` dispatched `event`.
    pub(super) fn note_dispatched(&mut self, seat: Seat, event: u8) {
        if self.ever.has(event) {
            self.twice = self.twice.with(event);
        }
        self.ever = self.ever.with(event);
        self.dispatched[seat] = self.dispatched[seat].with(event);
    }

    /// The life at `seat` is over; the worker had released all up to `base`.
    pub(super) fn note_killed(&mut self, seat: Seat, base: u8) {
        let released = Events::between(1, base);
        let unsettled = self.dispatched[seat].without(released);
        self.unsettled = self.unsettled.and(unsettled);
        self.dispatched[seat] = Events::default();
        self.owed[seat] = Events::default();
    }
}

/// # Errors
///
/// The first law that does not hold.
pub(super) fn laws(config: &Config, state: &State) -> Result<(), Fault> {
    let (worker, truth) = (&state.worker, &state.truth);
    let released = Events::between(1, worker.base);
    let is_alternating = config.faults.changes > 0;
    Fault::unless(
        released
            .without(truth.ever)
            .without(worker.forgotten)
            .is_empty(),
        "released, and neither handled nor forgotten",
    )?;
    for seat in Seat::BOTH {
        let gaps = state.managers[seat].gaps;
        Fault::unless(
            gaps.without(released).is_empty(),
            "a gap is booked for an event that can still be sent again",
        )?;
        Fault::unless(
            gaps.among(truth.dispatched[seat]).is_empty(),
            "a gap is booked for an event that its manager dispatched",
        )?;
        if !is_alternating {
            Fault::unless(
                gaps.without(worker.forgotten).is_empty(),
                "a gap is booked for an event that was not forgotten",
            )?;
            Fault::unless(
                config.joining == Joining::AtAcknowledged
                    || gaps.without(truth.owed[seat]).is_empty(),
                "a gap is booked by a manager to which the event was not sent last",
            )?;
        }
        no_silence(config, state, seat)?;
    }
    let may_repeat = if is_alternating {
        truth.twice
    } else {
        truth.unsettled
    };
    Fault::unless(
        truth.twice.without(may_repeat).is_empty(),
        "dispatched by two managers, though it was acknowledged to the first",
    )?;
    if config.is_quiet(state) {
        at_rest(config, state)?;
    }
    wished(config, state)
}

/// What a manager says to be done with, and what never arrived anywhere, is among its gaps.
fn no_silence(config: &Config, state: &State, seat: Seat) -> Result<(), Fault> {
    let (truth, manager) = (&state.truth, &state.managers[seat]);
    let lost = Events::between(1, state.worker.base)
        .without(truth.ever)
        .among(Events::between(1, manager.handled));
    let silent = match config.joining {
        Joining::AtAcknowledged => lost.without(truth.booked),
        Joining::AtRetained => lost
            .among(truth.owed[seat])
            .without(before_acquaintance(config, manager))
            .without(manager.gaps),
    };
    Fault::unless(
        silent.is_empty(),
        "an event is lost, and its manager does not count it",
    )
}

/// What was forgotten before a manager ever heard of the worker, which it does not count.
fn before_acquaintance(config: &Config, manager: &Manager) -> Events {
    let is_forgiven =
        config.joining == Joining::AtRetained && config.wish != Some(Wish::EveryLossIsCounted);
    Events::between(1, if is_forgiven { manager.began } else { 0 })
}

/// What would be nice to have.
fn wished(config: &Config, state: &State) -> Result<(), Fault> {
    let (a, b) = (&state.managers[Seat::A].gaps, &state.managers[Seat::B].gaps);
    let lost_twice = a.among(*b).without(state.truth.ever);
    Fault::unless(
        config.wish != Some(Wish::EveryGapIsCountedOnce) || lost_twice.is_empty(),
        "two managers count the same gap",
    )?;
    let others = a.and(*b).among(state.truth.ever);
    Fault::unless(
        config.wish != Some(Wish::EveryGapIsALoss) || others.is_empty(),
        "a gap is booked for an event that another manager dispatched",
    )
}

/// When all is quiet, every event is in one place.
fn at_rest(config: &Config, state: &State) -> Result<(), Fault> {
    let (worker, truth) = (&state.worker, &state.truth);
    let lost = Events::between(1, worker.sent).without(truth.ever);
    Fault::unless(
        lost.without(worker.forgotten).is_empty(),
        "all is quiet, and an event that was not forgotten never arrived",
    )?;
    let is_alone = config.faults.kills == 0 && config.faults.changes == 0;
    let holder = state.holder.map(|seat| &state.managers[seat]);
    if let (true, Some(manager)) = (is_alone, holder) {
        Fault::unless(
            manager.gaps == lost.without(before_acquaintance(config, manager)),
            "all is quiet, and the gaps are not what never arrived",
        )?;
    }
    Ok(())
}
