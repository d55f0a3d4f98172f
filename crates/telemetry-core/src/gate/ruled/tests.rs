//! Rules come, decide, count and end, in a recorder whose clock stands still unless it is moved.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use telemetry_proto::WorkerReport;

use crate::Outcome;
use crate::control::{Control, PolicySpec, Shares};
use crate::ledger::Reason;
use crate::recorder::{Fields, Recorder, RecorderConfig};
use crate::rules::{WireAction, WireRule, WorkerRules};
use crate::time::ManualClock;

/// A worker with a clock of its own.
struct Worker {
    recorder: Recorder,
    clock: Arc<ManualClock>,
}

impl Worker {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::new(0));
        clock.advance(Duration::from_secs(100));
        let recorder = Recorder::new(RecorderConfig::default(), Arc::clone(&clock) as _).unwrap();
        Self { recorder, clock }
    }

    fn rule(&self, rules: Vec<WireRule>) {
        let set = WorkerRules::new(7, rules);
        self.recorder.apply(&Control::Rules(set)).unwrap();
    }

    fn emit(&self, name: &str) -> Outcome {
        let site = self.recorder.callsite(name).unwrap();
        self.recorder.record(&site, &Fields::default())
    }

    /// How many of so many events are accepted.
    fn accepted(&self, name: &str, events: usize) -> usize {
        let accepted = (0..events).filter(|_| self.emit(name) == Outcome::Accepted);
        accepted.count()
    }

    /// Turns the clock of rules once, and says when it wants to be turned next.
    fn turn(&self) -> Option<Duration> {
        self.recorder.turn_rules(Waker::noop())
    }

    fn report(&self) -> WorkerReport {
        self.recorder.report()
    }

    /// Matched, kept and dropped of each rule.
    fn counts(&self) -> Vec<(u32, u64, u64, u64)> {
        let report = self.report();
        let counts = report.rules.iter();
        counts
            .map(|count| (count.number, count.matched, count.kept, count.dropped))
            .collect()
    }
}

fn rule(number: u32, glob: &str, action: WireAction) -> WireRule {
    WireRule::new(number, format!("rule-{number}"), [glob], action)
}

fn per_second(limit: f64) -> WireAction {
    WireAction::PerSecond { limit, burst: None }
}

const DROPPED: Outcome = Outcome::Dropped(Reason::Filtered);
const SAMPLED: Outcome = Outcome::Dropped(Reason::SampledOut);
const LIMITED: Outcome = Outcome::Dropped(Reason::Limited);

#[test]
fn rules_decide_about_known_and_new_names() {
    let worker = Worker::new();
    assert_eq!(worker.emit("tool.start"), Outcome::Accepted);
    worker.rule(vec![
        rule(1, "tool.*", WireAction::Drop),
        rule(2, "never.*", WireAction::Rate(0.0)),
    ]);
    assert_eq!(worker.emit("tool.start"), DROPPED);
    assert_eq!(worker.emit("tool.stop"), DROPPED);
    assert_eq!(worker.emit("never.a"), SAMPLED);
    assert_eq!(worker.emit("other"), Outcome::Accepted);
    worker.rule(vec![rule(1, "*", WireAction::Off)]);
    assert_eq!(worker.emit("tool.start"), Outcome::Off);
    assert_eq!(worker.emit("quite.new"), Outcome::Off);
    assert!(worker.recorder.gate().control_status().is_off);
    worker.rule(vec![]);
    assert_eq!(worker.emit("tool.start"), Outcome::Accepted);
    assert_eq!(worker.recorder.snapshot().check(), Ok(()));
}

