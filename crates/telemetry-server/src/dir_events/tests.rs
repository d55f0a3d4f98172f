//! Directories that change while somebody watches.

use std::fs;
use std::future::Future;
use std::io::Write;

use super::*;

/// What has to come, soon.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what)
        .await
        .expect("it never came")
}

fn events() -> DirEvents {
    DirEvents::new(Handle::current())
}

/// Those of a system that has no inotify left.
fn blind() -> DirEvents {
    let events = events();
    let inbox = Arc::clone(&events.core.inbox);
    inbox.lock().started = true;
    tokio::spawn(table::run(inbox, Err(std::io::ErrorKind::Other.into())));
    events
}

/// A subscription that has begun.
async fn watched(events: &DirEvents, directory: &Path, interest: Interest) -> DirWatch {
    let mut watch = events.watch(directory, interest);
    assert_eq!(soon(watch.next()).await, DirEvent::LookAgain);
    watch
}

#[tokio::test]
async fn names_that_appear_vanish_and_change_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut watch = watched(&events(), dir.path(), Interest::Names).await;
    let path = dir.path().join("a");
    fs::write(&path, "x").unwrap();
    assert_eq!(soon(watch.next()).await, DirEvent::Appeared("a".into()));
    fs::rename(&path, dir.path().join("b")).unwrap();
    assert_eq!(soon(watch.next()).await, DirEvent::Vanished("a".into()));
    assert_eq!(soon(watch.next()).await, DirEvent::Appeared("b".into()));
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(dir.path().join("b"), mode).unwrap();
    assert_eq!(soon(watch.next()).await, DirEvent::Touched("b".into()));
    fs::remove_file(dir.path().join("b")).unwrap();
    assert_eq!(soon(watch.next()).await, DirEvent::Vanished("b".into()));
    assert_eq!(watch.try_next(), None);
}

#[tokio::test]
async fn writes_are_told_to_those_who_asked_for_them() {
    let dir = tempfile::tempdir().unwrap();
    let events = events();
    let mut names = watched(&events, dir.path(), Interest::Names).await;
    let mut writes = watched(&events, dir.path(), Interest::Writes).await;
    let mut file = fs::File::create(dir.path().join("a")).unwrap();
    assert_eq!(soon(writes.next()).await, DirEvent::Appeared("a".into()));
    file.write_all(b"line\n").unwrap();
    assert_eq!(soon(writes.next()).await, DirEvent::Written("a".into()));
    fs::remove_file(dir.path().join("a")).unwrap();
    assert_eq!(soon(names.next()).await, DirEvent::Appeared("a".into()));
    let after = soon(names.next()).await;
    assert!(
        matches!(&after, DirEvent::Touched(_) | DirEvent::Vanished(_)),
        "{after:?}"
    );
}

#[tokio::test]
async fn a_directory_that_goes_and_comes_back_is_watched_again() {
    let top = tempfile::tempdir().unwrap();
    let dir = top.path().join("a/b");
    fs::create_dir_all(&dir).unwrap();
    let mut watch = watched(&events(), &dir, Interest::Names).await;
    fs::remove_dir_all(top.path().join("a")).unwrap();
    assert_eq!(soon(watch.next()).await, DirEvent::Gone);
    fs::create_dir_all(&dir).unwrap();
    assert_eq!(soon(watch.next()).await, DirEvent::LookAgain);
    fs::write(dir.join("x"), "").unwrap();
    assert_eq!(soon(watch.next()).await, DirEvent::Appeared("x".into()));
    fs::rename(&dir, top.path().join("elsewhere")).unwrap();
    assert_eq!(soon(watch.next()).await, DirEvent::Gone);
}

#[tokio::test]
async fn a_file_is_followed_from_before_its_directory_is_there() {
    let top = tempfile::tempdir().unwrap();
    let dir = top.path().join("a/b");
    let path = dir.join("x");
    let mut file = events().follow(&path);
    assert_eq!(
        soon(file.wait_for(|seen| seen != Seen::Unknown)).await,
        Seen::Missing
    );
    fs::create_dir_all(&dir).unwrap();
    fs::write(&path, "").unwrap();
    let first = soon(file.wait_for(|seen| seen.file().is_some())).await;
    fs::write(dir.join("y"), "").unwrap();
    fs::rename(dir.join("y"), &path).unwrap();
    let second = soon(file.wait_for(|seen| seen != first)).await;
    assert!(second.file().is_some());
    fs::remove_dir_all(top.path().join("a")).unwrap();
    soon(file.wait_for(|seen| seen == Seen::Missing)).await;
}

#[tokio::test]
async fn a_file_that_nobody_else_touched_wakes_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let events = events();
    let mut a = events.follow(&dir.path().join("a"));
    let mut b = events.follow(&dir.path().join("b"));
    soon(a.wait_for(|seen| seen == Seen::Missing)).await;
    soon(b.wait_for(|seen| seen == Seen::Missing)).await;
    a.seen.mark_unchanged();
    fs::write(dir.path().join("b"), "").unwrap();
    soon(b.wait_for(|seen| seen.file().is_some())).await;
    assert!(!a.seen.has_changed().unwrap());
}

#[tokio::test]
async fn the_watch_over_a_directory_ends_with_its_last_subscription() {
    let dir = tempfile::tempdir().unwrap();
    let events = events();
    let first = watched(&events, dir.path(), Interest::Names).await;
    let mut second = watched(&events, dir.path(), Interest::Names).await;
    drop(first);
    fs::write(dir.path().join("a"), "").unwrap();
    assert_eq!(soon(second.next()).await, DirEvent::Appeared("a".into()));
    drop(second);
    // The task works in order: once this one has begun, the others are over.
    let mut third = watched(&events, dir.path(), Interest::Names).await;
    fs::remove_file(dir.path().join("a")).unwrap();
    assert_eq!(soon(third.next()).await, DirEvent::Vanished("a".into()));
    assert_eq!(third.try_next(), None);
}

#[tokio::test]
async fn where_the_system_does_not_tell_a_look_has_to_do() {
    let top = tempfile::tempdir().unwrap();
    let path = top.path().join("a/x");
    let events = blind();
    let mut watch = watched(&events, top.path(), Interest::Names).await;
    let mut file = events.follow(&path);
    soon(file.wait_for(|seen| seen == Seen::Missing)).await;
    fs::create_dir(top.path().join("a")).unwrap();
    fs::write(&path, "").unwrap();
    soon(file.wait_for(|seen| seen.file().is_some())).await;
    assert_eq!(soon(watch.next()).await, DirEvent::LookAgain);
}

#[tokio::test]
async fn the_task_ends_with_the_last_of_those_who_ask() {
    let dir = tempfile::tempdir().unwrap();
    let events = events();
    let watch = watched(&events, dir.path(), Interest::Names).await;
    let inbox = Arc::downgrade(&events.core.inbox);
    drop(events);
    assert!(inbox.upgrade().is_some());
    drop(watch);
    let over = async {
        while inbox.upgrade().is_some() {
            tokio::task::yield_now().await;
        }
    };
    soon(over).await;
}
