//! What one would like to be true and is not, with the shortest way to see it.
//!
//! If a change of the design makes one of them come true, its test fails, and that is good news.

use telemetry_models::direct::{Config, Faults, Joining, Wish};
use telemetry_models::explore;

use crate::MOST;
use crate::direct::{NONE, design};

const TURNS: Faults = Faults {
    cuts: 1,
    changes: 2,
    ..NONE
};

fn wish(joining: Joining, wish: Wish, faults: Faults) -> Config {
    Config {
        joining,
        wish: Some(wish),
        pipe: 3,
        is_symmetric: false,
        ..design(1, faults)
    }
}

#[track_caller]
fn fails(model: &Config, steps: usize) {
    assert_eq!(explore(model, MOST).broken().steps.len(), steps);
}

#[test]
fn what_is_forgotten_before_the_hello_is_read_is_counted_by_nobody() {
    let faults = Faults { cuts: 1, ..NONE };
    let wanted = Wish::EveryLossIsCounted;
    fails(&wish(Joining::AtRetained, wanted, faults), 8);
    // Nobody, unless managers join behind what was acknowledged.
    let model = wish(Joining::AtAcknowledged, wanted, faults);
    assert!(explore(&model, MOST).holds().quiet > 0);
}

#[test]
fn a_manager_counts_as_a_gap_what_another_took() {
    let wanted = Wish::EveryGapIsALoss;
    fails(&wish(Joining::AtRetained, wanted, TURNS), 13);
    fails(&wish(Joining::AtAcknowledged, wanted, TURNS), 10);
}

#[test]
fn turns_alone_make_gaps_unless_managers_join_behind_what_was_acknowledged() {
    let roomy = |joining| Config {
        pipe: 2,
        limits: design(3, TURNS).limits,
        ..wish(joining, Wish::EveryGapIsALoss, TURNS)
    };
    fails(&roomy(Joining::AtRetained), 14);
    let explored = explore(&roomy(Joining::AtAcknowledged), MOST).holds();
    assert!(explored.quiet > 0);
}

#[test]
fn the_price_is_a_gap_where_a_killed_manager_had_handled_what_was_forgotten() {
    let faults = Faults { kills: 1, ..NONE };
    let wanted = Wish::EveryGapIsALoss;
    fails(&wish(Joining::AtAcknowledged, wanted, faults), 11);
    let model = wish(Joining::AtRetained, wanted, faults);
    assert!(explore(&model, MOST).holds().quiet > 0);
}

#[test]
fn two_managers_count_the_same_gap() {
    let wanted = Wish::EveryGapIsCountedOnce;
    fails(&wish(Joining::AtRetained, wanted, TURNS), 15);
    fails(&wish(Joining::AtAcknowledged, wanted, TURNS), 10);
}