#[test]
fn a_limit_lets_so_many_pass_and_says_which_part_that_was() {
    let worker = Worker::new();
    worker.rule(vec![rule(1, "tool.*", per_second(10.0))]);
    // One limit for both names.
    let kept = worker.accepted("tool.start", 50) + worker.accepted("tool.stop", 50);
    assert_eq!(kept, 10);
    assert_eq!(worker.emit("tool.stop"), LIMITED);
    for _ in 0..200 {
        worker.clock.advance(Duration::from_millis(10));
        worker.emit("tool.start");
    }
    let mut frames = Vec::new();
    worker.recorder.drain_frames(
        &mut frames,
        crate::queue::Budget {
            events: 999,
            bytes: 99_999,
        },
    );
    let mut rates = Vec::new();
    let mut splitter = crate::codec::FrameSplitter::new(9_999);
    splitter
        .feed(&frames, |message| {
            let limits = crate::codec::DecodeLimits::default();
            let event = crate::codec::decode_event(message, &limits).unwrap();
            rates.push(event.sampling_rate.unwrap_or(1.0));
        })
        .unwrap();
    assert!((29..=31).contains(&rates.len()), "{}", rates.len());
    assert!((rates[0] - 1.0).abs() < 1e-9, "{rates:?}");
    let last = *rates.last().unwrap();
    assert!((0.09..=0.12).contains(&last), "{rates:?}");
    let report = worker.report();
    let limited = report
        .dropped
        .iter()
        .find(|count| count.reason == 14)
        .unwrap();
    let name = report
        .names
        .iter()
        .find(|count| count.name == "tool.start")
        .unwrap();
    assert_eq!(limited.count, 301 - rates.len() as u64);
    assert_eq!(name.last_reason, 14);
    assert_eq!(worker.recorder.snapshot().check(), Ok(()));
}

#[test]
fn a_share_is_drawn_before_the_limit_is_asked() {
    let worker = Worker::new();
    worker.rule(vec![
        rule(1, "*", WireAction::Rate(0.5)),
        rule(2, "*", per_second(10.0)),
    ]);
    assert_eq!(worker.accepted("a", 1_000), 10);
    let report = worker.report();
    let count = |reason: Reason| {
        let mut counts = report.dropped.iter();
        counts
            .find(|count| count.reason == reason.number())
            .map_or(0, |count| count.count)
    };
    assert!(count(Reason::SampledOut).abs_diff(500) < 5);
    assert!(count(Reason::Limited).abs_diff(490) < 5);
}

#[test]
fn a_rule_ends_by_itself_within_a_second() {
    let worker = Worker::new();
    let mut drop = rule(3, "tool.*", WireAction::Drop);
    drop.expires_in = Some(Duration::from_secs(600));
    worker.rule(vec![drop, rule(4, "tool.*", WireAction::Rate(0.0))]);
    assert_eq!(worker.turn(), Some(Duration::from_secs(600)));
    worker.clock.advance(Duration::from_secs(599));
    assert_eq!(worker.turn(), Some(Duration::from_secs(1)));
    assert_eq!(worker.emit("tool.start"), DROPPED);
    assert!(worker.report().expired_rules.is_empty());
    worker.clock.advance(Duration::from_secs(1));
    assert_eq!(worker.turn(), None);
    assert_eq!(worker.emit("tool.start"), SAMPLED);
    assert_eq!(worker.emit("tool.new"), SAMPLED);
    assert_eq!(worker.report().expired_rules, [3]);
    assert_eq!(worker.counts(), [(3, 1, 0, 1), (4, 3, 0, 2)]);
}

#[test]
fn the_wall_clock_has_no_say_in_when_a_rule_ends() {
    let worker = Worker::new();
    let mut drop = rule(1, "*", WireAction::Drop);
    drop.expires_in = Some(Duration::from_secs(10));
    worker.rule(vec![drop]);
    worker.clock.set_unix(i64::MAX);
    assert_eq!(worker.turn(), Some(Duration::from_secs(10)));
}

#[test]
fn budgets_follow_shares_and_fall_back_when_nothing_is_heard() {
    let worker = Worker::new();
    let budget = WireAction::Budget {
        per_second: 20.0,
        workers: 4,
        share: Some(15.0),
    };
    worker.rule(vec![rule(1, "*", budget)]);
    assert_eq!(worker.accepted("a", 100), 15);
    let share = |revision, share| {
        let shares = Shares::new(revision, [(1, share)]);
        worker.recorder.apply(&Control::Shares(shares)).unwrap();
    };
    share(7, 2.0);
    share(6, 1_000.0);
    worker.clock.advance(Duration::from_secs(9));
    assert_eq!(worker.accepted("a", 100), 2);
    let nothing_new = Control::Shares(Shares::new(7, []));
    worker.recorder.apply(&nothing_new).unwrap();
    assert_eq!(worker.turn(), Some(Duration::from_secs(10)));
    worker.clock.advance(Duration::from_secs(10));
    assert_eq!(worker.turn(), None);
    assert_eq!(worker.accepted("a", 100), 5);
}

