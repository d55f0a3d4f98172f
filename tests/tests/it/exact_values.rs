//! One event, from a real worker process to a handler of the manager: every value arrives exactly.

use std::time::SystemTime;

use serde_json::{Value as Json, json};
use telemetry_core::{Event, Value};
use telemetry_server::{
    WorkerId,
    pool::{Pool, PoolConfig},
};
use telemetry_tests::{
    NODE, PATIENCE, POOL, Puppet, TestManager, Told, eventually, puppet_pool, python, within,
};

const PUPPET: &str = env!("CARGO_BIN_EXE_puppet");
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/python/exact_values.py");
const WORKER: &str = "stories-1";

/// What is emitted.
fn emitted() -> Json {
    json!({
        "name": "tool.execution.stop",
        "measurements": {
            "duration": i64::MAX,
            "request_size": i64::MIN,
            "cpu_percent": 0.1,
            "count": 0,
            "bytes": -1.5e300,
            "generation": "two",
        },
        "metadata": {
            "tool": "grep 🔍 öä",
            "operation": "",
            "a_key_of_its_own": "\"quoted\" \\ and, = {braces}",
            "worker_id": "somebody-else",
        },
        "correlation_id": "request-1",
    })
}

/// Checks what arrived; `since` is when the story began.
fn check(event: &Event, pid: u32, since: i64) {
    let mut arrived = event.measurements.clone();
    arrived.sort_by(|left, right| left.0.cmp(&right.0));
    let expected = [
        ("bytes", Value::Float(-1.5e300)),
        ("count", Value::Int(0)),
        ("cpu_percent", Value::Float(0.1)),
        ("duration", Value::Int(i64::MAX)),
        ("generation", Value::Str("two".to_owned())),
        ("request_size", Value::Int(i64::MIN)),
    ];
    assert_eq!(
        arrived,
        expected.map(|(key, value)| (key.to_owned(), value))
    );
    for (key, value) in [
        ("tool", "grep 🔍 öä"),
        ("operation", ""),
        ("a_key_of_its_own", "\"quoted\" \\ and, = {braces}"),
        ("node", NODE),
        ("pool_name", POOL),
        ("worker_id", WORKER),
        ("python_pid", &pid.to_string()),
        ("correlation_id", "request-1"),
        ("timestamp_ns", &event.timestamp_ns.to_string()),
    ] {
        assert_eq!(event.metadata(key), Some(value), "{key}");
    }
    assert_eq!(
        event.metadata.len(),
        9,
        "nothing else: {:?}",
        event.metadata
    );
    assert_eq!(event.correlation_id, "request-1");
    assert!(
        (since..=unix_nanos()).contains(&event.timestamp_ns),
        "{}",
        event.timestamp_ns
    );
    assert!((event.sampling_rate - 1.0).abs() < f64::EPSILON);
}

fn unix_nanos() -> i64 {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("after 1970");
    i64::try_from(now.as_nanos()).expect("before 2262")
}

#[tokio::test]
async fn an_event_of_a_rust_worker_arrives_exactly_as_it_was_emitted() {
    let since = unix_nanos();
    let dir = tempfile::tempdir().unwrap();
    let manager = TestManager::start();
    let config = puppet_pool(PUPPET, dir.path());
    let pool = within("a pool", Pool::start(&manager, config))
        .await
        .unwrap();
    let mut puppet = Puppet::of(dir.path(), WORKER, None).await;

    assert_eq!(puppet.event(&emitted()).await, Told::accepted(1));

    let event = manager
        .witness()
        .until_named("snakepit.python.tool.execution.stop")
        .await;
    check(&event, puppet.pid, since);
    // E1: alive and quiet, everything emitted is dispatched.
    let info = manager.received(&WorkerId::from(WORKER), 1).await;
    let ledger = puppet.ledger().await;
    assert_eq!(
        (&ledger["emitted"], &ledger["sent"]),
        (&json!(1), &json!(1))
    );
    assert_eq!((info.ledger.dispatched, info.pid), (1, Some(puppet.pid)));
    pool.shutdown(PATIENCE).await;
    assert_eq!(
        manager.totals().ledger.dispatched,
        1,
        "totals outlive the worker"
    );
    assert_eq!(manager.totals().ledger_difference, 0);
}

#[tokio::test]
async fn an_event_of_a_python_worker_arrives_exactly_as_it_was_emitted() {
    let python = match python() {
        Ok(python) => python,
        #[expect(clippy::print_stdout, reason = "a story that is not told says so")]
        Err(reason) => return println!("skipped: {reason}"),
    };
    let since = unix_nanos();
    let dir = tempfile::tempdir().unwrap();
    let manager = TestManager::start();
    let python = python.to_str().unwrap().to_owned();
    let mut config = PoolConfig::new(POOL, [python, SCRIPT.to_owned()], dir.path().join("run"));
    config
        .env
        .push(("EXACT_EVENT".to_owned(), emitted().to_string()));
    let pool = within("a pool", Pool::start(&manager, config))
        .await
        .unwrap();

    let event = manager
        .witness()
        .until_named("snakepit.python.tool.execution.stop")
        .await;
    let pid = pool.status().workers[0].pid.unwrap();
    check(&event, pid, since);
    // The worker's own ledger, as it reports it, agrees.
    let id = WorkerId::from(WORKER);
    let report = eventually("the worker's report", || {
        manager.info(&id).report.filter(|report| report.sent == 1)
    })
    .await;
    assert_eq!(
        (report.check(), report.emitted, report.dropped.total()),
        (Ok(()), 1, 0)
    );
    let info = manager.received(&id, 1).await;
    assert_eq!((info.ledger_difference(), info.pid), (0, Some(pid)));
    pool.shutdown(PATIENCE).await;
}
