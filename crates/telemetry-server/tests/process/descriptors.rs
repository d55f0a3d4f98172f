//! A manager that has no file descriptor left, and one that was started with few.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};

use crate::rig::{IDLE, Log, Manager, command, configured, line_with, runs, signal, wait};

/// Longest an end in order may take here.
const IN_ORDER: Duration = Duration::from_secs(20);

fn limit(manager: &Manager, current: u64) {
    let pid = Pid::from_raw(manager.pid());
    let hard = getrlimit(Resource::Nofile).maximum;
    let wanted = Rlimit {
        current: Some(current),
        maximum: hard,
    };
    prlimit(pid, Resource::Nofile, wanted).expect("limited");
}

/// The numbers of the descriptors that are open.
fn open(manager: &Manager) -> BTreeSet<u64> {
    let listed = fs::read_dir(format!("/proc/{}/fd", manager.pid()));
    let numbers = listed.expect("a process").map(|entry| {
        let name = entry.expect("an entry").file_name();
        name.to_str()
            .and_then(|name| name.parse().ok())
            .expect("a number")
    });
    numbers.collect()
}

#[test]
#[expect(clippy::cast_precision_loss, reason = "descriptors are few")]
fn http_is_answered_when_no_descriptor_is_left() {
    let mut manager = Manager::start(configured("", 1, IDLE), |_| {});
    manager.all_workers(1);
    let mut last = BTreeSet::new();
    let idle = wait("an end of all connections", || {
        let before = open(&manager);
        // Twice the same, and a connection is one more.
        let is_idle = before == last
            && manager.metric("telemetry_open_fds") == Some(before.len() as f64 + 1.0)
            && open(&manager).is_superset(&before);
        last.clone_from(&before);
        is_idle.then_some(before)
    });
    wait("the end of that one", || {
        (open(&manager) == idle).then_some(())
    });
    let first_free = (0..)
        .find(|number| !idle.contains(number))
        .expect("a number");
    limit(&manager, first_free);
    for _ in 0..20 {
        wait("the reserve", || {
            (open(&manager).len() == idle.len()).then_some(())
        });
        let shown = manager.metric("telemetry_open_fds").expect("a number");
        // Here it is not: it has the place of one that was set aside.
        assert_eq!(shown, idle.len() as f64);
        assert_eq!(manager.metric("telemetry_max_fds"), Some(first_free as f64));
        let workers = manager.get_over_socket("/api/workers");
        assert!(workers.contains("\"worker_id\":\"sh-1\""), "{workers}");
    }
    manager.signal(Signal::TERM);
    assert_eq!(manager.ends_within(IN_ORDER).code(), Some(0));
}

#[test]
fn without_descriptors_workers_wait_for_them_and_the_manager_still_ends_in_order() {
    let log = Log::new();
    let mut manager = Manager::start(configured("", 2, IDLE), |command| {
        command.stderr(log.end());
    });
    let lines = log.lines();
    let before = manager.all_workers(2);
    // Nothing can be opened, not even with what was set aside.
    limit(&manager, 4);
    signal(before[0], Signal::KILL);
    let told = line_with(&lines, "did not start");
    assert!(told.contains("Too many open files"), "{told}");
    limit(&manager, 1_024);
    wait("a new worker", || {
        let now = manager.workers();
        (now.len() == 2 && !now.contains(&before[0])).then_some(())
    });

    limit(&manager, 4);
    manager.signal(Signal::TERM);
    assert_eq!(manager.ends_within(IN_ORDER).code(), Some(0));
    assert!(!before.into_iter().any(runs), "a worker was left behind");
}

#[test]
#[expect(clippy::cast_precision_loss, reason = "descriptors are few")]
fn manager_takes_all_descriptors_it_may_and_its_workers_get_what_it_was_given() {
    let configured = configured("", 1, IDLE);
    let inner = command(configured.0.path());
    let mut shell = std::process::Command::new("sh");
    shell
        .args(["-c", "ulimit -S -n 256 && exec \"$0\" \"$@\""])
        .arg(inner.get_program())
        .args(inner.get_args());
    let mut manager = Manager::run(&mut shell, configured);
    let hard = getrlimit(Resource::Nofile).maximum;
    assert!(
        hard.is_none_or(|hard| hard > 256),
        "this user has few descriptors"
    );
    let expected = hard.map(|hard| hard as f64);
    assert_eq!(manager.metric("telemetry_max_fds"), expected);
    let worker = manager.all_workers(1)[0];
    wait("the limit of a worker", || {
        let limits = fs::read_to_string(format!("/proc/{worker}/limits")).expect("a process");
        let line = limits
            .lines()
            .find(|line| line.starts_with("Max open files"));
        let soft = line?.split_whitespace().nth(3)?;
        (soft == "256").then_some(())
    });
    manager.signal(Signal::TERM);
    assert_eq!(manager.ends_within(IN_ORDER).code(), Some(0));
}
