//! Who is not welcome at the door, or not now, and what is said to it.

use std::time::{Duration, Instant};

use telemetry_core::wire::IntroductionAnswer;
use telemetry_server::{
    Target, WorkerId,
    accept::INTRODUCTION_TIMEOUT,
    stream::{StreamInfo, StreamState},
};
use telemetry_tests::{Caller, PATIENCE, answer, within};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::process::Command;

use super::house::{CALLER, House, introduction, reason};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_honest_worker_is_served_at_once_beside_three_hundred_silent_ones() {
    let house = House::open();
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(UnixStream::connect(&house.socket).await.expect("a door"));
    }
    let worker = Caller::new("honest", "");
    let began = Instant::now();
    let _serving = worker.dial_in(&house.socket).await;
    assert!(began.elapsed() < INTRODUCTION_TIMEOUT / 2, "it had to wait");
    worker.emit(1);
    house.manager.received(&"honest".into(), 1).await;
    // The oldest were sent off, with a word; the newest are still there.
    let first = answer(&mut silent[0]).await;
    assert_eq!(first, Some(IntroductionAnswer::Wait { seconds: 1 }));
    let last = silent.last_mut().expect("300");
    assert!(last.try_read(&mut [0]).is_err(), "it may still speak");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_introduction_is_refused_with_what_is_wrong_with_it() {
    let house = House::open();
    let mut long = introduction("w").to_frame();
    long[11] = 1;
    let not_json = [&b"TELEMETRY/1"[..], &[0, 0, 0, 3], b"abc"].concat();
    let mut malformed = introduction("w");
    malformed.incarnation = "1".to_owned();
    for (bytes, wanted) in [
        (
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            "workers that serve are dialled",
        ),
        (
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            "did not begin with TELEMETRY/1",
        ),
        (long, "at most 4096 are allowed"),
        (not_json, "cannot be read"),
        (introduction("").to_frame(), "worker id \"\" is empty"),
        (introduction("a\nb").to_frame(), "has control characters"),
        (
            introduction(&"x".repeat(129)).to_frame(),
            "longer than 128 bytes",
        ),
        (malformed.to_frame(), "is not 32 hexadecimal digits"),
    ] {
        let reason = reason(house.say(&bytes).await);
        assert!(reason.contains(wanted), "{reason}");
    }
    let (began, frame) = (Instant::now(), introduction("w").to_frame());
    let mut slow = UnixStream::connect(&house.socket).await.expect("a door");
    let mut bytes = frame.iter();
    let refused = loop {
        let Some(byte) = bytes.next() else {
            panic!("all {} bytes were waited for", frame.len());
        };
        let _refused = slow.write_all(&[*byte]).await;
        if let Ok(refused) = tokio::time::timeout(Duration::from_millis(100), slow.readable()).await
        {
            refused.expect("a socket");
            break answer(&mut slow).await;
        }
    };
    assert!(reason(refused).contains("no introduction within 5 s"));
    assert!(began.elapsed() >= INTRODUCTION_TIMEOUT);
    assert!(house.ids().is_empty());
    let counted = house.manager.refused_connections();
    let wanted = [
        ("slow", 1),
        ("http2", 1),
        ("unknown", 1),
        ("too_long", 1),
        ("malformed", 1),
    ];
    assert_eq!(counted, [&wanted[..], &[("identity", 4)]].concat());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_of_another_user_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let house = House::open();
    if !rustix::process::geteuid().is_root() {
        // Only root can be somebody else; the door is closed to others anyway.
        return;
    }
    // Somebody opened the door, so that it is the check that refuses.
    let dir = house.socket.parent().expect("a directory");
    for (path, mode) in [(dir, 0o755), (&house.socket, 0o666)] {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(path, mode).expect("ours");
    }
    for (uid, wanted) in [
        ("1234", "runs as user 1234, who is not accepted"),
        ("65534", "does not tell the manager which user"),
    ] {
        let output = Command::new("setpriv")
            .args(["--reuid", uid, "--clear-groups", CALLER])
            .args([house.socket.as_os_str(), "w".as_ref()])
            .output();
        let output = within("the end of a stranger", output).await;
        let said = output.expect("setpriv").stderr;
        let said = String::from_utf8_lossy(&said);
        assert!(said.contains(wanted), "{said}");
    }
    assert!(house.ids().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_was_unregistered_is_kept_away_until_it_is_admitted_again() {
    let house = House::open();
    let id = WorkerId::from("w");
    let worker = Caller::new("w", "p");
    let _serving = worker.dial_in(&house.socket).await;
    house.manager.streaming(&id).await;
    let muted = house.manager.toggle(Target::Worker(id.clone()), false);
    muted.expect("it is there");
    house.manager.applied(&id).await;
    assert!(house.manager.unregister_worker(&id).await);
    assert!(house.ids().is_empty());
    let (refused, _) = worker.call(&house.socket).await;
    assert!(reason(Some(refused)).contains("was unregistered"));
    assert!(house.manager.readmit(&id) && !house.manager.readmit(&id));
    let _serving = worker.dial_in(&house.socket).await;
    house.manager.applied(&id).await;
    let policy = house.manager.worker_policy(&id).expect("it is there");
    assert!(!policy.enabled, "it is still muted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hello_of_another_incarnation_ends_the_connection() {
    let house = House::open();
    let mut worker = Caller::new("w", "");
    worker.introduction().incarnation = introduction("w").incarnation;
    let _serving = worker.dial_in(&house.socket).await;
    let refused = |info: &StreamInfo| {
        let error = info.last_error.as_deref().unwrap_or_default();
        info.state == StreamState::Away && error.contains("names another incarnation")
    };
    let info = house.manager.until("the end", &"w".into(), refused).await;
    assert_eq!(info.incarnation, "", "nothing of it was believed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manager_that_ends_has_callers_wait() {
    let house = House::open();
    let worker = Caller::new("w", "p");
    let _serving = worker.dial_in(&house.socket).await;
    worker.emit(10);
    house.manager.received(&"w".into(), 10).await;
    assert!(house.manager.shutdown(PATIENCE).await);
    let (answer, _) = worker.call(&house.socket).await;
    assert_eq!(answer, IntroductionAnswer::Wait { seconds: 1 });
    assert_eq!(house.totals("p").ledger.received, 10);
}
