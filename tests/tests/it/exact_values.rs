//! One event, from a real worker process to a handler of the manager: every value arrives exactly.

use std::time::{Duration, SystemTime};

use serde_json::json;
use telemetry_core::{Value, ValueRef};
use telemetry_server::{Pool, WorkerId};
use telemetry_tests::{NODE, POOL, Puppet, TestManager, Told, puppet_pool, within};

const PUPPET: &str = env!("CARGO_BIN_EXE_puppet");

fn unix_nanos() -> i64 {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("after 1970");
    i64::try_from(now.as_nanos()).expect("before 2262")
}

#[tokio::test]
async fn an_event_of_a_worker_process_arrives_exactly_as_it_was_emitted() {
    let dir = tempfile::tempdir().unwrap();
    let manager = TestManager::start();
    let config = puppet_pool(PUPPET, dir.path());
    let pool = within("a pool", Pool::start(&manager, config))
        .await
        .unwrap();
    let name = format!("{POOL}-1");
    let mut puppet = Puppet::of(dir.path(), &name, None).await;

    let before = unix_nanos();
    let measurements = json!({
        "duration": i64::MAX,
        "request_size": i64::MIN,
        "cpu_percent": 0.1,
        "count": 0,
        "bytes": -1.5e300,
        "generation": "two",
    });
    let metadata = json!({
        "tool": "grep 🔍 \u{f6}\u{e4}",
        "operation": "",
        "a_key_of_its_own": "\"quoted\" \\ and, = {braces}",
        "worker_id": "somebody-else",
    });
    let told = puppet
        .event("tool.execution.stop", &measurements, &metadata, "request-1")
        .await;
    assert_eq!(told, Told::accepted(1));

    let event = manager
        .witness()
        .until_named("snakepit.python.tool.execution.stop")
        .await;
    let after = unix_nanos();
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
    assert_eq!(event.measurement("cpu_percent"), Some(ValueRef::Float(0.1)));
    for (key, value) in [
        ("tool", "grep 🔍 \u{f6}\u{e4}"),
        ("operation", ""),
        ("a_key_of_its_own", "\"quoted\" \\ and, = {braces}"),
        ("node", NODE),
        ("pool_name", POOL),
        ("worker_id", name.as_str()),
        ("python_pid", &puppet.pid.to_string()),
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
        (before..=after).contains(&event.timestamp_ns),
        "{}",
        event.timestamp_ns
    );
    assert!((event.sampling_rate - 1.0).abs() < f64::EPSILON);

    // E1: alive and quiet, everything emitted is dispatched.
    let id = WorkerId::from(name.as_str());
    let info = manager.received(&id, 1).await;
    let ledger = puppet.ledger().await;
    assert_eq!(
        (&ledger["emitted"], &ledger["sent"]),
        (&json!(1), &json!(1))
    );
    assert_eq!((info.ledger.dispatched, info.pid), (1, Some(puppet.pid)));
    pool.shutdown(Duration::from_secs(5)).await;
    assert_eq!(
        manager.totals().ledger.dispatched,
        1,
        "totals outlive the worker"
    );
    assert_eq!(manager.totals().ledger_difference, 0);
}