#[test]
fn a_limit_that_is_said_again_does_not_begin_anew() {
    let worker = Worker::new();
    let rules = || vec![rule(1, "*", per_second(3.0))];
    worker.rule(rules());
    assert_eq!(worker.accepted("a", 10), 3);
    worker.rule(rules());
    assert_eq!(worker.accepted("a", 10), 0);
    assert_eq!(worker.counts(), [(1, 20, 3, 17)]);
}

#[test]
fn counts_go_on_by_id_and_belong_to_the_rules_of_their_time() {
    let worker = Worker::new();
    let keep = rule(1, "*", WireAction::Keep);
    worker.rule(vec![keep.clone(), rule(2, "b.*", WireAction::Drop)]);
    worker.accepted("a", 5);
    worker.accepted("b.x", 3);
    assert_eq!(worker.counts(), [(1, 8, 5, 0), (2, 3, 0, 3)]);
    worker.accepted("a", 1);
    let mut renumbered = keep;
    renumbered.number = 9;
    worker.rule(vec![renumbered]);
    worker.accepted("b.x", 2);
    assert_eq!(worker.counts(), [(9, 11, 8, 0)]);
    // What leaves the queue is no second event.
    let mut frames = Vec::new();
    worker.recorder.drain_frames(
        &mut frames,
        crate::queue::Budget {
            events: 99,
            bytes: 99_999,
        },
    );
    assert_eq!(worker.counts(), [(9, 11, 8, 0)]);
}

#[test]
fn the_newest_whole_statement_counts() {
    let worker = Worker::new();
    let spec = PolicySpec {
        revision: 3,
        deny: vec!["a".to_owned()],
        ..PolicySpec::default()
    };
    worker
        .recorder
        .apply(&Control::Policy(spec.clone()))
        .unwrap();
    assert_eq!(worker.emit("a"), DROPPED);
    worker.rule(vec![rule(1, "b", WireAction::Drop)]);
    assert_eq!(
        (worker.emit("a"), worker.emit("b")),
        (Outcome::Accepted, DROPPED)
    );
    let report = worker.report();
    assert_eq!(report.policy_revision, 7);
    assert_ne!(report.policy_fingerprint, 0);
    // A control of old stands beside the rules.
    let deny = Control::Filter {
        allow: vec![],
        deny: vec!["c".to_owned()],
    };
    worker.recorder.apply(&deny).unwrap();
    assert_eq!((worker.emit("b"), worker.emit("c")), (DROPPED, DROPPED));
    worker.recorder.apply(&Control::Policy(spec)).unwrap();
    assert_eq!(
        (worker.emit("a"), worker.emit("b")),
        (DROPPED, Outcome::Accepted)
    );
    let report = worker.report();
    assert_eq!((report.policy_revision, report.policy_fingerprint), (3, 0));
    assert_eq!(report.rules, []);
}

#[test]
fn a_wrong_rule_is_skipped_and_named_and_a_set_over_a_limit_refused_whole() {
    let worker = Worker::new();
    worker.rule(vec![
        rule(1, "[a", WireAction::Drop),
        rule(2, "a", WireAction::Rate(f64::NAN)),
        rule(3, "b", WireAction::Drop),
    ]);
    assert_eq!(
        (worker.emit("a"), worker.emit("b")),
        (Outcome::Accepted, DROPPED)
    );
    let problems = worker.report().problems;
    let named: Vec<_> = problems
        .iter()
        .map(|it| (it.rule.as_str(), it.field.as_str()))
        .collect();
    assert_eq!(named, [("rule-1", "match"), ("rule-2", "rate")]);

    let many = (0..257).map(|number| rule(number, "*", WireAction::Drop));
    let set = WorkerRules::new(8, many.collect());
    let error = worker.recorder.apply(&Control::Rules(set)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the rules have 257 rules; at most 256 are allowed"
    );
    let report = worker.report();
    assert_eq!(
        (report.policy_revision, report.rejected_policy_revision),
        (7, 8)
    );
    assert_eq!(report.control_error, error.to_string());
    assert_eq!(worker.emit("b"), DROPPED);
}
