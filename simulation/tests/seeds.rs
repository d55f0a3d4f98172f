//! The simulation itself: a seed always tells the same story, stories are right, and a planted mistake is found.

use std::path::PathBuf;

use telemetry_core::Mistake;
use telemetry_simulation::{Plan, Runner, Try};

fn runner() -> Runner {
    Runner {
        program: PathBuf::from(env!("CARGO_BIN_EXE_simulate")),
    }
}

fn seed(seed: u64) -> Try {
    Try {
        seed,
        is_told: true,
        ..Try::default()
    }
}

#[test]
fn a_seed_always_tells_the_same_story() {
    for number in 1..=10 {
        let first = runner().run(&seed(number)).expect("a process");
        let second = runner().run(&seed(number)).expect("a process");
        assert!(first.said.contains("hash"), "{}", first.said);
        assert_eq!(first.said, second.said, "seed {number}");
    }
}

#[test]
fn every_event_is_accounted_for() {
    let mut wrong = Vec::new();
    let tried = runner().run_all(1..41, None, |seed, came| {
        if !came.is_right {
            wrong.push((seed, came.said));
        }
        false
    });
    tried.expect("processes");
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn a_planted_mistake_is_found_and_its_story_made_short() {
    let mistake = Mistake::NeverRepeats;
    let found = runner().find(mistake, 200).expect("processes");
    let (number, came) = found.expect("it is found");
    assert!(came.said.contains("events are"), "{}", came.said);
    let what = Try {
        mistake: Some(mistake),
        ..seed(number)
    };
    let steps = Plan::of(number).steps();
    let short = runner().shrink(&what, steps).expect("processes");
    assert!(steps - short.without.len() <= 12, "{short:?}");
    assert!(!runner().run(&short).expect("a process").is_right);
}
