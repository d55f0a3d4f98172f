//! Workers of other users: those that were named are served at a socket of their own, with every event; nobody else is,
//! and nothing of the manager's own can be read.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use telemetry_core::Address;
use telemetry_server::{
    accept::{AcceptConfig, Acceptor},
    pool::RunDir,
};
use telemetry_tests::eventually;
use telemetry_tests::truth::{Kind, Story};

const CHAOS: &str = env!("CARGO_BIN_EXE_chaos");
const CALLER: &str = env!("CARGO_BIN_EXE_caller");
/// A user that was named.
const NAMED: u32 = 65_533;
/// One that was not.
const THIRD: u32 = 65_532;
/// Events that arrive at least, of each worker.
const EVENTS: u64 = 500;

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("ours");
}

/// Runs a program as another user to its end; whether it succeeded, and what it said.
fn run_as(uid: u32, command: &[&str]) -> (bool, String) {
    let uid = uid.to_string();
    let output = Command::new("setpriv")
        .args(["--reuid", &uid, "--regid", &uid, "--clear-groups"])
        .args(command)
        .stdin(Stdio::null())
        .output()
        .expect("setpriv");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    (output.status.success(), said)
}

/// Whether root runs this, who alone can be somebody else.
fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        let said = writeln!(
            std::io::stderr(),
            "skipped: only root can start processes of other users"
        );
        said.expect("stderr");
    }
    is_root
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_was_named_is_served_whole_and_nobody_else_at_all() {
    if !is_root() {
        return;
    }
    let story = Story::begin();
    set_mode(story.dir(), 0o755);
    // Each worker counts for itself, outside of telemetry.
    set_mode(story.pages.dir(), 0o777);
    let run_dir = story.dir().join("run");
    let held = RunDir::lock(&run_dir, "a story").expect("a directory of ours");
    fs::write(run_dir.join("token"), "a secret").expect("ours");
    set_mode(&run_dir.join("token"), 0o644);
    let private = run_dir.join("manager.sock");
    let shared = story.dir().join("users/manager.sock");
    let own = AcceptConfig::at(Address::Unix(private.clone()));
    let mut users = AcceptConfig::at(Address::Unix(shared.clone()));
    users.users = vec![NAMED];
    let own = Acceptor::start(&story.manager, own).expect("a free path");
    let users = Acceptor::start(&story.manager, users).expect("a free path");

    let program = story.program(Kind::Rust(CHAOS.into()));
    let mut named = program.dial_as(NAMED, &shared, 0, "named");
    let mut ours = program.dial(&private, "ours");
    // Our own user may come there as well.
    let mut beside = program.dial(&shared, "beside");
    for worker in [&named, &ours, &beside] {
        worker.emitted(EVENTS).await;
        eventually("its events", || {
            (story.arrivals.of(worker.pid).distinct() >= EVENTS).then_some(())
        })
        .await;
    }

    let path = |path: &Path| path.display().to_string();
    let (shared, private) = (path(&shared), path(&private));
    let (is_served, said) = run_as(THIRD, &[CALLER, &shared, "third"]);
    assert!(!is_served, "{said}");
    assert!(
        said.contains("runs as user 65532, who is not accepted"),
        "{said}"
    );
    let refused = story.manager.refused_connections();
    assert_eq!(refused, [("user", 1)]);
    for uid in [NAMED, THIRD] {
        let (is_served, said) = run_as(uid, &[CALLER, &private, "x"]);
        assert!(!is_served && said.contains("denied"), "{uid}: {said}");
        for inside in ["", "/token", "/manager.sock"] {
            let inside = format!("{}{inside}", path(&run_dir));
            for command in ["ls", "cat"] {
                let (is_read, said) = run_as(uid, &[command, &inside]);
                assert!(!is_read && said.contains("denied"), "{uid}: {said}");
            }
        }
        // Nor is anything put in the place of a socket.
        for command in [
            &["rm", "-f", &shared][..],
            &["touch", &format!("{shared}2")],
        ] {
            let (is_done, said) = run_as(uid, command);
            assert!(!is_done && said.contains("denied"), "{uid}: {said}");
        }
    }
    // The private socket takes nobody more, even where somebody opened the way to it.
    set_mode(&run_dir, 0o755);
    set_mode(Path::new(&private), 0o666);
    for uid in [NAMED, THIRD] {
        let (is_served, said) = run_as(uid, &[CALLER, &private, "x"]);
        assert!(!is_served && said.contains("who is not accepted"), "{said}");
    }
    assert_eq!(story.manager.refused_connections(), [("user", 3)]);
    for id in ["third", "x"] {
        assert!(story.manager.stream(&id.into()).is_none(), "{id}");
    }

    for worker in [&mut named, &mut ours, &mut beside] {
        let ended = worker.finish().await;
        assert!(ended.contains("exit status: 0"), "{ended}");
    }
    let pids = [named.pid, ours.pid, beside.pid];
    let told: Vec<_> = pids.map(|pid| story.pages.returned(pid)).into();
    let came: Vec<_> = pids.map(|pid| story.arrivals.of(pid).distinct()).into();
    assert_eq!(came, told, "every event arrives");
    own.stop().await;
    users.stop().await;
    assert!(!Path::new(&shared).exists());
    story.judge(&[]).await;
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_worker_of_another_user_held_is_read_from_its_memory() {
    if !is_root() {
        return;
    }
    let story = Story::begin();
    set_mode(story.dir(), 0o755);
    set_mode(story.pages.dir(), 0o777);
    let shared = story.dir().join("users/manager.sock");
    let mut config = AcceptConfig::at(Address::Unix(shared.clone()));
    config.users = vec![NAMED];
    let acceptor = Acceptor::start(&story.manager, config).expect("a free path");
    let program = story.program(Kind::Rust(CHAOS.into()));
    let mut worker = program.dial_as(NAMED, &shared, 0, "named");
    worker.emitted(EVENTS).await;
    eventually("its events", || {
        (story.arrivals.of(worker.pid).distinct() >= EVENTS).then_some(())
    })
    .await;
    worker.end_by(rustix::process::Signal::KILL).await;
    // Judged exactly: what had not come before its end was read.
    let verdicts = story.judge(&[]).await;
    assert!(verdicts.contains_key(&worker.pid), "it was judged");
    acceptor.stop().await;
}
