//! Rules reach workers: those that are there, come late, restart, or know no rules; and outlive the manager.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use prost::Message;
use telemetry_core::rules::{Expiry, Rule, RuleAction, RuleTarget};
use telemetry_core::{Clock, EventRef, Outcome, SystemClock, ledger::Reason};
use telemetry_proto::telemetry_control::Control as Wire;
use telemetry_proto::{TelemetryControl, TelemetryEvent, WorkerReport};
use telemetry_server::policy::{PolicyRefused, PolicyWorkerState, RuleOrigin};
use telemetry_server::{Labels, ManagerConfig, WorkerId, stream::StreamInfo};
use telemetry_tests::{
    NODE, PATIENCE, POOL, RawWorker, StockWorker, TestManager, WITNESS, Worker, eventually, within,
    worker,
};

/// Workers of the fleet, and those of them that are restarted in the middle of a change.
const FLEET: usize = 200;
const RESTARTED: usize = 20;
const START: &str = "tool.execution.start";

fn rule(id: &str, glob: &str, action: RuleAction) -> Rule {
    Rule::new(id, [glob], action)
}

fn target(worker: &str) -> RuleTarget {
    let mut target = RuleTarget::default();
    target.worker = Some(worker.to_owned());
    target
}

/// A manager with these rules in its configuration, and a witness.
fn manager_with(change: impl FnOnce(&mut ManagerConfig)) -> TestManager {
    let mut config = ManagerConfig::new(NODE);
    change(&mut config);
    let manager = TestManager::with(config);
    let handler = manager.witness().handler();
    let attached = manager
        .dispatcher()
        .attach(WITNESS, "snakepit.python.*", handler);
    attached.expect("a free id");
    manager
}

async fn converged(manager: &TestManager) {
    let status = manager.await_policy(PATIENCE).await;
    assert!(status.converged, "{status:#?}");
}

