//! Planted mistakes: each is found, by the law that it breaks and in as few steps as it takes.

use telemetry_models::{Model, direct, explore, logged};

use crate::{MOST, direct as no_log, logged as log};

#[track_caller]
fn found<M: Model>(model: &M, steps: usize, law: &str) {
    let broken = explore(model, MOST).broken();
    assert_eq!((broken.steps.len(), broken.fault.0), (steps, law));
}

/// A ring for all three events, and each fault that one manager after the other may have.
fn no_log(twist: direct::Twist) -> direct::Config {
    let faults = direct::Faults {
        cuts: 1,
        kills: 1,
        absurd_acks: 1,
        ..no_log::NONE
    };
    direct::Config {
        twist: Some(twist),
        is_symmetric: false,
        ..no_log::design(3, faults)
    }
}

fn log(twist: logged::Twist) -> logged::Config {
    logged::Config {
        twist: Some(twist),
        pipe: 2,
        is_symmetric: false,
        ..log::design(3, log::EACH)
    }
}

#[test]
fn without_a_log_a_position_beyond_what_was_sent_on_the_stream_is_found() {
    let law = "a gap is booked for an event that can still be sent again";
    found(&no_log(direct::Twist::AnnounceSent), 7, law);
}

#[test]
fn without_a_log_an_acknowledgement_before_the_dispatch_is_found() {
    let law = "released, and neither handled nor forgotten";
    found(&no_log(direct::Twist::AckOnReceive), 6, law);
}

#[test]
fn without_a_log_a_release_at_the_end_of_a_stream_is_found() {
    let law = "released, and neither handled nor forgotten";
    found(&no_log(direct::Twist::EndReleases), 4, law);
}

#[test]
fn without_a_log_a_stream_without_replay_is_found() {
    let law = "a gap is booked for an event that can still be sent again";
    found(&no_log(direct::Twist::NoReplay), 7, law);
}

#[test]
fn without_a_log_a_belief_in_any_acknowledgement_is_found() {
    let law = "what was never sent is released";
    found(&no_log(direct::Twist::BelieveAcks), 4, law);
}

#[test]
fn without_a_log_a_successor_that_expects_the_first_event_is_found() {
    let law = "a gap is booked for an event that was not forgotten";
    found(&no_log(direct::Twist::StartAtNothing), 12, law);
}

#[test]
fn a_manager_that_takes_repeats_is_found_even_if_its_worker_is_right() {
    // What was read from the old stream is dispatched after the hello of the new one.
    let law = "one manager dispatches an event twice";
    found(&no_log(direct::Twist::TakeRepeats), 13, law);
    found(&no_log(direct::Twist::RewindAndTakeRepeats), 13, law);
}

#[test]
fn a_worker_that_rewinds_too_far_is_only_wasteful_where_repeats_are_dropped() {
    let explored = explore(&no_log(direct::Twist::RewindToBase), MOST).holds();
    assert!(explored.quiet > 0);
}

#[test]
fn a_position_beyond_what_was_sent_on_the_stream_is_found() {
    let law = "the log counts a loss that the worker had or could send again";
    found(&log(logged::Twist::AnnounceSent), 8, law);
}

#[test]
fn an_acknowledgement_on_receive_is_found() {
    let law = "released before it was durable";
    found(&log(logged::Twist::AckOnReceive), 6, law);
}

#[test]
fn a_release_of_what_is_only_handled_is_found() {
    let law = "released before it was durable";
    found(&log(logged::Twist::ReleaseOnHandled), 7, law);
}

#[test]
fn a_takeover_that_does_not_read_the_log_is_found() {
    let law = "the log takes a batch that does not follow on the one before";
    found(&log(logged::Twist::BlindTakeover), 14, law);
}

#[test]
fn a_worker_that_takes_any_epoch_is_found() {
    let law = "the worker went back to an older epoch";
    found(&log(logged::Twist::AnyEpoch), 4, law);
}

#[test]
fn two_publishes_in_flight_are_found() {
    let faults = logged::Faults {
        cuts: 0,
        takeovers: 0,
        ..log::EACH
    };
    let model = logged::Config {
        publishes: 2,
        ..log::design(3, faults)
    };
    let law = "the log takes a batch that does not follow on the one before";
    found(&model, 21, law);
}

#[test]
fn a_log_without_a_fence_and_an_inattentive_reader_are_found() {
    let faults = logged::Faults {
        takeovers: 0,
        ..log::EACH
    };
    let model = logged::Config {
        log: logged::LogKind::OpenHighest,
        pipe: 2,
        publishes: 2,
        ..log::design(3, faults)
    };
    let law = "all is quiet, and an event is missing in the log and not counted";
    found(&model, 21, law);
}

#[test]
fn a_log_without_a_fence_that_settles_what_came_last_is_found() {
    let faults = logged::Faults {
        takeovers: 0,
        kills: 0,
        ..log::EACH
    };
    let model = logged::Config {
        log: logged::LogKind::OpenIntervals,
        twist: Some(logged::Twist::SettleLatest),
        pipe: 2,
        publishes: 2,
        ..log::design(3, faults)
    };
    let law = "all is quiet, and an event is missing in the log and not counted";
    found(&model, 21, law);
}
