//! Sockets that come and go in a watched directory.

use std::fs;
use std::os::unix::net::UnixListener;

use super::*;
use crate::manager::ManagerConfig;

/// Waits until the manager knows the worker, or no longer does.
async fn registered(manager: &Manager, worker: &str, wanted: bool) {
    let mut changes = manager.subscribe();
    let change = async {
        while manager.stream_state(&WorkerId::from(worker)).is_some() != wanted {
            changes.changed().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(20), change)
        .await
        .expect("it never changed");
}

#[tokio::test]
async fn worker_comes_and_goes_with_its_socket() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("watched");
    let manager = Manager::start(ManagerConfig::new("n1")).unwrap();
    let watch = WatchDir::start(&manager, &dir, Some("p".into())).unwrap();
    let path = dir.join("w.sock");
    let first = UnixListener::bind(&path).unwrap();
    registered(&manager, "w", true).await;
    let info = manager.stream(&WorkerId::from("w")).unwrap();
    assert_eq!(info.pool_name.as_deref(), Some("p"));
    assert_eq!(info.endpoint, Some(Address::Unix(path.clone())));
    fs::remove_file(&path).unwrap();
    drop(first);
    registered(&manager, "w", false).await;
    let _second = UnixListener::bind(&path).unwrap();
    registered(&manager, "w", true).await;
    watch.stop().await;
    assert!(manager.list_streams().is_empty());
}

#[tokio::test]
async fn socket_named_like_another_worker_takes_nothing_from_it() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(ManagerConfig::new("n1")).unwrap();
    let elsewhere = Address::Unix(dir.path().join("elsewhere"));
    manager
        .register_worker(elsewhere.clone(), WorkerContext::new("taken"))
        .unwrap();
    let watched = dir.path().join("watched");
    let watch = WatchDir::start(&manager, &watched, Some("p".into())).unwrap();
    let _taken = UnixListener::bind(watched.join("taken.sock")).unwrap();
    let _free = UnixListener::bind(watched.join("untaken.sock")).unwrap();
    // Sockets are taken in the order of their names: once this one is there, both were seen.
    registered(&manager, "untaken", true).await;
    watch.stop().await;
    let info = manager.stream(&WorkerId::from("taken")).unwrap();
    assert_eq!((info.endpoint, info.pool_name), (Some(elsewhere), None));
}

#[test]
fn only_sockets_with_a_name_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let _b = UnixListener::bind(path("b.sock")).unwrap();
    let _a = UnixListener::bind(path("a.sock")).unwrap();
    let _other = UnixListener::bind(path("c.socket")).unwrap();
    let _nameless = UnixListener::bind(path(".sock")).unwrap();
    fs::write(path("file.sock"), "").unwrap();
    std::os::unix::fs::symlink(path("a.sock"), path("link.sock")).unwrap();
    let found: Vec<_> = look::all(dir.path()).unwrap().into_iter().collect();
    assert_eq!(found, ["a.sock", "b.sock"]);
}

#[test]
fn directory_that_others_opened_is_no_longer_read() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o770)).unwrap();
    assert!(matches!(
        look::all(dir.path()),
        Err(SocketDirError::WritableByOthers { .. })
    ));
}

/// A socket file that nobody listens behind.
fn dead(path: &Path) {
    drop(UnixListener::bind(path).unwrap());
}

#[tokio::test]
async fn a_thousand_dead_sockets_hide_no_living_one_and_are_no_workers() {
    let dir = tempfile::tempdir().unwrap();
    for number in 0..1_100 {
        dead(&dir.path().join(format!("dead-{number}.sock")));
    }
    let manager = Manager::start(ManagerConfig::new("n1")).unwrap();
    let watch = WatchDir::start(&manager, dir.path(), None).unwrap();
    let _first = UnixListener::bind(dir.path().join("first.sock")).unwrap();
    registered(&manager, "first", true).await;
    let bound = std::time::Instant::now();
    let _second = UnixListener::bind(dir.path().join("second.sock")).unwrap();
    registered(&manager, "second", true).await;
    assert!(bound.elapsed() < Duration::from_secs(5));
    assert_eq!(manager.list_streams().len(), 2);
    watch.stop().await;
    let left = fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(left, 1_102, "no file is removed");
}

