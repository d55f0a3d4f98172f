//! Stories of managers with a durable log.

use super::add;
use crate::logged::{Config, Faults, LogKind, State, Step};
use crate::seat::Seat;
use crate::story::Chapter;
use crate::worker::{Full, Limits};

/// No fault at all; each story adds its own.
const NONE: Faults = Faults {
    cuts: 0,
    kills: 0,
    takeovers: 0,
    drops: 0,
    haste: 0,
};

fn model(faults: Faults) -> Config {
    let limits = Limits {
        events: 2,
        queue: 2,
        ring: 2,
        full: Full::Wait,
        is_burst: true,
    };
    Config {
        limits,
        pipe: 2,
        publishes: 1,
        log: LogKind::Fenced,
        guards_epochs: true,
        faults,
        twist: None,
        is_symmetric: false,
    }
}

const SETTING: &str = "2 events wait to be sent; the ring keeps 2. A log with a fence.";

fn end(state: &State) -> String {
    format!(
        "released {}; losses in the log {}",
        state.worker().base,
        state.gaps()
    )
}

/// A chapter about steps of this model.
fn when(is_it: fn(&State, &Step, &State) -> bool) -> Chapter<Config> {
    Chapter(is_it)
}

pub(super) fn add_all(text: &mut String) {
    let mut tell = |title: &str, model: Config, chapters: &[Chapter<Config>]| {
        add(text, title, SETTING, &model, chapters, end);
    };
    tell(
        "A manager is killed between handled and durable",
        model(Faults { kills: 1, ..NONE }),
        &[
            when(|_, step, _| {
                matches!(
                    step,
                    Step::Read {
                        by: Seat::A,
                        handled: 1
                    }
                )
            }),
            when(|_, step, _| matches!(step, Step::Killed { seat: Seat::A })),
            when(|_, step, _| matches!(step, Step::TookLease { by: Seat::B, .. })),
            when(|_, step, _| matches!(step, Step::Sent { is_again: true, .. })),
        ],
    );
    tell(
        "The batch of a manager that was killed reaches the log behind its successor's back",
        model(Faults { kills: 1, ..NONE }),
        &[
            when(|_, step, _| matches!(step, Step::Killed { seat: Seat::A })),
            when(|_, step, _| matches!(step, Step::Opened { by: Seat::B, .. })),
            when(|_, step, _| matches!(step, Step::Arrived { of: Seat::A, .. })),
            when(|_, step, _| {
                matches!(
                    step,
                    Step::HeardOfBatch {
                        by: Seat::B,
                        is_taken: false,
                        ..
                    }
                )
            }),
        ],
    );
    tell(
        "A manager that lost its lease without knowing is refused by the fence",
        model(Faults {
            takeovers: 1,
            ..NONE
        }),
        &[
            when(|_, step, _| matches!(step, Step::Published { by: Seat::A, .. })),
            when(|_, step, _| matches!(step, Step::TookLease { by: Seat::B, .. })),
            when(|_, step, _| matches!(step, Step::Arrived { of: Seat::B, .. })),
            when(|_, step, _| {
                matches!(
                    step,
                    Step::HeardOfBatch {
                        by: Seat::A,
                        is_taken: false,
                        ..
                    }
                )
            }),
        ],
    );
}
