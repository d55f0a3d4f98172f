//! The search on a model that is known: a counter that goes up by one or two.

use super::*;

struct Counter {
    top: u8,
    forbidden: Option<u8>,
    trap: Option<u8>,
}

impl Model for Counter {
    type State = u8;
    type Step = u8;

    fn start(&self) -> u8 {
        0
    }

    fn moves(&self, state: &u8, moves: &mut Moves<Self>) {
        if Some(*state) == self.trap {
            return;
        }
        for by in [1, 2] {
            if state + by <= self.top {
                moves.push((by, Ok(state + by)));
            }
        }
    }

    fn laws(&self, state: &u8) -> Result<(), Fault> {
        Fault::unless(Some(*state) != self.forbidden, "forbidden")
    }

    fn summary(&self, state: &u8) -> String {
        state.to_string()
    }

    fn is_quiet(&self, state: &u8) -> bool {
        *state == self.top
    }
}

const PLAIN: Counter = Counter {
    top: 9,
    forbidden: None,
    trap: None,
};

#[test]
fn every_state_is_seen_once() {
    let explored = explore(&PLAIN, 100).holds();
    assert_eq!(
        explored,
        Explored {
            states: 10,
            depth: 5,
            quiet: 1
        }
    );
}

#[test]
fn a_broken_law_comes_with_the_shortest_way() {
    let counter = Counter {
        forbidden: Some(7),
        ..PLAIN
    };
    let broken = explore(&counter, 100).broken();
    assert_eq!(broken.steps.iter().sum::<u8>(), 7);
    assert_eq!(broken.steps.len(), 4);
}

#[test]
fn a_state_without_a_way_out_is_found() {
    let counter = Counter {
        trap: Some(3),
        ..PLAIN
    };
    let broken = explore(&counter, 100).broken();
    assert_eq!(broken.steps.iter().sum::<u8>(), 3);
    assert!(broken.fault.0.starts_with("no quiet state"));
}

#[test]
fn more_states_than_allowed_are_no_success() {
    assert!(matches!(explore(&PLAIN, 4), Verdict::Unfinished(_)));
}
