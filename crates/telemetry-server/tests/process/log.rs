//! Whatever becomes of the manager's stderr and stdout, the manager goes on and ends when asked.

use std::fs::OpenOptions;
use std::io::pipe;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;

use crate::rig::{IDLE, Log, Manager, command, configured, line_with, wait};

/// Longest an end in order may take here: none of the workers needs longer.
const IN_ORDER: Duration = Duration::from_secs(20);

const EVENTS: &str = "[exporters.log]\nlevel = \"debug\"";

/// Reports errors of 900 bytes as fast as it can, and says as much in plain text.
fn loud() -> String {
    let text = "y".repeat(900);
    format!(
        r#"while :; do
echo 'TELEMETRY:{{"event":"python.error.occurred","measurements":{{"count":1}},"metadata":{{"error_message":"{text}"}}}}' >&2
echo '{text}' >&2
sleep 0.002
done
"#
    )
}

fn dropped(manager: &Manager) -> f64 {
    let dropped = manager.metric("telemetry_log_lines_dropped_total");
    dropped.expect("the metric is always there")
}

#[test]
fn a_reader_that_stands_still_stops_nothing_and_what_it_missed_is_counted_and_told() {
    let log = Log::new();
    let mut manager = Manager::start(configured(EVENTS, 2, &loud()), |command| {
        command.stderr(log.end());
    });
    wait("a dropped line", || (dropped(&manager) > 0.0).then_some(()));
    assert!(log.is_full(), "lines were dropped though there was room");
    manager.replaces_a_killed_worker();
    let before = dropped(&manager);
    wait("more dropped lines", || {
        (dropped(&manager) > before).then_some(())
    });
    assert!(log.is_full(), "somebody read the log");

    let lines = log.lines();
    let told = line_with(&lines, "lines of the log were dropped");
    let number = told.rsplit_once("dropped=").expect("a number").1;
    assert!(
        number.trim().parse::<u64>().expect("a number") > 0,
        "{told}"
    );
    manager.signal(Signal::TERM);
    assert_eq!(manager.ends_within(IN_ORDER).code(), Some(0));
}

#[test]
fn a_manager_whose_log_nobody_reads_ends_in_order() {
    let log = Log::new();
    let mut manager = Manager::start(configured(EVENTS, 2, &loud()), |command| {
        command.stderr(log.end());
    });
    wait("a dropped line", || (dropped(&manager) > 0.0).then_some(()));
    manager.signal(Signal::TERM);
    let ended = manager.ends_within(IN_ORDER);
    assert!(log.is_full(), "somebody read the log");
    assert_eq!(ended.code(), Some(0));
}

#[test]
fn a_full_disk_for_a_log_stops_nothing() {
    let full = OpenOptions::new().write(true).open("/dev/full");
    let full = full.expect("the device that is always full");
    let mut manager = Manager::start(configured(EVENTS, 1, &loud()), |command| {
        command.stderr(full);
    });
    wait("a dropped line", || (dropped(&manager) > 0.0).then_some(()));
    manager.replaces_a_killed_worker();
    manager.signal(Signal::TERM);
    assert_eq!(manager.ends_within(IN_ORDER).code(), Some(0));
}

#[test]
fn a_log_whose_reader_is_gone_stops_nothing() {
    let (reader, writer) = pipe().expect("a pipe");
    drop(reader);
    let mut manager = Manager::start(configured(EVENTS, 1, &loud()), |command| {
        command.stderr(writer);
    });
    wait("a dropped line", || (dropped(&manager) > 0.0).then_some(()));
    manager.replaces_a_killed_worker();
    manager.signal(Signal::TERM);
    assert_eq!(manager.ends_within(IN_ORDER).code(), Some(0));
}

#[test]
fn a_closed_stderr_and_stdout_stop_nothing() {
    let configured = configured(EVENTS, 1, &loud());
    let manager = command(configured.0.path());
    let mut shell = std::process::Command::new("sh");
    shell
        .args(["-c", "exec \"$0\" \"$@\" >&- 2>&-"])
        .arg(manager.get_program())
        .args(manager.get_args());
    let mut manager = Manager::run(&mut shell, configured);
    manager.replaces_a_killed_worker();
    manager.signal(Signal::TERM);
    assert_eq!(manager.ends_within(IN_ORDER).code(), Some(0));
}

