//! Who waits for what was counted, and how the stream tells.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use telemetry_core::{
    Outcome,
    emit::{Overflow, PolicySpec, Recorder, SamplingRule, Ties, WRITE_THROUGH_WAIT},
    ledger::Reason,
};

use crate::{drain, emit, recorder, small_queue};

/// Does what a pump does, once.
fn pump(recorder: &Recorder) {
    let (ticket, mark) = (recorder.asked(), recorder.mark());
    // An event that is just being queued holds up those behind it.
    while !recorder.is_past(mark) {
        drain(recorder);
    }
    recorder.answer(ticket, mark);
}

/// Pumps for as long as `run` takes.
fn pumped<T: Send>(recorder: &Recorder, run: impl FnOnce() -> T + Send) -> T {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                pump(recorder);
                std::thread::yield_now();
            }
        });
        let result = scope.spawn(run).join();
        done.store(true, Ordering::Release);
        result.expect("no panic")
    })
}

#[test]
fn without_a_stream_nobody_waits_for_one() {
    let recorder = recorder(telemetry_core::emit::RecorderConfig::default());
    assert!(!recorder.has_stream() && recorder.settle(Duration::MAX));
    emit(&recorder, "a");
    assert!(!recorder.settle(Duration::MAX));
}

#[test]
fn an_empty_queue_is_no_answer() {
    let recorder = small_queue(64, Overflow::DropNewest);
    recorder.begin_stream();
    emit(&recorder, "a");
    drain(&recorder);
    assert!(!recorder.settle(Duration::from_millis(5)));
    assert!(pumped(&recorder, || recorder.settle(Duration::MAX)));
    assert!(pumped(&recorder, || recorder.wait_drained(Duration::MAX)));
}

#[test]
fn who_has_no_time_is_told_of_what_was_written_before() {
    let recorder = small_queue(64, Overflow::DropNewest);
    recorder.begin_stream();
    emit(&recorder, "a");
    assert!(!recorder.settle(Duration::ZERO));
    pump(&recorder);
    assert!(recorder.settle(Duration::ZERO));
    emit(&recorder, "a");
    assert!(!recorder.settle(Duration::ZERO));
}

#[test]
fn a_stream_that_ends_or_is_replaced_answers_nobody() {
    for replaced in [false, true] {
        let recorder = small_queue(64, Overflow::DropNewest);
        let stream = recorder.begin_stream();
        emit(&recorder, "a");
        let asked = std::thread::scope(|scope| {
            let waiter = scope.spawn(|| recorder.settle(Duration::MAX));
            while recorder.asked() == 0 {
                std::thread::yield_now();
            }
            if replaced {
                recorder.begin_stream();
            } else {
                recorder.end_stream(stream, Box::new(|| true));
            }
            waiter.join().expect("no panic")
        });
        assert!(!asked);
        // One that was replaced has no say any more.
        recorder.end_stream(stream, Box::new(|| false));
        assert_eq!(recorder.has_stream(), replaced);
        assert!(!recorder.left_unwritten());
    }
}

#[test]
fn what_a_stream_left_unwritten_is_no_success() {
    let recorder = small_queue(64, Overflow::DropNewest);
    let stream = recorder.begin_stream();
    recorder.end_stream(stream, Box::new(|| false));
    assert!(recorder.left_unwritten());
    assert!(!recorder.settle(Duration::MAX) && !recorder.wait_drained(Duration::MAX));
    recorder.begin_stream();
    assert!(!recorder.left_unwritten());
}

#[test]
fn in_write_through_mode_an_emit_returns_when_it_is_answered() {
    let recorder = small_queue(1_000, Overflow::DropNewest);
    recorder.begin_stream();
    recorder.begin_write_through();
    pumped(&recorder, || {
        for _ in 0..100 {
            assert_eq!(emit(&recorder, "a"), Outcome::Accepted);
            // It may have given up on a busy machine, and then says so.
            assert!(recorder.queued() == 0 || !recorder.is_written_through());
        }
    });
}

