//! Spans under a limit: both ends or none.

use std::sync::Arc;
use std::time::Duration;

use crate::Outcome;
use crate::control::Control;
use crate::gate::SpanDecision;
use crate::ledger::Reason;
use crate::recorder::{Fields, Recorder, RecorderConfig};
use crate::rules::{WireAction, WireRule, WorkerRules};
use crate::time::ManualClock;

const LIMITED: Outcome = Outcome::Dropped(Reason::Limited);

fn worker(glob: &str, limit: f64) -> (Recorder, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(0));
    clock.advance(Duration::from_secs(100));
    let recorder = Recorder::new(RecorderConfig::default(), Arc::clone(&clock) as _).unwrap();
    let action = WireAction::PerSecond { limit, burst: None };
    let set = WorkerRules::new(1, vec![WireRule::new(1, "limit", [glob], action)]);
    recorder.apply(&Control::Rules(set)).unwrap();
    (recorder, clock)
}

/// Begins a span, and ends it after `between`: what became of both.
fn span(recorder: &Recorder, between: impl FnOnce()) -> (Outcome, Outcome) {
    let [start, stop, exception] =
        ["call.start", "call.stop", "call.exception"].map(|name| recorder.callsite(name).unwrap());
    let decided: SpanDecision = recorder
        .decide_span(&start, &stop, &exception, "", None)
        .unwrap();
    let fields = Fields::default();
    let began = recorder.record_decided(&start, decided.start, &fields);
    between();
    (began, recorder.record_decided(&stop, decided.stop, &fields))
}

#[test]
fn the_start_of_a_span_decides_for_its_end() {
    let (recorder, clock) = worker("call.*", 10.0);
    let mut whole = 0;
    for _ in 0..100 {
        clock.advance(Duration::from_millis(10));
        match span(&recorder, || clock.advance(Duration::from_millis(10))) {
            (Outcome::Accepted, Outcome::Accepted) => whole += 1,
            both => assert_eq!(both, (LIMITED, LIMITED)),
        }
    }
    // Ten at once, and ten a second in two seconds, of which each span takes two.
    assert!((14..=20).contains(&whole), "{whole}");
    assert_eq!(recorder.snapshot().check(), Ok(()));
    let report = recorder.report();
    let counts = &report.rules[0];
    assert_eq!(
        (counts.matched, counts.kept, counts.dropped),
        (200, 2 * whole, 200 - 2 * whole)
    );
}

#[test]
fn an_end_alone_under_a_limit_is_asked_when_it_comes() {
    let (recorder, _clock) = worker("call.stop", 3.0);
    let ends: Vec<_> = (0..5).map(|_| span(&recorder, || ())).collect();
    let kept = ends
        .iter()
        .filter(|ends| **ends == (Outcome::Accepted, Outcome::Accepted));
    assert_eq!(kept.count(), 3);
    assert_eq!(ends[4], (Outcome::Accepted, LIMITED));
}

#[test]
fn a_span_that_began_under_a_limit_ends_when_the_rules_are_gone() {
    let (recorder, _clock) = worker("call.*", 1.0);
    let none = || {
        let set = Control::Rules(WorkerRules::new(2, vec![]));
        recorder.apply(&set).unwrap();
    };
    let muted = || {
        let drop = WireRule::new(1, "drop", ["*"], WireAction::Drop);
        recorder
            .apply(&Control::Rules(WorkerRules::new(2, vec![drop])))
            .unwrap();
    };
    assert_eq!(
        span(&recorder, || ()),
        (Outcome::Accepted, Outcome::Accepted)
    );
    assert_eq!(span(&recorder, none), (LIMITED, LIMITED));
    let filtered = Outcome::Dropped(Reason::Filtered);
    assert_eq!(span(&recorder, muted), (Outcome::Accepted, filtered));
}
