//! When the pump wants to be asked again, without a transport.

use std::task::Waker;

use telemetry_core::{
    SystemClock,
    emit::{Fields, Recorder, RecorderConfig},
    wire::Greeting,
};

use super::super::body::CHUNK;
use super::super::config::StreamConfig;
use super::*;

#[test]
fn who_waits_for_its_last_acknowledgement_is_not_asked_at_once_again() {
    let clock = Arc::new(SystemClock::new());
    let recorder = Recorder::new(RecorderConfig::default(), clock).expect("valid");
    let recorder = Arc::new(recorder);
    let sessions = Arc::new(Sessions::new(
        Arc::clone(&recorder),
        StreamConfig::default(),
    ));
    let session = sessions.begin(true);
    let mut greeting = Greeting::default();
    greeting.acknowledges = true;
    session.greet(greeting);
    session.instruct();
    let begun = Instant::now();
    let mut pump = Pump::new(sessions, session, Outbox::new(None), CHUNK, begun);
    let cx = Context::from_waker(Waker::noop());
    let site = recorder.callsite("tool.result.transform").expect("valid");
    let _accepted = recorder.record(&site, &Fields::default());
    assert!(pump.poll(begun, &cx).is_ready(), "hello and report");
    assert!(pump.poll(begun, &cx).is_ready(), "the event");
    recorder.close();
    assert!(pump.poll(begun, &cx).is_ready(), "the last report");
    // Later than events would have gathered.
    let later = begun + Duration::from_millis(30);
    assert!(pump.poll(later, &cx).is_pending(), "nobody acknowledged");
    let again = pump.wake_at().expect("it does not wait for ever");
    assert!(again > later, "{:?} too early", later - again);
}
