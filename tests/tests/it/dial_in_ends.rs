//! Workers that dial in and are gone before anybody has seen them, and a socket that goes away.

use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};

use telemetry_server::{
    Address, ManagerConfig,
    accept::{AcceptConfig, Acceptor},
};
use telemetry_tests::{Caller, NODE, PATIENCE, TestManager, eventually};
use tokio::task::spawn_blocking;

/// Introduces itself from a process of its own, which has ended when this returns.
fn brief(socket: &std::path::Path, id: &str, incarnation: u32) {
    let body = format!(
        r#"{{"worker":"{id}","pool":"p","incarnation":"{incarnation:032x}","pid":1,"language":"sh"}}"#
    );
    let head = [0, 0, 0, u8::try_from(body.len()).expect("short")];
    let frame = [&b"TELEMETRY/1"[..], &head, body.as_bytes()].concat();
    let script = "import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); \
                  s.sendall(sys.stdin.buffer.read())";
    let mut child = Command::new("python3")
        .args(["-c", script])
        .arg(socket)
        .stdin(Stdio::piped())
        .spawn()
        .expect("python3");
    let mut stdin = child.stdin.take().expect("piped");
    std::io::Write::write_all(&mut stdin, &frame).expect("it reads");
    drop(stdin);
    assert!(child.wait().expect("it ends").success());
}

// One thread: nothing is accepted while the test does not wait.
#[tokio::test]
async fn workers_that_were_gone_before_they_were_accepted_are_counted_and_leave_no_row() {
    let mut config = ManagerConfig::new(NODE);
    config.away_grace = PATIENCE * 2;
    let manager = TestManager::with(config);
    let dir = tempfile::tempdir().expect("a directory for the socket");
    let socket = dir.path().join("manager.sock");
    let config = AcceptConfig::at(Address::Unix(socket.clone()));
    let acceptor = Acceptor::start(&manager, config).expect("a free path");
    // Four of them by one id, one after the other.
    for number in 0..8 {
        brief(&socket, &format!("w-{}", number / 2 % 2 * number), number);
    }
    let unaccounted = || {
        let pools = manager.pools();
        let pool = pools.iter().find(|it| it.pool_name.as_deref() == Some("p"));
        pool.map_or(0, |pool| pool.totals.unaccounted_incarnations)
    };
    eventually("all to be counted", || {
        (unaccounted() == 8 && manager.list_streams().is_empty()).then_some(())
    })
    .await;
    drop(UnixStream::connect(&socket).expect("it still accepts"));
    assert_eq!(unaccounted(), 8);
    acceptor.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_that_somebody_removed_is_there_again() {
    let manager = TestManager::with(ManagerConfig::new(NODE));
    let dir = tempfile::tempdir().expect("a directory for the socket");
    let socket = dir.path().join("manager.sock");
    let config = AcceptConfig::at(Address::Unix(socket.clone()));
    let acceptor = Acceptor::start(&manager, config).expect("a free path");
    let is_there = || UnixStream::connect(&socket).is_ok().then_some(());
    for _ in 0..3 {
        std::fs::remove_file(&socket).expect("it is there");
        eventually("the socket to be back", is_there).await;
    }
    let worker = Caller::new("w", "");
    let _serving = worker.dial_in(&socket).await;
    worker.emit(1);
    manager.received(&"w".into(), 1).await;
    // Whoever answers there keeps it.
    let theirs = dir.path().join("theirs.sock");
    let other = UnixListener::bind(&theirs).expect("a free path");
    std::fs::rename(&theirs, &socket).expect("one directory");
    other.accept().expect("it is asked whether it answers");
    std::fs::remove_file(&socket).expect("theirs");
    drop(other);
    eventually("the socket to be back", is_there).await;
    acceptor.stop().await;
    assert!(!socket.exists());
}

/// Starts processes that introduce themselves and end, three at a time.
const CRASH_LOOP: &str = r#"
import os, socket, struct, sys
for round in range(200):
    children = []
    for number in range(3):
        child = os.fork()
        if child == 0:
            door = socket.socket(socket.AF_UNIX)
            door.connect(sys.argv[1])
            body = b'{"worker":"w%d","pool":"p","incarnation":"%032x","pid":1}' % (number // 2, round * 3 + number)
            door.sendall(b"TELEMETRY/1" + struct.pack(">I", len(body)) + body)
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_loop_is_counted_to_the_process() {
    let manager = TestManager::with(ManagerConfig::new(NODE));
    let dir = tempfile::tempdir().expect("a directory for the socket");
    let socket = dir.path().join("manager.sock");
    let config = AcceptConfig::at(Address::Unix(socket.clone()));
    let acceptor = Acceptor::start(&manager, config).expect("a free path");
    let mut script = Command::new("python3");
    script.args(["-c", CRASH_LOOP]).arg(&socket);
    let done = spawn_blocking(move || script.status())
        .await
        .expect("no panic");
    assert!(done.expect("python3").success());
    let refused = || -> u64 { manager.refused_connections().iter().map(|it| it.1).sum() };
    let counted = || {
        let pools = manager.pools();
        let pool = pools.iter().find(|it| it.pool_name.as_deref() == Some("p"));
        pool.map_or(0, |pool| pool.totals.unaccounted_incarnations)
    };
    eventually("all of them to be counted", || {
        (counted() + refused() >= 600).then_some(())
    })
    .await;
    eventually("nobody to be left", || {
        manager.list_streams().is_empty().then_some(())
    })
    .await;
    acceptor.stop().await;
    assert_eq!((counted(), refused()), (600, 0));
}