#[tokio::test]
async fn a_dead_socket_becomes_a_worker_when_somebody_listens_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.sock");
    dead(&path);
    let manager = Manager::start(ManagerConfig::new("n1")).unwrap();
    let _watch = WatchDir::start(&manager, dir.path(), None).unwrap();
    let _mark = UnixListener::bind(dir.path().join("x.sock")).unwrap();
    // Once this one is there, the dead one was seen.
    registered(&manager, "x", true).await;
    assert_eq!(manager.list_streams().len(), 1);
    fs::remove_file(&path).unwrap();
    let _listener = UnixListener::bind(&path).unwrap();
    registered(&manager, "w", true).await;
}

#[tokio::test]
async fn a_worker_whose_socket_stays_behind_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.sock");
    let manager = Manager::start(ManagerConfig::new("n1")).unwrap();
    let _watch = WatchDir::start(&manager, dir.path(), None).unwrap();
    let listener = UnixListener::bind(&path).unwrap();
    registered(&manager, "w", true).await;
    drop(listener);
    registered(&manager, "w", false).await;
    assert!(path.exists());
}

#[tokio::test]
async fn a_socket_is_taken_up_when_the_name_of_another_worker_becomes_free() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(ManagerConfig::new("n1")).unwrap();
    let elsewhere = Address::Unix(dir.path().join("elsewhere"));
    manager
        .register_worker(elsewhere, WorkerContext::new("w"))
        .unwrap();
    let watched = dir.path().join("watched");
    let _watch = WatchDir::start(&manager, &watched, Some("p".into())).unwrap();
    let _ours = UnixListener::bind(watched.join("w.sock")).unwrap();
    let _mark = UnixListener::bind(watched.join("x.sock")).unwrap();
    registered(&manager, "x", true).await;
    assert!(manager.unregister_worker(&WorkerId::from("w")).await);
    registered(&manager, "w", true).await;
    let info = manager.stream(&WorkerId::from("w")).unwrap();
    assert_eq!(info.pool_name.as_deref(), Some("p"));
}

#[tokio::test]
async fn workers_that_vanish_together_keep_no_new_one_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(ManagerConfig::new("n1")).unwrap();
    let _watch = WatchDir::start(&manager, dir.path(), None).unwrap();
    let path = |number: usize| dir.path().join(format!("w{number}.sock"));
    let fleet: Vec<_> = (0..20)
        .map(|number| UnixListener::bind(path(number)).unwrap())
        .collect();
    for number in 0..20 {
        registered(&manager, &format!("w{number}"), true).await;
    }
    let vanished = std::time::Instant::now();
    for number in 0..20 {
        fs::remove_file(path(number)).unwrap();
    }
    drop(fleet);
    let _new = UnixListener::bind(dir.path().join("new.sock")).unwrap();
    registered(&manager, "new", true).await;
    for number in 0..20 {
        registered(&manager, &format!("w{number}"), false).await;
    }
    assert!(vanished.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_worker_comes_moves_and_goes_with_its_ready_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.ready");
    fs::write(dir.path().join("before.ready"), "127.0.0.1:1\n").unwrap();
    let manager = Manager::start(ManagerConfig::new("n1")).unwrap();
    let watch = WatchDir::start(&manager, dir.path(), Some("p".into())).unwrap();
    registered(&manager, "before", true).await;
    fs::write(dir.path().join("broken.ready"), "no address").unwrap();
    fs::write(&path, "127.0.0.1:2\n").unwrap();
    registered(&manager, "w", true).await;
    let info = || manager.stream(&WorkerId::from("w"));
    assert_eq!(info().unwrap().pool_name.as_deref(), Some("p"));
    // In place, as a worker does that was started again.
    fs::write(&path, "127.0.0.1:3\n").unwrap();
    let mut changes = manager.subscribe();
    let moved: Option<Address> = "127.0.0.1:3".parse().ok();
    let change = async {
        while info().is_none_or(|info| info.endpoint != moved) {
            changes.changed().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(20), change)
        .await
        .expect("it never moved");
    fs::remove_file(&path).unwrap();
    registered(&manager, "w", false).await;
    assert!(manager.stream(&WorkerId::from("broken")).is_none());
    watch.stop().await;
    assert!(manager.list_streams().is_empty());
}
