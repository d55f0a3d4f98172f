//! Connections of one worker that overtake each other between the door and its session, and processes that have
//! ended before they are served.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command};

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use telemetry_core::wire::{Introduction, IntroductionAnswer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc::OwnedPermit;

use super::*;
use crate::bound::Reach;
use crate::manager::{Caller, ManagerConfig};
use crate::session::{Ancestry, Arrival, Carrier, Life, Peer, StreamInfo, StreamState};
use tokio::time::{sleep, timeout};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// What every client of HTTP/2 says first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A worker that has dialled in several times; nothing was handed over yet.
struct Worker {
    hall: Arc<Hall>,
    caller: Caller,
}

impl Worker {
    fn new() -> Self {
        let manager = Manager::start(ManagerConfig::new("node")).expect("a sound policy");
        let mut introduction = Introduction::default();
        introduction.worker = "w".to_owned();
        introduction.incarnation = "0123456789abcdef0123456789abcdef".to_owned();
        Self {
            hall: Door::new(manager).hall,
            caller: Caller {
                introduction,
                peer: Peer::Process { pid: None },
                pid: None,
                life: Life::default(),
                ancestry: Ancestry::default(),
            },
        }
    }

    /// A connection that was accepted and has its permit: the worker's end of it, and how to hand it over.
    async fn accepted(&self) -> (UnixStream, OwnedPermit<Arrival>, Arrival) {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let permit = self.hall.admit(&self.caller).await.expect("welcome");
        let arrival = Arrival {
            stream: Carrier::Unix(ours),
            incarnation: self.caller.introduction.incarnation.clone(),
            peer: Peer::Process { pid: None },
            pid: None,
            life: Life::default(),
            region: None,
            accepted: Accepted::now(),
        };
        (theirs, permit, arrival)
    }
}

/// Waits until HTTP/2 begins on it.
async fn is_served(stream: &mut UnixStream) {
    let mut said = [0; PREFACE.len()];
    let read = stream.read_exact(&mut said);
    timeout(PATIENCE, read)
        .await
        .expect("in time")
        .expect("it is served");
    assert_eq!(said, PREFACE);
}

/// Waits until it was closed without a word.
async fn is_dropped(stream: &mut UnixStream) {
    let read = stream.read_u8();
    let read = timeout(PATIENCE, read).await.expect("in time");
    assert!(read.is_err(), "{read:?}");
}

#[tokio::test]
async fn of_two_that_wait_the_newer_is_served_whichever_was_handed_over_first() {
    let worker = Worker::new();
    let (mut older, older_permit, older_arrival) = worker.accepted().await;
    let (mut newer, newer_permit, newer_arrival) = worker.accepted().await;
    newer_permit.send(newer_arrival);
    older_permit.send(older_arrival);
    is_served(&mut newer).await;
    is_dropped(&mut older).await;
}

#[tokio::test]
async fn an_older_one_does_not_take_the_place_of_the_newer_that_is_served() {
    let worker = Worker::new();
    let (mut older, older_permit, older_arrival) = worker.accepted().await;
    let (mut newer, newer_permit, newer_arrival) = worker.accepted().await;
    newer_permit.send(newer_arrival);
    is_served(&mut newer).await;
    older_permit.send(older_arrival);
    is_dropped(&mut older).await;
    // One that is newer still does.
    let (mut newest, permit, arrival) = worker.accepted().await;
    permit.send(arrival);
    is_served(&mut newest).await;
}

#[tokio::test]
async fn an_older_one_is_not_served_once_the_newer_is_lost() {
    let worker = Worker::new();
    let (mut older, older_permit, older_arrival) = worker.accepted().await;
    let (mut newer, newer_permit, newer_arrival) = worker.accepted().await;
    newer_permit.send(newer_arrival);
    is_served(&mut newer).await;
    drop(newer);
    let (id, is_away) = ("w".into(), |info: &StreamInfo| {
        info.state == StreamState::Away
    });
    let away = worker.hall.manager.wait_for(&id, is_away, PATIENCE);
    away.await.expect("its stream is lost");
    older_permit.send(older_arrival);
    is_dropped(&mut older).await;
}

/// A process that has ended, and that nobody has asked how.
struct Dead(Child);

impl Dead {
    fn begin() -> Self {
        let child = Command::new("true").spawn().expect("a process");
        let pid = WaitId::Pid(Pid::from_child(&child));
        let how = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        waitid(pid, how).expect("a child");
        Self(child)
    }

    /// Has a connection be its.
    fn own(&self, arrival: &mut Arrival, incarnation: &str) {
        arrival.incarnation = incarnation.repeat(32);
        arrival.pid = Some(self.0.id());
        arrival.life = Life::of(self.0.id());
    }
}

impl Drop for Dead {
    fn drop(&mut self) {
        let _ended_before = self.0.wait();
    }
}

#[tokio::test]
async fn each_silent_death_has_a_row_that_names_its_process() {
    let worker = Worker::new();
    let (first, second) = (Dead::begin(), Dead::begin());
    let (_one, one_permit, mut one) = worker.accepted().await;
    let (_two, two_permit, mut two) = worker.accepted().await;
    let (mut three, three_permit, mut three_arrival) = worker.accepted().await;
    first.own(&mut one, "1");
    second.own(&mut two, "2");
    three_arrival.incarnation = "3".repeat(32);
    one_permit.send(one);
    two_permit.send(two);
    three_permit.send(three_arrival);
    is_served(&mut three).await;
    let manager = &worker.hall.manager;
    let rows = manager.incarnations();
    let said: Vec<_> = rows
        .iter()
        .map(|row| (row.incarnation.as_str(), row.pid))
        .collect();
    let (one, two) = ("1".repeat(32), "2".repeat(32));
    let expected = [(&*one, Some(first.0.id())), (&*two, Some(second.0.id()))];
    assert_eq!(said, expected);
    assert_eq!(manager.totals().unaccounted_incarnations, 2);
}

#[tokio::test]
async fn a_silent_death_is_counted_once_while_another_is_awaited() {
    let worker = Worker::new();
    let dead = Dead::begin();
    let (_one, permit, mut arrival) = worker.accepted().await;
    dead.own(&mut arrival, "1");
    // Somebody else is about to come, so that the session does not end.
    let (mut two, other, other_arrival) = worker.accepted().await;
    permit.send(arrival);
    let manager = worker.hall.manager.clone();
    let counted = async {
        while manager.totals().unaccounted_incarnations == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, counted).await.expect("it is noticed");
    // Long enough for many looks at whether the other one is there.
    sleep(Duration::from_millis(50)).await;
    other.send(other_arrival);
    is_served(&mut two).await;
    assert_eq!(manager.totals().unaccounted_incarnations, 1);
}

/// Connects so many times as a process of another user.
fn connect_as(uid: u32, path: &Path, count: usize) -> Vec<std::os::unix::net::UnixStream> {
    use rustix::{process::Uid, thread::set_thread_res_uid};
    std::thread::scope(|scope| {
        let connecting = scope.spawn(|| {
            // Of this thread alone, which ends with it.
            set_thread_res_uid(None, Uid::from_raw(uid), None).expect("root may");
            let connect = |_| std::os::unix::net::UnixStream::connect(path).expect("a door");
            (0..count).map(connect).collect()
        });
        connecting.join().expect("no panic")
    })
}

/// What somebody who came first and said nothing is told at the end, where a crowd of a user came after.
async fn outlast_a_crowd_of(user: u32, accepted: &[u32]) -> Vec<u8> {
    let dir = tempfile::tempdir().expect("a directory");
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(dir.path(), open).expect("ours");
    let bound = Bound::within(&dir.path().join("users.sock"), Reach::EveryUser).expect("free");
    let path = bound.path().to_owned();
    let manager = Manager::start(ManagerConfig::new("node")).expect("a sound policy");
    let (_stop, stopped) = watch::channel(false);
    let door = tokio::spawn(Door::of(manager.clone(), accepted.to_vec()).keep(bound, stopped));
    let mut first = UnixStream::connect(&path).await.expect("a door");
    let mut crowd = Vec::new();
    for _ in 0..5 {
        let path = path.clone();
        let more = tokio::task::spawn_blocking(move || connect_as(user, &path, 100));
        crowd.extend(more.await.expect("no panic"));
    }
    let mut introduction = Introduction::default();
    introduction.worker = "w".to_owned();
    introduction.incarnation = "0".repeat(32);
    let _sent_off = first.write_all(&introduction.to_frame()).await;
    let mut answered = [0; 4_096];
    let count = timeout(PATIENCE, first.read(&mut answered)).await;
    let count = count.expect("in time").expect("an answer");
    door.abort();
    answered[..count].to_vec()
}

#[tokio::test]
async fn a_crowd_of_another_user_sends_nobody_away() {
    const OTHER: u32 = 65_531;
    if !rustix::process::geteuid().is_root() {
        // Only root can connect as somebody else.
        return;
    }
    for accepted in [&[][..], &[OTHER]] {
        let answer = outlast_a_crowd_of(OTHER, accepted).await;
        let said = String::from_utf8_lossy(&answer);
        let welcome = IntroductionAnswer::Welcome.to_frame();
        assert!(answer.starts_with(&welcome), "{accepted:?}: {said}");
    }
}
