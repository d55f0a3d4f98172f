//! The manager as process 1 of a namespace.

use std::fs;
use std::io::{self, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::rig::{Manager, command, configured, signal, wait};

/// Leaves processes behind at each end, in sessions of their own, so that none ends with its group.
const LEAVES_ORPHANS: &str =
    "for n in 1 2 3 4 5; do setsid sh -c 'sleep 0.2; echo . >> ended' & done\nsleep 0.1\nexit 0";

/// Whether this user may make a namespace of processes.
fn may_unshare() -> bool {
    let mut probe = Command::new("unshare");
    probe
        .args(["-pf", "--mount-proc", "true"])
        .stderr(Stdio::null());
    probe.status().is_ok_and(|status| status.success())
}

/// The children of a process, each with the letter of its state.
fn children(of: i32) -> Vec<(i32, char)> {
    let listed = fs::read_to_string(format!("/proc/{of}/task/{of}/children"));
    let listed = listed.expect("a process that runs");
    let state = |pid: &str| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let state = stat.rsplit_once(") ")?.1.chars().next()?;
        Some((pid.parse().ok()?, state))
    };
    listed.split_whitespace().filter_map(state).collect()
}

#[test]
fn process_1_reaps_orphans_and_knows_how_its_own_workers_ended() {
    if !may_unshare() {
        let skipped = "skipped: this user may not `unshare -pf --mount-proc`";
        writeln!(io::stderr(), "{skipped}").expect("stderr of a test");
        return;
    }
    let settings = "[exporters.log]\nlevel = \"debug\"";
    let configured = configured(settings, 3, LEAVES_ORPHANS);
    let log = fs::File::create(configured.0.path().join("log")).expect("a file");
    let inner = command(configured.0.path());
    let mut outer = Command::new("unshare");
    outer
        .args(["-pf", "--mount-proc", "--kill-child=KILL"])
        .arg(inner.get_program())
        .args(inner.get_args())
        .env_remove("TELEMETRY_LOG")
        .stdout(Stdio::null())
        .stderr(log);
    let mut manager = Manager::run(&mut outer, configured);
    let first = wait("process 1", || {
        children(manager.pid()).first().map(|(pid, _)| *pid)
    });
    let ended = manager.directory.path().join("ended");
    // Orphans that have ended: those that a manager without a reaper would keep for ever.
    wait("30 orphans that have ended", || {
        let ended = fs::read_to_string(&ended).unwrap_or_default();
        (ended.lines().count() >= 30).then_some(())
    });
    // One that has only just ended may still be there; none stays.
    let seen = Instant::now();
    let zombies = |all: Vec<(i32, char)>| all.into_iter().filter(|(_, state)| *state == 'Z');
    for (zombie, _) in zombies(children(first)) {
        wait("the end of a zombie", || {
            let still = zombies(children(first)).any(|(pid, _)| pid == zombie);
            (!still).then_some(())
        });
    }
    assert!(
        seen.elapsed() < Duration::from_secs(5),
        "zombies stay too long"
    );
    signal(first, Signal::TERM);
    assert_eq!(manager.ends_within(Duration::from_secs(20)).code(), Some(0));
    let said = fs::read_to_string(manager.directory.path().join("log")).expect("a log");
    let crashes: Vec<_> = said
        .lines()
        .filter(|line| line.contains("worker.crash"))
        .collect();
    assert!(crashes.len() >= 3, "{said}");
    // Had the reaper taken the exit of a worker, nobody could know its code.
    let unknown = crashes.iter().find(|line| !line.contains("exit code 0"));
    assert_eq!(unknown, None, "{said}");
}
