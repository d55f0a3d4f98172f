//! What version 1 of the API looks like, in files: a field that is renamed or goes away shows itself here.
//!
//! `GOLDEN=write` writes them anew.

use std::fs;
use std::path::Path;

use serde::Serialize;
use telemetry_core::ledger::{Counts, Reason};

use super::*;
use crate::pipeline::LearnedEvent;

/// Compares what is said with the file that says how it was agreed.
#[track_caller]
fn check(name: &str, said: &impl Serialize) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api/tests/golden");
    let golden = golden.join(format!("{name}.json"));
    let said = serde_json::to_string_pretty(said).unwrap() + "\n";
    if std::env::var("GOLDEN").is_ok_and(|it| it == "write") {
        fs::write(&golden, &said).unwrap();
    }
    let agreed = fs::read_to_string(&golden).unwrap();
    assert_eq!(said, agreed, "{}", golden.display());
}

fn counts(reasons: &[(Reason, u64)]) -> Counts {
    let mut counts = Counts::default();
    for (reason, count) in reasons {
        counts.add(*reason, *count);
    }
    counts
}

fn ledger() -> Ledger {
    Ledger {
        emitted: 1_000,
        received: 900,
        dispatched: 890,
        rejected: counts(&[(Reason::UnknownEvent, 10)]),
        dropped: counts(&[(Reason::SampledOut, 80), (Reason::QueueFull, 5)]),
        gaps: 3,
        lost: 2,
        away: 1,
        queued: 7,
        unaccounted: 1,
        difference: Some(0),
    }
}

fn worker() -> Worker {
    Worker {
        id: "gpu-1".into(),
        pool: Some("gpu".into()),
        state: "streaming".into(),
        link: Some("in".into()),
        pid: Some(4_242),
        legacy: false,
        connected_since_ns: Some(1_700_000_000_000_000_000),
        retry_after_ns: None,
        stalled_ns: Some(2_340_000_000),
        open_spans: 2,
        reconnects: 1,
        last_error: Some("exit code 1: ValueError: x".into()),
        policy: Some(AppliedPolicy {
            revision: 3,
            applied: Some(2),
            error: None,
        }),
        ledger: ledger(),
        recovered: 4,
        unknown_since_ns: Some(1_699_999_999_000_000_000),
        process: Some(Process {
            state: "ready".into(),
            restarts: 3,
            age_ns: Some(5_000_000_000),
            last_exit: Some("exit code 1".into()),
            last_exit_code: Some(1),
            last_pid: Some(4_241),
            last_stderr: Some("ValueError: x".into()),
            ..Process::default()
        }),
        detail: None,
    }
}

#[test]
fn a_worker_in_a_list_and_alone() {
    let list = List {
        items: vec![worker()],
        total: 2,
        next: Some("gpu-1".into()),
    };
    check("workers", &list);
    let mut alone = worker();
    alone.process = None;
    alone.detail = Some(WorkerDetail {
        parent: Some("gpu-0".into()),
        endpoint: None,
        incarnation: Some("00ff".repeat(8)),
        package_version: Some("0.1.0".into()),
        capabilities: vec!["ack".into(), "rules".into()],
        incarnations: vec![Incarnation {
            id: Some("00ff".repeat(8)),
            pid: Some(4_242),
            emitted: 100,
            received: 90,
            gaps: 3,
            dropped: counts(&[(Reason::Filtered, 4)]),
            lost: 0,
            away: 1,
            queued: 2,
            elsewhere: 0,
            recovered: None,
            streaming: true,
            ended: false,
            complete: false,
            unknown_since_ns: None,
        }],
    });
    check("worker", &alone);
}

#[test]
fn the_fleet_its_pools_and_its_accounts() {
    check(
        "fleet",
        &Fleet {
            version: "0.1.0".into(),
            node: "machine-1".into(),
            time_ns: 1_700_000_000_000_000_000,
            workers: 4,
            streaming: 3,
            pools: 2,
            handlers: 2,
            quarantined: 1,
            reconnects: 5,
            ledger: ledger(),
        },
    );
    let pool = Pool {
        name: Some("gpu".into()),
        workers: 4,
        streaming: 3,
        available: Some(3),
        reconnects: 5,
        ledger: ledger(),
    };
    let list = List {
        items: vec![pool],
        total: 1,
        next: None,
    };
    check("pools", &list);
    let law = |law: &str, of: &str, why: Option<&str>| Law {
        law: law.into(),
        of: of.into(),
        holds: why.is_none(),
        why: why.map(str::to_owned),
    };
    check(
        "ledger",
        &Accounts {
            ledger: ledger(),
            balances: false,
            laws: vec![
                law("M2", "prometheus", None),
                law(
                    "M3",
                    "fleet",
                    Some("M3: sent 5, sequenced + gaps + lost + away 4"),
                ),
            ],
        },
    );
}