#[test]
fn one_emit_waits_in_vain_and_the_others_do_not_wait() {
    let recorder = small_queue(1_000, Overflow::DropNewest);
    recorder.begin_stream();
    recorder.begin_write_through();
    assert!(recorder.is_written_through());
    let begun = Instant::now();
    emit(&recorder, "a");
    assert!(begun.elapsed() >= WRITE_THROUGH_WAIT);
    assert!(!recorder.is_written_through());
    let begun = Instant::now();
    for _ in 0..200 {
        emit(&recorder, "a");
        recorder.callsite("not a name").expect_err("no name");
    }
    assert!(begun.elapsed() < WRITE_THROUGH_WAIT * 40);
    // That answer is late.
    pump(&recorder);
    assert!(!recorder.is_written_through());
    let begun = Instant::now();
    emit(&recorder, "a");
    pump(&recorder);
    if begun.elapsed() < WRITE_THROUGH_WAIT {
        assert!(recorder.is_written_through(), "this one was in time");
    }
}

#[test]
fn every_kind_of_end_waits_but_off() {
    let recorder = small_queue(1_000, Overflow::DropNewest);
    let waits = |recorder: &Recorder, end: &dyn Fn()| {
        // A new stream, so that nobody has given up.
        recorder.begin_stream();
        recorder.begin_write_through();
        end();
        !recorder.is_written_through()
    };
    let site = recorder.callsite("a").expect("valid");
    assert!(waits(&recorder, &|| {
        emit(&recorder, "a");
    }));
    assert!(waits(&recorder, &|| {
        recorder.callsite("not a name").expect_err("no name");
    }));
    let oversize = "x".repeat(100_000);
    let long = ["k"; 33].map(|key| (key, &*oversize));
    assert!(waits(&recorder, &|| {
        let fields = telemetry_core::emit::Fields {
            metadata: &long,
            ..Default::default()
        };
        let outcome = recorder.record(&site, &fields);
        assert_eq!(outcome, Outcome::Dropped(Reason::TooManyFields));
    }));
    assert!(waits(&recorder, &|| {
        drop(recorder.draft(&site, Ties::of_id(""), None).expect("kept"));
    }));
    let policy = |enabled, rate, deny: &[&str]| {
        let mut policy = PolicySpec::default();
        policy.enabled = enabled;
        policy.sampling = vec![SamplingRule::of_all(rate)];
        policy.deny = deny.iter().map(|glob| (*glob).to_owned()).collect();
        policy
    };
    let apply = |policy| {
        let control = telemetry_core::wire::Control::Policy(policy);
        recorder.gate().apply(&control).expect("valid");
    };
    apply(policy(true, 0.0, &[]));
    assert!(waits(&recorder, &|| {
        assert_eq!(emit(&recorder, "a"), Outcome::Dropped(Reason::SampledOut));
    }));
    apply(policy(true, 1.0, &["a"]));
    assert!(waits(&recorder, &|| {
        assert_eq!(emit(&recorder, "a"), Outcome::Dropped(Reason::Filtered));
    }));
    apply(policy(false, 1.0, &[]));
    assert!(!waits(&recorder, &|| {
        assert_eq!(emit(&recorder, "a"), Outcome::Off);
    }));
    apply(policy(true, 1.0, &[]));
    recorder.close();
    assert!(waits(&recorder, &|| {
        assert_eq!(emit(&recorder, "a"), Outcome::Dropped(Reason::NotRunning));
    }));
}

#[test]
fn the_thread_that_sends_never_waits_for_itself() {
    let recorder = small_queue(64, Overflow::DropNewest);
    recorder.begin_stream();
    recorder.begin_write_through();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            telemetry_core::emit::mark_sending_thread();
            emit(&recorder, "a");
        });
    });
    assert!(recorder.is_written_through(), "nobody gave up");
    assert!(recorder.asked() > 0, "but it is to be reported");
}

#[test]
fn the_mode_ends_with_its_stream() {
    let recorder = small_queue(64, Overflow::DropNewest);
    for replaced in [false, true] {
        let stream = recorder.begin_stream();
        recorder.begin_write_through();
        if replaced {
            recorder.begin_stream();
        } else {
            recorder.end_stream(stream, Box::new(|| true));
        }
        assert!(!recorder.is_written_through());
        let asked = recorder.asked();
        emit(&recorder, "a");
        recorder.callsite("not a name").expect_err("no name");
        assert_eq!(recorder.asked(), asked);
    }
}
