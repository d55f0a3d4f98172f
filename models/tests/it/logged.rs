//! Managers with a durable log, in every order.

use telemetry_models::logged::{Config, Faults, LogKind, Twist};
use telemetry_models::{Full, Limits, explore};

use crate::MOST;

pub(crate) const NONE: Faults = Faults {
    cuts: 0,
    kills: 0,
    takeovers: 0,
    drops: 0,
    haste: 0,
};

/// Each fault once.
pub(crate) const EACH: Faults = Faults {
    cuts: 1,
    kills: 1,
    takeovers: 1,
    drops: 1,
    haste: 1,
};

/// A batch or a reply is lost, or an owner does not wait for it.
const DROP: Faults = Faults {
    drops: 1,
    haste: 1,
    ..NONE
};

/// As many events that wait, and a ring for two.
pub(crate) fn design(events: u8, faults: Faults) -> Config {
    let limits = Limits {
        events,
        queue: 2,
        ring: 2,
        full: Full::Wait,
        is_burst: true,
    };
    Config {
        limits,
        pipe: 1,
        publishes: 1,
        log: LogKind::Fenced,
        guards_epochs: true,
        faults,
        twist: None,
        is_symmetric: true,
    }
}

/// The same with a ring for `ring`, and what happens when it is full.
fn with_ring(model: Config, ring: u8, full: Full) -> Config {
    let limits = Limits {
        ring,
        full,
        ..model.limits
    };
    Config { limits, ..model }
}

#[track_caller]
fn holds(model: &Config, states: usize) {
    let explored = explore(model, MOST).holds();
    assert_eq!(explored.states, states);
    assert!(explored.quiet > 0);
}

#[test]
fn without_faults_everything_gets_into_the_log() {
    let mut model = design(3, NONE);
    model.limits.is_burst = false;
    model.pipe = 2;
    holds(&model, 174);
}

#[test]
fn cuts_and_lost_batches_lose_nothing() {
    holds(&design(3, Faults { cuts: 2, ..NONE }), 511);
    let faults = Faults { cuts: 1, ..DROP };
    holds(&with_ring(design(3, faults), 1, Full::Wait), 788);
}

#[test]
fn a_killed_manager_loses_nothing() {
    holds(&design(2, Faults { kills: 1, ..NONE }), 776);
    let faults = Faults {
        kills: 1,
        cuts: 1,
        ..NONE
    };
    holds(&design(2, faults), 2_559);
    holds(&design(2, Faults { kills: 1, ..DROP }), 7_057);
}

#[test]
fn a_lease_that_is_taken_from_a_living_owner_loses_nothing() {
    let faults = Faults {
        takeovers: 1,
        ..NONE
    };
    holds(&design(2, faults), 2_302);
    holds(&design(3, faults), 8_795);
    let faults = Faults {
        takeovers: 1,
        ..DROP
    };
    holds(&design(2, faults), 26_884);
}

#[test]
fn a_worker_that_forgets_has_its_losses_in_the_log() {
    let model = design(2, Faults { cuts: 1, ..NONE });
    holds(&with_ring(model, 1, Full::Forget), 147);
    let faults = Faults {
        takeovers: 1,
        ..NONE
    };
    holds(&with_ring(design(3, faults), 1, Full::Forget), 16_250);
}

#[test]
fn one_event_survives_each_fault_once() {
    holds(&design(1, EACH), 66_530);
}

#[test]
fn what_is_not_sent_again_is_counted() {
    let twist = Some(Twist::NoReplay);
    let model = design(3, Faults { cuts: 1, ..NONE });
    holds(&Config { twist, ..model }, 318);
}

#[test]
fn the_fence_holds_without_epochs() {
    let faults = Faults {
        takeovers: 1,
        ..NONE
    };
    let model = Config {
        twist: Some(Twist::AnyEpoch),
        guards_epochs: false,
        ..design(2, faults)
    };
    holds(&model, 14_345);
}

#[test]
fn the_fence_holds_where_owners_repeat_blindly() {
    let twist = Some(Twist::BlindRetry);
    let model = design(3, Faults { kills: 1, ..DROP });
    holds(&Config { twist, ..model }, 17_330);
}

#[test]
fn the_fence_holds_where_owners_give_up() {
    let faults = Faults {
        takeovers: 1,
        ..DROP
    };
    let twist = Some(Twist::GiveUp);
    holds(
        &Config {
            twist,
            ..design(3, faults)
        },
        462_434,
    );
}

#[test]
fn an_open_log_is_whole_if_batches_settle_in_order() {
    let faults = Faults { cuts: 1, ..DROP };
    let model = Config {
        log: LogKind::OpenIntervals,
        pipe: 2,
        publishes: 2,
        ..design(3, faults)
    };
    holds(&model, 4_942);
}
