//! Managers with nothing durable behind them, in every order.

use telemetry_models::direct::{Config, Faults, Joining};
use telemetry_models::{Explored, Full, Limits, explore};

use crate::MOST;

pub(crate) const NONE: Faults = Faults {
    cuts: 0,
    kills: 0,
    changes: 0,
    evictions: 0,
    absurd_acks: 0,
};

/// Three events that wait, and a ring for `ring` of them.
pub(crate) fn design(ring: u8, faults: Faults) -> Config {
    let limits = Limits {
        events: 3,
        queue: 3,
        ring,
        full: Full::Forget,
        is_burst: true,
    };
    Config {
        limits,
        pipe: 2,
        faults,
        joining: Joining::AtRetained,
        wish: None,
        twist: None,
        is_symmetric: true,
    }
}

#[track_caller]
fn holds(model: &Config, states: usize) -> Explored {
    let explored = explore(model, MOST).holds();
    assert_eq!(explored.states, states);
    assert!(explored.quiet > 0);
    explored
}

#[test]
fn without_faults_everything_arrives_once_and_in_order() {
    let mut model = design(3, NONE);
    model.limits.is_burst = false;
    model.limits.queue = 2;
    holds(&model, 111);
}

#[test]
fn a_cut_with_the_same_manager_loses_nothing_and_repeats_nothing() {
    // With a ring for all, nothing may be forgotten; the laws then allow neither gap nor repetition.
    holds(&design(3, Faults { cuts: 2, ..NONE }), 868);
}

#[test]
fn what_is_forgotten_and_does_not_arrive_is_a_gap_and_nothing_else_is() {
    holds(&design(1, Faults { cuts: 2, ..NONE }), 1_934);
}

#[test]
fn a_ring_that_is_full_may_forget_at_any_time() {
    let faults = Faults {
        cuts: 2,
        evictions: 2,
        ..NONE
    };
    holds(&design(2, faults), 10_158);
}

#[test]
fn absurd_acknowledgements_release_nothing() {
    let faults = Faults {
        cuts: 1,
        absurd_acks: 1,
        ..NONE
    };
    holds(&design(2, faults), 1_361);
}

#[test]
fn a_killed_manager_costs_repetitions_and_no_events() {
    holds(&design(3, Faults { kills: 1, ..NONE }), 1_101);
}

#[test]
fn kills_cuts_and_a_full_ring_leave_no_event_uncounted() {
    let faults = Faults {
        kills: 1,
        cuts: 1,
        ..NONE
    };
    holds(&design(1, faults), 10_667);
    let faults = Faults {
        kills: 2,
        cuts: 1,
        evictions: 1,
        ..NONE
    };
    holds(&design(2, faults), 160_238);
}

#[test]
fn two_managers_that_take_turns_lose_nothing() {
    holds(&design(3, Faults { changes: 1, ..NONE }), 2_381);
    let faults = Faults {
        changes: 2,
        cuts: 1,
        ..NONE
    };
    holds(&design(2, faults), 145_391);
    holds(&design(1, faults), 158_988);
}

#[test]
fn joining_behind_what_was_acknowledged_counts_every_loss() {
    for (ring, faults, states) in [
        (1, Faults { cuts: 2, ..NONE }, 1_934),
        (
            2,
            Faults {
                kills: 2,
                cuts: 1,
                evictions: 1,
                ..NONE
            },
            188_960,
        ),
        (
            1,
            Faults {
                changes: 2,
                cuts: 1,
                ..NONE
            },
            190_065,
        ),
    ] {
        let joining = Joining::AtAcknowledged;
        holds(
            &Config {
                joining,
                ..design(ring, faults)
            },
            states,
        );
    }
}

#[test]
#[ignore = "takes half a minute: cargo nextest run -p telemetry-models --run-ignored all"]
fn everything_at_once() {
    let faults = Faults {
        changes: 2,
        cuts: 1,
        kills: 1,
        ..NONE
    };
    for joining in [Joining::AtRetained, Joining::AtAcknowledged] {
        let model = Config {
            joining,
            ..design(2, faults)
        };
        assert!(explore(&model, MOST).holds().states > 2_000_000);
    }
}
