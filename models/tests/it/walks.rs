//! More events and more faults than can be searched whole, by chance.

use telemetry_models::logged::Twist;
use telemetry_models::{Full, Limits, Seat, direct, logged, walk};

use crate::{direct as no_log, logged as log};

const SOME: u32 = 4_000;
const MANY: u32 = 200_000;

const LARGE: Limits = Limits {
    events: 14,
    queue: 4,
    ring: 3,
    full: Full::Wait,
    is_burst: false,
};

fn with_log(full: Full, ring: u8) -> logged::Config {
    let faults = logged::Faults {
        cuts: 6,
        kills: 4,
        takeovers: 6,
        drops: 6,
        haste: 6,
    };
    logged::Config {
        limits: Limits {
            full,
            ring,
            ..LARGE
        },
        pipe: 3,
        ..log::design(0, faults)
    }
}

fn without_log(changes: u8, joining: direct::Joining) -> direct::Config {
    let faults = direct::Faults {
        cuts: 9,
        kills: 12,
        changes,
        evictions: 3,
        absurd_acks: 3,
    };
    let full = Full::Forget;
    direct::Config {
        limits: Limits { full, ..LARGE },
        pipe: 3,
        joining,
        ..no_log::design(0, faults)
    }
}

fn logged_design(walks: u32) {
    let mut takeovers = 0;
    let end = |state: &logged::State| takeovers += u32::from(state.takeovers());
    walk(&with_log(Full::Wait, 3), walks, 1, end).expect("a worker that waits loses nothing");
    let mut gaps = 0;
    let end = |state: &logged::State| gaps += state.gaps().count();
    walk(&with_log(Full::Forget, 2), walks, 2, end).expect("a worker that forgets counts");
    assert!(takeovers > walks && gaps > walks / 10, "{takeovers} {gaps}");
}

fn direct_design(walks: u32) {
    for joining in [direct::Joining::AtRetained, direct::Joining::AtAcknowledged] {
        for changes in [0, 4] {
            let (mut gaps, mut repeated) = (0, 0);
            let end = |state: &direct::State| {
                gaps += state.gaps(Seat::A).count() + state.gaps(Seat::B).count();
                repeated += state.repeated().count();
            };
            walk(&without_log(changes, joining), walks, 3, end).expect("the design holds");
            assert!(
                gaps > walks / 10 && repeated > walks / 100,
                "{gaps} {repeated}"
            );
        }
    }
}

#[test]
fn managers_with_a_log_hold_by_chance() {
    logged_design(SOME);
}

#[test]
fn managers_without_a_log_hold_by_chance() {
    direct_design(SOME);
}

#[test]
#[ignore = "takes half a minute: cargo nextest run -p telemetry-models --run-ignored all"]
fn managers_with_a_log_hold_for_long() {
    logged_design(MANY);
}

#[test]
#[ignore = "takes half a minute: cargo nextest run -p telemetry-models --run-ignored all"]
fn managers_without_a_log_hold_for_long() {
    direct_design(MANY);
}

#[test]
fn mistakes_are_found_by_chance_too() {
    for twist in [
        Twist::AnnounceSent,
        Twist::AckOnReceive,
        Twist::ReleaseOnHandled,
        Twist::BlindTakeover,
    ] {
        let model = logged::Config {
            twist: Some(twist),
            ..with_log(Full::Wait, 3)
        };
        assert!(walk(&model, SOME, 3, |_| ()).is_err(), "{twist:?}");
    }
    let model = logged::Config {
        publishes: 2,
        ..with_log(Full::Wait, 3)
    };
    assert!(walk(&model, SOME, 4, |_| ()).is_err());
}
