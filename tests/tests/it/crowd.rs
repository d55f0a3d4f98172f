//! Many workers at once: who is there is heard soon, and who is not costs nobody else anything.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use telemetry_core::EventRef;
use telemetry_server::{Manager, ManagerConfig, Target, WatchDir, WorkerContext, WorkerId};
use telemetry_tests::{PATIENCE, within, worker};
use tokio::sync::Notify;

const STALE: usize = 1_100;
/// A second, on a machine that has other things to do.
const BUSY_SECOND: Duration = Duration::from_secs(5);
const NAME: &str = "tool.execution.start";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_among_stale_sockets_is_heard_soon() {
    let manager = Manager::start(ManagerConfig::new("n1")).unwrap();
    let heard = Arc::new(Notify::new());
    let hear = Arc::clone(&heard);
    let handler = move |_: &EventRef<'_>| hear.notify_one();
    manager
        .dispatcher()
        .attach("ear", "snakepit.python.*", handler)
        .unwrap();
    // A living worker among the stale ones, and one that comes later.
    let first = worker().id("first").start();
    let dir = first.dir().join("watched");
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
    for number in 0..STALE {
        drop(UnixListener::bind(dir.join(format!("stale-{number}.sock"))).unwrap());
    }
    let began = Instant::now();
    let watch = WatchDir::start(&manager, &dir, None).unwrap();
    fs::hard_link(first.socket(), dir.join("first.sock")).unwrap();
    first.emit(NAME);
    within("the event of the first worker", heard.notified()).await;
    assert!(began.elapsed() < BUSY_SECOND);

    let second = worker().id("second").start();
    let began = Instant::now();
    fs::hard_link(second.socket(), dir.join("second.sock")).unwrap();
    second.emit(NAME);
    within("the event of the second worker", heard.notified()).await;
    assert!(began.elapsed() < BUSY_SECOND);
    assert_eq!(manager.list_streams().len(), 2, "stale sockets are workers");
    watch.stop().await;
    assert!(manager.shutdown(PATIENCE).await);
}

#[tokio::test]
async fn what_happens_to_one_worker_wakes_nobody_who_waits_for_another() {
    let manager = Manager::start(ManagerConfig::new("n1")).unwrap();
    let looks: Vec<Arc<AtomicUsize>> = (0..100).map(|_| Arc::default()).collect();
    let mut waiting = Vec::new();
    for (number, looks) in looks.iter().enumerate() {
        let id = format!("w-{number}");
        let endpoint = format!("unix:/nonexistent/{id}.sock").parse().unwrap();
        let id = manager
            .register_worker(endpoint, WorkerContext::new(id))
            .unwrap();
        // At rest: its socket was looked for and is not there.
        let at_rest = |info: &telemetry_server::StreamInfo| info.last_error.is_some();
        manager.wait_for(&id, at_rest, PATIENCE).await.unwrap();
        let (manager, looks) = (manager.clone(), Arc::clone(looks));
        waiting.push(tokio::spawn(async move {
            let denied = |info: &telemetry_server::StreamInfo| {
                looks.fetch_add(1, Ordering::SeqCst);
                info.policy_revision > 20
            };
            manager.wait_for(&id, denied, PATIENCE).await.map(drop)
        }));
    }
    while looks.iter().any(|looks| looks.load(Ordering::SeqCst) == 0) {
        tokio::task::yield_now().await;
    }
    let last = WorkerId::from("w-99");
    while !waiting[99].is_finished() {
        let target = Target::Worker(last.clone());
        manager.toggle(target, true).unwrap();
        tokio::task::yield_now().await;
    }
    waiting.pop().unwrap().await.unwrap().unwrap();
    assert!(looks[99].load(Ordering::SeqCst) > 1, "it was not woken");
    for looks in &looks[..99] {
        assert_eq!(looks.load(Ordering::SeqCst), 1);
    }
    for waiting in waiting {
        waiting.abort();
    }
}