#[test]
fn a_stdout_whose_reader_is_gone_is_a_line_in_the_log() {
    let (reader, writer) = pipe().expect("a pipe");
    drop(reader);
    let log = Log::new();
    let mut manager = Manager::start(configured("", 1, IDLE), |command| {
        command.stdout(writer).stderr(log.end());
    });
    let lines = log.lines();
    let told = line_with(
        &lines,
        "could not be printed to stdout: listening on http://",
    );
    assert!(told.contains("Broken pipe"), "{told}");
    manager.replaces_a_killed_worker();
    manager.signal(Signal::TERM);
    assert_eq!(manager.ends_within(IN_ORDER).code(), Some(0));
}

#[test]
fn json_log_is_one_object_per_line_whoever_speaks() {
    let settings = format!("{EVENTS}\n[log]\nformat = \"json\"");
    let log = Log::new();
    let mut manager = Manager::start(configured(&settings, 1, &loud()), |command| {
        command.stderr(log.end());
    });
    let lines = log.lines();
    let mut seen = Vec::new();
    let mut look = |part: &str| {
        let line = line_with(&lines, part);
        let object: serde_json::Value = serde_json::from_str(&line).expect(&line);
        let keys: Vec<_> = object
            .as_object()
            .expect("an object")
            .keys()
            .cloned()
            .collect();
        assert_eq!(
            keys,
            ["fields", "level", "message", "target", "timestamp"],
            "{line}"
        );
        seen.push(object.clone());
        object
    };
    let event = look("snakepit.python.error.occurred");
    assert_eq!(
        (&event["target"], &event["level"]),
        (&"telemetry::event".into(), &"ERROR".into())
    );
    assert_eq!(event["fields"]["worker"], "sh-1");
    let text = look("telemetry::worker::stderr");
    assert_eq!(text["message"], "y".repeat(900));
    assert_eq!(text["fields"]["pool"], "sh");
    manager.signal(Signal::HUP);
    assert_eq!(look("SIGHUP")["level"], "WARN");
    manager.signal(Signal::TERM);
    for line in &lines {
        let object = serde_json::from_str::<serde_json::Value>(&line);
        assert!(object.is_ok_and(|object| object.is_object()), "{line}");
    }
    assert_eq!(manager.ends_within(IN_ORDER).code(), Some(0));
}

#[test]
fn environment_wins_over_the_file_and_is_checked_and_documented() {
    let log = Log::new();
    let quiet = configured("[log]\nlevel = \"off\"", 1, IDLE);
    let mut manager = Manager::start(quiet, |command| {
        command.stderr(log.end()).env("TELEMETRY_LOG", "warn");
    });
    manager.signal(Signal::HUP);
    let lines = log.lines();
    line_with(&lines, "SIGHUP changes nothing");
    manager.signal(Signal::TERM);
    assert_eq!(manager.ends_within(IN_ORDER).code(), Some(0));
    let rest: Vec<_> = lines.into_iter().collect();
    assert!(!rest.iter().any(|line| line.contains("INFO")), "{rest:?}");

    let (directory, _) = configured("", 1, IDLE);
    let mut wrong = command(directory.path());
    wrong.env("TELEMETRY_LOG", "inof").stderr(Stdio::piped());
    let output = wrong.output().expect("the command runs");
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    let expected = "TELEMETRY_LOG=\"inof\": \"inof\" is not allowed; use off, error, warn, info, \
                    debug or trace";
    assert!(
        said.contains(expected) && output.status.code() == Some(2),
        "{said}"
    );

    let mut help = command(directory.path());
    help.arg("--help").stdout(Stdio::piped());
    let help = help.output().expect("the command runs").stdout;
    assert!(
        String::from_utf8(help)
            .expect("UTF-8")
            .contains("TELEMETRY_LOG")
    );
}
