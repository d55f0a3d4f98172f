//! What signals do to a manager and its workers.

use std::fs;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::rig::{IDLE, Log, Manager, configured, line_with, runs, signal, wait};

/// Longest an end may take here that waits for nobody.
const AT_ONCE: Duration = Duration::from_secs(15);

/// Ends half a second after it was asked, and leaves a file that says so.
const IN_ORDER: &str =
    "trap 'sleep 0.5; echo > ended; exit 0' TERM\necho > ready\nwhile :; do sleep 0.05; done";
/// Does not end when asked.
const STUBBORN: &str = "trap '' TERM INT\necho > ready\nwhile :; do sleep 0.05; done";

const EVENTS: &str = "[exporters.log]\nlevel = \"debug\"";

/// Waits until the worker has set its traps.
fn ready(manager: &Manager) {
    let ready = manager.directory.path().join("ready");
    wait("the worker", || ready.exists().then_some(()));
}

#[test]
fn hangup_is_a_line_in_the_log_and_nothing_else() {
    let log = Log::new();
    let mut manager = Manager::start(configured("", 1, IDLE), |command| {
        command.stderr(log.end());
    });
    let workers = manager.all_workers(1);
    manager.signal(Signal::HUP);
    let lines = log.lines();
    line_with(
        &lines,
        "SIGHUP changes nothing: the configuration is read at the start only",
    );
    assert_eq!(manager.workers(), workers);
    manager.signal(Signal::TERM);
    assert_eq!(manager.ends_within(AT_ONCE).code(), Some(0));
}

#[test]
fn two_requests_within_a_millisecond_are_one_end_in_order() {
    for second in [Signal::TERM, Signal::INT] {
        let mut manager = Manager::start(configured("", 1, IN_ORDER), |_| {});
        ready(&manager);
        manager.signal(Signal::TERM);
        std::thread::sleep(Duration::from_millis(1));
        manager.signal(second);
        assert_eq!(manager.ends_within(AT_ONCE).code(), Some(0));
        assert!(
            manager.directory.path().join("ended").exists(),
            "the worker was killed by {second:?}"
        );
    }
}

#[test]
fn a_later_request_hastens_the_end() {
    let log = Log::new();
    let mut manager = Manager::start(configured("", 1, STUBBORN), |command| {
        command.stderr(log.end());
    });
    ready(&manager);
    let worker = manager.all_workers(1)[0];
    manager.signal(Signal::INT);
    let lines = log.lines();
    line_with(&lines, "stopping in order");
    // The time after which a request is another one.
    std::thread::sleep(Duration::from_millis(2_100));
    assert!(manager.child.try_wait().expect("a child").is_none() && runs(worker));
    manager.signal(Signal::INT);
    assert_eq!(manager.ends_within(AT_ONCE).code(), Some(1));
    assert!(!runs(worker), "the worker was left behind");
    line_with(&lines, "ended at once; workers were killed");
}

#[test]
fn quit_ends_at_once_and_leaves_nobody_behind() {
    let mut manager = Manager::start(configured("", 2, STUBBORN), |_| {});
    ready(&manager);
    let workers = manager.all_workers(2);
    manager.signal(Signal::QUIT);
    assert_eq!(manager.ends_within(AT_ONCE).code(), Some(1));
    assert!(!workers.into_iter().any(runs), "workers were left behind");
}

#[test]
fn workers_that_are_signalled_together_with_the_manager_did_not_crash() {
    for (script, first_manager) in [(IDLE, true), (IDLE, false), (IN_ORDER, false)] {
        let log = Log::new();
        let mut manager = Manager::start(configured(EVENTS, 3, script), |command| {
            command.stderr(log.end());
        });
        if script == IN_ORDER {
            ready(&manager);
        }
        let workers = manager.all_workers(3);
        if first_manager {
            manager.signal(Signal::TERM);
        }
        for &worker in &workers {
            // The manager may have ended it by now.
            let _gone = kill_process(Pid::from_raw(worker).expect("an id"), Signal::TERM);
        }
        if !first_manager {
            if script == IDLE {
                wait("the end of the workers", || {
                    (!workers.iter().any(|worker| runs(*worker))).then_some(())
                });
            }
            manager.signal(Signal::TERM);
        }
        assert_eq!(manager.ends_within(AT_ONCE).code(), Some(0));
        let said = log.all();
        assert!(
            !said.contains("worker.crash") && !said.contains("ERROR"),
            "{said}"
        );
        let ends = said
            .lines()
            .filter(|line| line.contains("worker.terminated"));
        let (mut planned, mut all) = (0, 0);
        for end in ends {
            all += 1;
            planned += usize::from(end.contains("planned=true"));
        }
        assert_eq!((planned, all), (3, 3), "{said}");
    }
}

#[test]
fn a_worker_that_was_signalled_alone_did_crash() {
    let log = Log::new();
    let mut manager = Manager::start(configured(EVENTS, 1, IDLE), |command| {
        command.stderr(log.end());
    });
    signal(manager.all_workers(1)[0], Signal::TERM);
    let lines = log.lines();
    line_with(&lines, "snakepit.worker.crash");
    line_with(&lines, "snakepit.worker.restarted");
    manager.signal(Signal::TERM);
    assert_eq!(manager.ends_within(AT_ONCE).code(), Some(0));
}

#[test]
fn a_reader_that_goes_away_is_no_signal_for_the_manager() {
    let manager = Manager::start(configured("", 1, IDLE), |_| {});
    let status = fs::read_to_string(format!("/proc/{}/status", manager.pid())).expect("a process");
    let ignored = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .expect("a mask");
    let ignored = u64::from_str_radix(ignored.trim(), 16).expect("a mask");
    assert_ne!(
        ignored & 1 << (13 - 1),
        0,
        "SIGPIPE is not ignored: {ignored:x}"
    );
}
