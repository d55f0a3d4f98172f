//! Control outlives what it controls: a muted worker stays muted through its restart and through the
//! cuts of its stream, and nothing leaks in between.

use serde_json::json;
use telemetry_core::{Outcome, ledger::Reason};
use telemetry_server::{Target, WorkerId, pool::Pool};
use telemetry_tests::{
    PATIENCE, POOL, Proxy, Puppet, TestManager, Told, puppet_pool, within, worker,
};

const START: &str = "tool.execution.start";
const PUPPET: &str = env!("CARGO_BIN_EXE_puppet");

#[tokio::test]
async fn a_muted_worker_is_still_muted_after_its_restart() {
    const AT_START: u64 = 200;
    let dir = tempfile::tempdir().unwrap();
    let manager = TestManager::start();
    let mut config = puppet_pool(PUPPET, dir.path());
    config
        .env
        .push(("PUPPET_AT_START".to_owned(), AT_START.to_string()));
    let pool = within("a pool", Pool::start(&manager, config))
        .await
        .unwrap();
    let name = format!("{POOL}-1");
    let id = WorkerId::from(name.as_str());
    let mut first = Puppet::of(dir.path(), &name, None).await;
    manager.streaming(&id).await;
    assert_eq!(first.emit(START, 10).await, Told::accepted(10));
    manager.witness().until_count(AT_START + 10).await;

    manager.toggle(Target::Worker(id.clone()), false).unwrap();
    manager.applied(&id).await;
    assert_eq!(first.emit(START, 10).await, Told::off(10), "muted");
    first.kill();
    let mut second = Puppet::of(dir.path(), &name, Some(first.pid)).await;
    assert_eq!(
        second.at_start().await,
        Told::accepted(AT_START),
        "it knew of no mute yet"
    );
    manager
        .until("the stream of the second process", &id, |info| {
            info.pid == Some(second.pid) && info.is_policy_applied() && info.report.is_some()
        })
        .await;

    assert_eq!(second.emit(START, 10).await, Told::off(10), "still muted");
    let ledger = second.ledger().await;
    assert_eq!(
        ledger["dropped"],
        json!({ "filtered": AT_START }),
        "{ledger}"
    );
    assert_eq!((&ledger["sent"], &ledger["queued"]), (&json!(0), &json!(0)));

    // The silence was the mute's, not a broken stream's.
    manager.toggle(Target::Worker(id.clone()), true).unwrap();
    manager.applied(&id).await;
    assert_eq!(
        second.emit("tool.execution.stop", 5).await,
        Told::accepted(5)
    );
    manager.witness().until_count(AT_START + 15).await;
    let seen = manager.witness().count_by_name();
    assert_eq!(
        seen["snakepit.python.tool.execution.start"],
        AT_START + 10,
        "nothing leaked"
    );
    let info = manager.received(&id, AT_START + 15).await;
    assert_eq!(
        (info.ledger.check(), info.ledger.dispatched),
        (Ok(()), AT_START + 15)
    );
    assert_eq!((info.lost_at_crash, info.ledger_difference()), (0, 0));
    pool.shutdown(PATIENCE).await;
}

#[tokio::test]
async fn a_muted_worker_is_still_muted_after_its_stream_is_cut() {
    let (manager, worker) = (TestManager::start(), worker().start());
    let cable = Proxy::start(worker.dir().join("cable.sock"), worker.socket()).unwrap();
    let id = manager.register(&format!("unix:{}", cable.path().display()), worker.id());
    manager.streaming(&id).await;
    assert_eq!(worker.emit(START), Outcome::Accepted);
    manager.toggle(Target::All, false).unwrap();
    manager.applied(&id).await;

    // No new stream before the worker was seen without one.
    cable.refuse(true);
    assert_eq!(cable.cut(), 1);
    worker.until_streams(0).await;
    assert_eq!(worker.emit(START), Outcome::Off, "muted without a stream");
    cable.refuse(false);
    manager
        .until("a second stream", &id, |info| info.streams == 2)
        .await;
    manager.applied(&id).await;
    assert_eq!(
        worker.emit(START),
        Outcome::Off,
        "muted on the second stream"
    );

    let account = manager.balanced(&worker).await;
    assert_eq!(
        (account.worker.emitted, account.manager.ledger.dispatched),
        (1, 1)
    );
    assert_eq!((cable.cuts(), account.manager.reconnects), (1, 1));
}

#[tokio::test]
async fn a_mute_ordered_while_the_stream_is_cut_comes_before_the_queued_events() {
    let (manager, worker) = (TestManager::start(), worker().start());
    let cable = Proxy::start(worker.dir().join("cable.sock"), worker.socket()).unwrap();
    let id = manager.register(&format!("unix:{}", cable.path().display()), worker.id());
    manager.streaming(&id).await;
    cable.refuse(true);
    assert_eq!(cable.cut(), 1);
    worker.until_streams(0).await;
    for _ in 0..100 {
        assert_eq!(worker.emit(START), Outcome::Accepted, "nobody told it yet");
    }
    assert_eq!(worker.ledger().queued, 100);

    manager.toggle(Target::All, false).unwrap();
    cable.refuse(false);
    manager
        .until("a second stream", &id, |info| info.streams == 2)
        .await;
    manager.applied(&id).await;

    let account = manager.balanced(&worker).await;
    assert_eq!(
        account.manager.ledger.received, 0,
        "leaked on the way to the mute"
    );
    assert_eq!(account.worker.dropped.get(Reason::Filtered), 100);
    assert_eq!(manager.witness().count(), 0);
}

#[tokio::test]
async fn rates_and_filters_are_there_again_after_a_cut() {
    let (manager, worker) = (TestManager::start(), worker().start());
    let cable = Proxy::start(worker.dir().join("cable.sock"), worker.socket()).unwrap();
    let id = manager.register(&format!("unix:{}", cable.path().display()), worker.id());
    manager.streaming(&id).await;
    cable.refuse(true);
    cable.cut();
    worker.until_streams(0).await;
    manager
        .update_sampling(Target::All, 0.0, &["tool.*".to_owned()])
        .unwrap();
    manager
        .update_filter(Target::All, &[], &["python.gc.*".to_owned()])
        .unwrap();
    cable.refuse(false);
    manager
        .until("a second stream", &id, |info| info.streams == 2)
        .await;
    manager.applied(&id).await;

    assert_eq!(worker.emit(START), Outcome::Dropped(Reason::SampledOut));
    assert_eq!(
        worker.emit("python.gc.completed"),
        Outcome::Dropped(Reason::Filtered)
    );
    assert_eq!(worker.emit("python.call.start"), Outcome::Accepted);
    let account = manager.balanced(&worker).await;
    assert_eq!(
        (account.worker.emitted, account.manager.ledger.dispatched),
        (3, 1)
    );
}