/// Waits until all that the worker has emitted in this life has arrived.
async fn arrived(manager: &TestManager, worker: &Worker) {
    let id = WorkerId::from(worker.id());
    let all = |info: &StreamInfo| {
        let here = info.incarnation == worker.incarnation();
        here && info.incarnation_ledger.received == worker.ledger().accepted
    };
    manager.until("all that was emitted", &id, all).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_reaches_a_fleet_of_which_a_tenth_restarts_meanwhile() {
    let manager = TestManager::blind();
    let newest = Arc::new(AtomicI64::new(0));
    let seen = Arc::clone(&newest);
    let note = move |event: &EventRef<'_>| {
        seen.fetch_max(event.timestamp_ns(), Ordering::SeqCst);
    };
    let attached = manager
        .dispatcher()
        .attach("newest", "snakepit.python.tool.*", note);
    attached.unwrap();
    let start = |n: usize| worker().id(format!("w-{n:03}")).queue(64).start();
    let mut fleet: Vec<Worker> = (0..FLEET).map(start).collect();
    for worker in &fleet {
        manager.register(&worker.address(), worker.id());
    }
    for worker in &fleet {
        manager.streaming(&WorkerId::from(worker.id())).await;
        assert_eq!(worker.emit(START), Outcome::Accepted);
    }
    let drop = rule("no-tools", "tool.*", RuleAction::Drop);
    let receipt = manager.set_policy(vec![drop], None).await.unwrap();
    assert_eq!(receipt.workers.len(), FLEET);
    for n in (0..FLEET).step_by(FLEET / RESTARTED) {
        fleet[n] = start(n);
        manager.register(&fleet[n].address(), fleet[n].id());
        let _before_it_is_told = fleet[n].emit(START);
    }
    // Those that were restarted are on their way back.
    for worker in &fleet {
        manager.applied(&WorkerId::from(worker.id())).await;
    }
    converged(&manager).await;
    let since = SystemClock::new().unix_nanos();
    for worker in &fleet {
        let dropped = Outcome::Dropped(Reason::Filtered);
        assert_eq!(worker.emit(START), dropped, "{}", worker.id());
        assert_eq!(worker.emit("python.call.stop"), Outcome::Accepted);
    }
    for worker in &fleet {
        arrived(&manager, worker).await;
    }
    assert!(
        newest.load(Ordering::SeqCst) < since,
        "nothing of the old revision"
    );
    let status = manager.policy_status();
    assert_eq!(status.count(PolicyWorkerState::Applied), FLEET);
    let counts = &status.rules[0];
    assert!(
        counts.matched >= FLEET as u64 && counts.kept == 0,
        "{counts:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_muted_worker_stays_muted_through_restarts_of_either_side() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("policy.json");
    let with_state = |config: &mut ManagerConfig| config.policy_state = Some(state.clone());
    let mut mute = rule("mute", "*", RuleAction::Off);
    mute.target = target("loud");
    let mut revisions = Vec::new();
    for life in 0..3 {
        let manager = manager_with(with_state);
        if life == 0 {
            let set = manager.set_policy(vec![mute.clone()], Some(1)).await;
            set.unwrap();
        }
        let policy = manager.policy();
        revisions.push(policy.revision);
        assert_eq!(policy.rules[0].origin, RuleOrigin::Live);
        for _ in 0..2 {
            let (loud, quiet) = (worker().id("loud").start(), worker().id("quiet").start());
            for one in [&loud, &quiet] {
                manager.connect(one).await;
            }
            converged(&manager).await;
            assert_eq!(loud.emit(START), Outcome::Off);
            assert_eq!(quiet.emit(START), Outcome::Accepted);
            arrived(&manager, &quiet).await;
        }
        let from_loud = |event: &telemetry_core::Event| event.metadata("worker_id") == Some("loud");
        assert!(!manager.witness().events().iter().any(from_loud));
        manager.stop().await;
    }
    assert!(revisions.is_sorted(), "{revisions:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_ends_by_itself_when_the_manager_is_gone() {
    let manager = TestManager::start();
    let worker = worker().id("w").start();
    manager.connect(&worker).await;
    let after = Duration::from_secs(2);
    let mut short = rule("short", "tool.*", RuleAction::Drop);
    short.expiry = Some(Expiry::In(after));
    let set_at = Instant::now();
    manager.set_policy(vec![short], None).await.unwrap();
    converged(&manager).await;
    manager.stop().await;
    assert_eq!(worker.emit(START), Outcome::Dropped(Reason::Filtered));
    eventually("its end", || {
        (worker.emit(START) == Outcome::Accepted).then_some(())
    })
    .await;
    let took = set_at.elapsed();
    let slack = Duration::from_secs(1);
    assert!((after - slack..after + slack).contains(&took), "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_that_ended_leaves_the_live_ones() {
    let manager = manager_with(|_| {});
    let mut short = rule("short", "tool.*", RuleAction::Drop);
    short.expiry = Some(Expiry::In(Duration::from_millis(200)));
    let long = rule("long", "web.*", RuleAction::Drop);
    let set = manager.set_policy(vec![short, long], None).await.unwrap();
    assert_eq!(manager.policy().rules.len(), 2);
    eventually("its end", || {
        (manager.policy().rules.len() == 1).then_some(())
    })
    .await;
    let policy = manager.policy();
    assert_eq!(policy.rules[0].rule.id, "long");
    assert!(policy.revision > set.revision);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_stock_worker_handlers_see_what_they_see_of_ours() {
    const EVENTS: u64 = 4_000;
    let mut exact = rule("stops", "*.stop", RuleAction::Rate(0.5));
    exact.rank = 1;
    let rules = vec![
        rule("all", "*", RuleAction::Rate(0.1)),
        exact,
        rule("no-requests", "snakepit.python.call.*", RuleAction::Drop),
    ];
    let manager = manager_with(|_| {});
    let stock = StockWorker::on_tcp().await;
    let id = manager.register(stock.address(), "stock");
    stock.emit(START, &[]);
    manager.until("legacy", &id, |info| info.legacy).await;
    let ours = worker().id("ours").queue(8_192).start();
    manager.connect(&ours).await;
    manager.set_policy(rules, None).await.unwrap();
    converged(&manager).await;
    let highest = || (stock.policy() == (true, 0.5)).then_some(());
    eventually("the highest rate", highest).await;
    let names = [START, "tool.execution.stop", "python.call.start"];
    let mut sent = 1;
    for name in names {
        ours.emit_many(name, EVENTS);
        for _ in 0..EVENTS / 500 {
            // Its buffer is short.
            sent += (0..500)
                .map(|_| u64::from(stock.emit(name, &[])))
                .sum::<u64>();
            manager.received(&id, sent).await;
        }
    }
    manager.balanced(&ours).await;
    assert_eq!(stock.dropped(), 0);
    let ledger = manager.info(&id).ledger;
    assert!(ledger.rejected.get(Reason::Policy) > 0, "{ledger:?}");
    let by = |worker: &str, name: &str| {
        let events = manager.witness().events();
        let name = format!("snakepit.python.{name}");
        let rates: Vec<f64> = events
            .iter()
            .filter(|it| it.metadata("worker_id") == Some(worker) && it.name() == name)
            .map(|it| it.sampling_rate)
            .collect();
        let expected = rates.last().copied();
        assert!(
            rates.iter().skip(1).all(|rate| Some(*rate) == expected),
            "{worker} {name}"
        );
        (rates.len() as f64, expected)
    };
    for (name, rate) in [(START, 0.1), ("tool.execution.stop", 0.5)] {
        let expected = EVENTS as f64 * rate;
        for worker in ["ours", "stock"] {
            let (count, said) = by(worker, name);
            // Six standard deviations.
            let slack = 6.0 * (expected * (1.0 - rate)).sqrt();
            assert!(
                (count - expected).abs() <= slack,
                "{worker} {name}: {count}"
            );
            assert!(
                said.is_some_and(|said| (said - rate).abs() < 1e-9),
                "{worker}: {said:?}"
            );
        }
    }
    let none = (0.0, None);
    assert_eq!(
        [by("ours", "call.start"), by("stock", "call.start")],
        [none; 2]
    );
    let status = manager.policy_status();
    let states: Vec<_> = status.workers.iter().map(|it| it.state).collect();
    let (applied, approximated) = (PolicyWorkerState::Applied, PolicyWorkerState::Approximated);
    assert_eq!(states, [applied, approximated]);
}

#[tokio::test]
async fn what_is_wrong_with_rules_is_said_all_at_once_and_changes_nothing() {
    let file = rule("mine", "tool.*", RuleAction::Drop);
    let manager = manager_with(|config| config.rules = vec![file.clone()]);
    let before = manager.policy();
    assert_eq!(before.rules[0].origin, RuleOrigin::File);
    let wrong = vec![
        rule("mine", "web.*", RuleAction::Keep),
        rule("broken", "[", RuleAction::Rate(2.0)),
    ];
    let Err(PolicyRefused::Problems(problems)) = manager.set_policy(wrong, None).await else {
        panic!("taken");
    };
    let fields: Vec<_> = problems.iter().map(|it| (&*it.rule, &*it.field)).collect();
    for expected in [("mine", "id"), ("broken", "match"), ("broken", "rate")] {
        assert!(fields.contains(&expected), "{fields:?}");
    }
    let stale = manager
        .set_policy(Vec::new(), Some(before.revision + 1))
        .await;
    assert!(
        matches!(stale, Err(PolicyRefused::Stale { current, .. }) if current == before.revision)
    );
    assert_eq!(manager.policy(), before);
}

#[tokio::test]
async fn a_check_says_what_would_change_and_what_matches_nothing() {
    let manager = manager_with(|_| {});
    let old = vec![
        rule("a", "tool.*", RuleAction::Drop),
        rule("b", "tool.*", RuleAction::Keep),
        rule("c", "*", RuleAction::Keep),
    ];
    manager.set_policy(old, None).await.unwrap();
    let new = [
        rule("a", "tool.*", RuleAction::Drop),
        rule("b", "tool.execution.strat", RuleAction::Keep),
        rule("d", "snakepit.python.tool.*", RuleAction::Keep),
    ];
    let check = manager.check_policy(&new);
    let difference = [check.added, check.removed, check.changed];
    assert_eq!(difference, [["d"], ["c"], ["b"]]);
    assert_eq!((check.problems.len(), check.warnings.len()), (0, 1));
    let warning = check.warnings[0].to_string();
    assert!(
        warning.contains("did you mean tool.execution.start?"),
        "{warning}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_that_cannot_be_read_are_kept_aside_and_the_manager_starts() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("policy.json");
    std::fs::write(&state, "{").unwrap();
    let file = rule("mine", "tool.*", RuleAction::Drop);
    let with_both = |config: &mut ManagerConfig| {
        config.policy_state = Some(state.clone());
        config.rules = vec![file.clone()];
    };
    let manager = manager_with(with_both);
    let policy = manager.policy();
    let degraded = policy.degraded.expect("it is said");
    assert!(degraded.contains("policy.json.bad-"), "{degraded}");
    assert_eq!(policy.rules.len(), 1);
    let live = rule("live", "web.*", RuleAction::Drop);
    let set = manager.set_policy(vec![live], None).await.unwrap();
    assert_eq!(manager.policy().degraded, None);
    manager.stop().await;
    let manager = manager_with(with_both);
    let policy = manager.policy();
    assert_eq!((policy.rules.len(), policy.degraded), (2, None));
    assert!(policy.revision >= set.revision);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_further_than_the_manager_takes_its_revision_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let worker = RawWorker::start(dir.path());
    let manager = manager_with(|_| {});
    let id = manager.register(&worker.address(), "raw");
    let stream = worker.stream().await;
    stream.hello();
    let report = WorkerReport {
        policy_revision: 50,
        ..WorkerReport::default()
    };
    let frame = TelemetryEvent {
        report: Some(report),
        ..TelemetryEvent::default()
    };
    stream.message(&frame.encode_to_vec());
    let is_above = |control: &TelemetryControl| matches!(&control.control, Some(Wire::Policy(policy)) if policy.revision == 51);
    within("a revision above its own", async {
        while !stream.controls(1).await.iter().any(is_above) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(manager.info(&id).policy_revision, 51);
    let set = manager.set_policy(Vec::new(), None).await.unwrap();
    assert!(set.revision > 51);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_is_about_workers_with_a_label_as_long_as_they_have_it() {
    let zone = |zone: &str| Labels::from([("zone".to_owned(), zone.to_owned())]);
    let manager = manager_with(|_| {});
    manager.label_pool(POOL, zone("a"));
    let worker = worker().id("w").start();
    let id = manager.connect(&worker).await;
    assert_eq!(manager.info(&id).labels, zone("a"));
    let mut about = rule("zone-a", "tool.*", RuleAction::Drop);
    about.target.label = zone("a*");
    manager.set_policy(vec![about], None).await.unwrap();
    converged(&manager).await;
    assert_eq!(worker.emit(START), Outcome::Dropped(Reason::Filtered));
    manager.label_pool(POOL, zone("b"));
    converged(&manager).await;
    assert_eq!(worker.emit(START), Outcome::Accepted);
}
