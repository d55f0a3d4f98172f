//! Each control, by what it does to the events: toggle, sampling, filter, and one that is refused.

use telemetry_core::{Outcome, ledger::Reason};
use telemetry_server::Target;
use telemetry_tests::{TestManager, worker};

const START: &str = "tool.execution.start";
const STOP: &str = "tool.execution.stop";
const CALL: &str = "python.call.start";

fn globs(patterns: &[&str]) -> Vec<String> {
    patterns
        .iter()
        .map(|pattern| (*pattern).to_owned())
        .collect()
}

#[tokio::test]
async fn a_toggle_mutes_and_unmutes() {
    let (manager, worker) = (TestManager::start(), worker().start());
    let id = manager.connect(&worker).await;
    assert_eq!(worker.emit(START), Outcome::Accepted);
    manager.witness().until_count(1).await;

    let receipt = manager.toggle(Target::Worker(id.clone()), false).unwrap();
    assert_eq!(receipt.workers, std::slice::from_ref(&id));
    manager.applied(&id).await;
    assert_eq!(worker.emit(START), Outcome::Off, "muted");

    manager
        .toggle(Target::Pool(telemetry_tests::POOL.to_owned()), true)
        .unwrap();
    manager.applied(&id).await;
    assert_eq!(worker.emit(STOP), Outcome::Accepted);
    manager.witness().until_count(2).await;
    let account = manager.balanced(&worker).await;
    assert_eq!(
        account.worker.emitted, 2,
        "what was emitted while muted costs and counts nothing"
    );
}

#[tokio::test]
async fn a_quarter_of_40_000_events_is_kept_within_one_percent() {
    let (manager, worker) = (TestManager::blind(), worker().start());
    let id = manager.connect(&worker).await;
    manager.update_sampling(Target::All, 0.25, &[]).unwrap();
    manager.applied(&id).await;

    worker.emit_many(START, 40_000);

    let account = manager.balanced(&worker).await;
    let kept = account.manager.ledger.dispatched;
    assert!((9_900..=10_100).contains(&kept), "{kept} of 40,000 at 0.25");
    assert_eq!(
        account.worker.dropped.get(Reason::SampledOut),
        40_000 - kept
    );
}

#[tokio::test]
async fn sampling_of_tools_leaves_calls_untouched() {
    let (manager, worker) = (TestManager::start(), worker().start());
    let id = manager.connect(&worker).await;
    manager
        .update_sampling(Target::All, 0.0, &globs(&["tool.*"]))
        .unwrap();
    manager.applied(&id).await;

    worker.emit_many(START, 500);
    worker.emit_many(CALL, 500);

    let account = manager.balanced(&worker).await;
    assert_eq!(
        manager.witness().count_of("snakepit.python.call.start"),
        500
    );
    assert_eq!(manager.witness().count(), 500);
    assert_eq!(account.worker.dropped.get(Reason::SampledOut), 500);
    assert_eq!(account.worker.dropped.total(), 500);
}

#[tokio::test]
async fn start_and_stop_of_a_span_are_kept_or_dropped_together() {
    const SPANS: u64 = 10_000;
    let (manager, worker) = (TestManager::start(), worker().start());
    let id = manager.connect(&worker).await;
    manager.update_sampling(Target::All, 0.5, &[]).unwrap();
    manager.applied(&id).await;

    for number in 0..SPANS {
        // Every second span has an id of its own to hash; the others are drawn.
        let id = if number % 2 == 0 {
            format!("request-{number}")
        } else {
            String::new()
        };
        let span = worker.telemetry().span("tool.execution").correlation_id(id);
        span.metadata("operation", number.to_string())
            .start()
            .finish();
        worker.make_room();
    }

    let account = manager.balanced(&worker).await;
    let mut starts = Vec::new();
    let mut stops = Vec::new();
    for event in manager.witness().events() {
        let number = event.metadata("operation").unwrap().to_owned();
        assert!(
            (event.sampling_rate - 0.5).abs() < 1e-9,
            "{}",
            event.sampling_rate
        );
        match event.name() {
            "snakepit.python.tool.execution.start" => starts.push(number),
            "snakepit.python.tool.execution.stop" => stops.push(number),
            other => panic!("{other}"),
        }
    }
    assert_eq!(starts, stops, "a broken pair");
    assert!(
        (4_700..=5_300).contains(&starts.len()),
        "{} of 10,000 at 0.5",
        starts.len()
    );
    assert_eq!(account.worker.emitted, 2 * SPANS);
}

#[tokio::test]
async fn deny_wins_over_allow_and_two_empty_lists_clear_both() {
    let (manager, worker) = (TestManager::start(), worker().start());
    let id = manager.connect(&worker).await;
    manager
        .update_filter(
            Target::All,
            &globs(&["tool.*"]),
            &globs(&["tool.execution.*"]),
        )
        .unwrap();
    manager.applied(&id).await;

    assert_eq!(
        worker.emit(START),
        Outcome::Dropped(Reason::Filtered),
        "denied and allowed"
    );
    assert_eq!(
        worker.emit(CALL),
        Outcome::Dropped(Reason::Filtered),
        "not allowed"
    );
    assert_eq!(worker.emit("tool.result_size"), Outcome::Accepted);

    manager.update_filter(Target::All, &[], &[]).unwrap();
    manager.applied(&id).await;
    assert_eq!(worker.emit(START), Outcome::Accepted);
    assert_eq!(worker.emit(CALL), Outcome::Accepted);

    let account = manager.balanced(&worker).await;
    assert_eq!(account.worker.dropped.get(Reason::Filtered), 2);
    assert_eq!(manager.witness().count(), 3);
}

#[tokio::test]
async fn an_invalid_glob_or_rate_reaches_the_caller_and_changes_nothing() {
    let (manager, worker) = (TestManager::start(), worker().start());
    let id = manager.connect(&worker).await;
    manager
        .update_filter(Target::All, &[], &globs(&["python.*"]))
        .unwrap();
    manager.applied(&id).await;
    let before = manager.info(&id).policy_revision;

    let refused = manager.update_filter(Target::All, &[], &globs(&["tool.*", "tool.[oops"]));
    let error = refused.unwrap_err().to_string();
    assert!(
        error.contains("tool.[oops") && error.contains("deny"),
        "{error}"
    );
    for rate in [f64::NAN, -0.1, 1.1] {
        let refused = manager.update_sampling(Target::All, rate, &[]);
        assert!(
            refused.unwrap_err().to_string().contains("from 0 to 1"),
            "{rate}"
        );
    }

    assert_eq!(manager.info(&id).policy_revision, before);
    assert_eq!(
        worker.emit(START),
        Outcome::Accepted,
        "nothing of the refused list applies"
    );
    assert_eq!(
        worker.emit(CALL),
        Outcome::Dropped(Reason::Filtered),
        "the old list stays"
    );
    manager.balanced(&worker).await;
}
