//! Stories of managers with nothing durable behind them.

use super::add;
use crate::direct::{Config, Faults, Joining, State, Step};
use crate::seat::Seat;
use crate::story::Chapter;
use crate::worker::{Full, Limits};

/// No fault at all; each story adds its own.
const NONE: Faults = Faults {
    cuts: 0,
    kills: 0,
    changes: 0,
    evictions: 0,
    absurd_acks: 0,
};

/// Events that wait in the queue, a ring for as many as `ring`, and as much as `faults` of bad luck.
fn model(events: u8, ring: u8, faults: Faults) -> Config {
    let limits = Limits {
        events,
        queue: events,
        ring,
        full: Full::Forget,
        is_burst: true,
    };
    Config {
        limits,
        pipe: 3,
        faults,
        joining: Joining::AtRetained,
        wish: None,
        twist: None,
        is_symmetric: false,
    }
}

fn setting(model: &Config) -> String {
    let (events, ring) = (model.limits.events, model.limits.ring);
    let wait = if events == 1 {
        "event waits"
    } else {
        "events wait"
    };
    format!("{events} {wait} to be sent; the ring keeps {ring}. No log.")
}

fn end(state: &State) -> String {
    let mut text = format!("dispatched {}", state.handled());
    text += &format!("; more than once {}", state.repeated());
    text += &format!("; forgotten {}", state.worker().forgotten);
    for seat in Seat::BOTH {
        let gaps = state.gaps(seat);
        if state.is_acquainted(seat) {
            text += &format!("; gaps of {seat} {gaps}");
        }
    }
    text
}

type Chapters<'a> = &'a [Chapter<Config>];

/// A chapter about steps of this model.
fn when(is_it: fn(&State, &Step, &State) -> bool) -> Chapter<Config> {
    Chapter(is_it)
}

pub(super) fn add_all(text: &mut String) {
    let mut tell = |title: &str, model: Config, chapters: Chapters<'_>| {
        add(text, title, &setting(&model), &model, chapters, end);
    };
    tell(
        "A stream is cut in the middle of a replay",
        model(2, 2, Faults { cuts: 2, ..NONE }),
        &[
            when(|_, step, _| matches!(step, Step::SentAgain { .. })),
            when(|before, step, _| matches!(step, Step::Cut { .. }) && before.is_replaying()),
        ],
    );
    tell(
        "A stream is cut between a read and its dispatch",
        model(1, 1, Faults { cuts: 1, ..NONE }),
        &[
            when(|before, step, _| {
                matches!(step, Step::Cut { of: Seat::A }) && before.has_in_hand(Seat::A)
            }),
            when(|_, step, _| matches!(step, Step::LeftOut { .. })),
        ],
    );
    tell(
        "The ring is full, the worker forgets, and then the stream is cut",
        model(2, 1, Faults { cuts: 1, ..NONE }),
        &[
            when(|_, step, _| matches!(step, Step::Met { .. })),
            when(|_, step, _| {
                matches!(
                    step,
                    Step::Sent {
                        forgets: Some(_),
                        ..
                    }
                )
            }),
            when(|before, step, _| matches!(step, Step::Cut { .. }) && before.handled().is_empty()),
            when(|_, _, after| after.gaps(Seat::A).count() == 1),
        ],
    );
    tell(
        "The worker forgets, and what it forgot arrives all the same",
        model(2, 1, NONE),
        &[
            when(|_, step, _| {
                matches!(
                    step,
                    Step::Sent {
                        forgets: Some(_),
                        ..
                    }
                )
            }),
            when(|_, _, after| after.handled().count() == 2),
        ],
    );
    tell(
        "What is forgotten before a manager ever read the hello is counted by nobody",
        model(2, 1, Faults { cuts: 1, ..NONE }),
        &[
            when(|_, step, _| {
                matches!(
                    step,
                    Step::Sent {
                        forgets: Some(_),
                        ..
                    }
                )
            }),
            when(|before, step, _| {
                matches!(step, Step::Cut { .. }) && !before.is_acquainted(Seat::A)
            }),
        ],
    );
    tell(
        "A manager is killed between a dispatch and its acknowledgement",
        model(2, 2, Faults { kills: 1, ..NONE }),
        &[
            when(|_, step, _| {
                matches!(
                    step,
                    Step::Dispatched {
                        event: 1,
                        by: Seat::A
                    }
                )
            }),
            when(|before, step, _| {
                matches!(step, Step::Killed { seat: Seat::A }) && before.worker().base == 0
            }),
            when(|_, step, _| matches!(step, Step::Opened { by: Seat::B, .. })),
        ],
    );
    tell(
        "Two managers take turns with one worker",
        model(3, 3, Faults { changes: 2, ..NONE }),
        &[
            when(|_, step, _| matches!(step, Step::Dispatched { by: Seat::A, .. })),
            when(|_, step, _| matches!(step, Step::Opened { by: Seat::B, .. })),
            when(|_, step, _| matches!(step, Step::Dispatched { by: Seat::B, .. })),
            when(|_, step, _| matches!(step, Step::Opened { by: Seat::A, .. })),
            when(|_, step, _| matches!(step, Step::Sent { to: Seat::A, .. })),
            when(|_, step, _| matches!(step, Step::Dispatched { by: Seat::A, .. })),
        ],
    );
    tell(
        "A manager that was replaced still dispatches what was under way to it",
        model(1, 1, Faults { changes: 1, ..NONE }),
        &[
            when(|before, step, _| {
                matches!(step, Step::Opened { by: Seat::B, .. }) && before.worker().sent == 1
            }),
            when(|_, step, _| matches!(step, Step::Dispatched { by: Seat::A, .. })),
            when(|_, _, after| after.repeated().count() == 1),
        ],
    );
    tell(
        "A manager that comes back counts as gaps what another took",
        model(2, 2, Faults { changes: 2, ..NONE }),
        &[
            when(|_, step, _| matches!(step, Step::Met { by: Seat::A, .. })),
            when(|_, step, _| matches!(step, Step::Dispatched { by: Seat::B, .. })),
            when(|_, step, _| matches!(step, Step::Opened { by: Seat::A, .. })),
            when(|_, _, after| !after.gaps(Seat::A).among(after.handled()).is_empty()),
        ],
    );
}