#[test]
fn events_and_where_they_go() {
    let list = List {
        items: vec![Event {
            name: "snakepit.python.tool.execution.stop".into(),
            wire_name: Some("tool.execution.stop".into()),
            count: 41,
            learned: false,
        }],
        total: 1,
        next: None,
    };
    check("events", &list);
    let key = |name: &str, unit: Option<&str>, kind: Option<&str>, label| CatalogKey {
        name: name.into(),
        unit: unit.map(str::to_owned),
        kind: kind.map(str::to_owned),
        label,
    };
    let entry = CatalogEntry {
        name: "snakepit.python.tool.execution.stop".into(),
        wire_name: Some("tool.execution.stop".into()),
        origin: "worker".into(),
        about: "A tool ended.".into(),
        measurements: vec![key(
            "duration",
            Some("nanoseconds"),
            Some("histogram"),
            false,
        )],
        metadata: vec![
            key("tool", None, None, true),
            key("call_id", None, None, false),
        ],
    };
    let list = List {
        items: vec![entry],
        total: 1,
        next: None,
    };
    check("catalog", &list);
    let list = List {
        items: vec![Quarantined {
            name: "tool.execution.stopp".into(),
            count: 2,
            first_seen_ns: 1_700_000_000_000_000_000,
            last_seen_ns: 1_700_000_001_000_000_000,
            suggestion: Some("tool.execution.stop".into()),
        }],
        total: 1,
        next: None,
    };
    check("quarantine", &list);
    let list = List {
        items: vec![Handler {
            id: "log".into(),
            patterns: vec!["snakepit.*".into()],
            matching_events: 60,
            capacity: 1_024,
            dispatched: 10,
            delivered: 8,
            dropped: counts(&[(Reason::QueueFull, 1)]),
            queued: 1,
            in_flight: 0,
        }],
        total: 1,
        next: None,
    };
    check("handlers", &list);
    check("refused", &Refused::new("unknown query parameter \"limt\""));
}

#[test]
fn what_several_pools_learned_is_one_event_and_what_is_known_none() {
    let learned = |name: &str, known, count| LearnedEvent {
        pool: None,
        name: format!("snakepit.python.{name}"),
        wire_name: name.into(),
        known,
        count,
        first_seen_ns: 1,
        last_seen_ns: 2,
        suggestion: None,
        measurements: Vec::new(),
        metadata: Vec::new(),
    };
    let mut events = Vec::new();
    let all = [
        ("own.a", false, 2),
        ("own.a", false, 3),
        ("call.stop", true, 0),
    ];
    Event::add_learned(
        &mut events,
        all.map(|(name, known, count)| learned(name, known, count))
            .into(),
    );
    let [event] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!((event.count, event.learned), (5, true));
    assert_eq!(event.wire_name.as_deref(), Some("own.a"));
}

#[test]
fn the_policy_and_how_far_it_is() {
    use telemetry_core::rules::{Rule, RuleAction};
    let rule = || Rule::new("slow", ["tool.*"], RuleAction::Rate(0.1));
    let origin = || "live".to_owned();
    check(
        "policy",
        &Policy {
            revision: 7,
            fingerprint: "00000000000000ff".into(),
            rules: vec![PolicyRule {
                origin: origin(),
                rule: rule(),
            }],
            degraded: None,
        },
    );
    let problem = || Problem {
        rule: "slow".into(),
        field: "match".into(),
        error: "\"tol.*\" matches no event that is known so far".into(),
    };
    let taken = PolicyTaken {
        revision: 8,
        workers: 2,
        warnings: vec![problem()],
    };
    check("policy_taken", &taken);
    let checked = PolicyChecked {
        problems: Vec::new(),
        warnings: vec![problem()],
        added: vec!["slow".into()],
        removed: Vec::new(),
        changed: Vec::new(),
    };
    check("policy_checked", &checked);
    let status = PolicyStatus {
        revision: 8,
        converged: false,
        settled: false,
        workers: PolicyCounts {
            applied: 1,
            pending: 1,
            ..PolicyCounts::default()
        },
        others: vec![PolicyWorker {
            id: "gpu-1".into(),
            pool: Some("gpu".into()),
            state: "pending".into(),
            revision: 9,
            applied: 8,
            problems: Vec::new(),
        }],
        rules: vec![RuleCounts {
            id: "slow".into(),
            origin: origin(),
            expires_ns: Some(1_700_000_000_000_000_000),
            matched: 10,
            kept: 1,
            dropped: 9,
        }],
    };
    check("policy_status", &status);
    let change = PolicyChange {
        revision: 8,
        at_ns: 1_700_000_000_000_000_000,
        by: "process 17".into(),
        added: vec!["slow".into()],
        removed: Vec::new(),
        changed: Vec::new(),
        rules: vec![rule()],
    };
    let list = List {
        items: vec![change],
        total: 1,
        next: None,
    };
    check("policy_history", &list);
}
