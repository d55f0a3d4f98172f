//! A manager that is asked over TLS, by the command as an operator runs it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::rig::{IDLE, Manager, configured, wait};

fn telemetry(arguments: &[&str], files: &[(&str, &Path)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_telemetry"));
    command.args(arguments).stdin(Stdio::null());
    for (name, file) in files {
        command.arg(name).arg(file);
    }
    command.output().expect("the command runs")
}

/// Checks exit code and message.
#[track_caller]
fn fails(output: &Output, code: i32, expected: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.contains(expected), "{said}");
}

#[track_caller]
fn shows_the_worker(output: &Output) {
    let said = String::from_utf8_lossy(&output.stderr);
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(shown.contains("sh-1"), "{shown}");
}

fn refused(manager: &Manager) -> u64 {
    let metrics = manager.get_over_socket("/metrics");
    let name = "telemetry_http_refused_total{why=\"tls\"} ";
    let count = metrics.lines().find_map(|line| line.strip_prefix(name));
    count.expect("it is there").parse().expect("a number")
}

#[test]
fn the_command_asks_over_tls_and_says_what_is_missing() {
    let made = tempfile::tempdir().expect("a directory");
    let file = |name: &str| made.path().join(name);
    let init = telemetry(&["tls", "init"], &[("--", made.path())]);
    assert!(init.status.success(), "{init:?}");
    let tls = format!(
        "[http.tls]\ncert = {:?}\nkey = {:?}\nclient_ca = {:?}\n",
        file("manager.pem"),
        file("manager.key"),
        file("ca.pem"),
    );
    let manager = Manager::start(configured(&tls, 1, IDLE), |_| {});
    let url = format!("https://localhost:{}", manager.port());
    let workers = ["workers", "--url", &url];
    let token = manager.directory.path().join("run/token");
    let (ca, cert, key) = (file("ca.pem"), file("worker.pem"), file("worker.key"));
    let all = [
        ("--ca", ca.as_path()),
        ("--token-file", &token),
        ("--cert", &cert),
        ("--key", &key),
    ];
    wait("the worker", || {
        let shown = telemetry(&workers, &all);
        String::from_utf8_lossy(&shown.stdout)
            .contains("sh-1")
            .then_some(())
    });
    assert_eq!(refused(&manager), 0);

    fails(&telemetry(&workers, &[]), 2, "name its file with --ca");
    fails(&telemetry(&workers, &all[..2]), 1, "--cert and --key");
    let stranger = tempfile::tempdir().expect("a directory");
    telemetry(&["tls", "init"], &[("--", stranger.path())]);
    let other = stranger.path().join("ca.pem");
    let untrusted = telemetry(&workers, &[("--ca", &other)]);
    fails(&untrusted, 1, "was not signed by an authority in");
    fails(&untrusted, 1, other.to_str().expect("UTF-8"));
    let plain = format!("http://localhost:{}", manager.port());
    let told = telemetry(&["workers", "--url", &plain], &[]);
    fails(&told, 1, "answered 400 Bad Request: this port speaks TLS");
    let mixed = telemetry(&["workers", "--url", &plain], &[("--ca", &ca)]);
    fails(&mixed, 2, "--ca is for https://");
    // Not the two that did not get as far as the manager.
    wait("the count", || (refused(&manager) == 3).then_some(()));

    // By a configuration whose socket is not there: over the port that it names.
    let asked = |more: &str| {
        let path = made.path().join("operator.toml");
        let text = format!(
            "[http]\nlisten = \"127.0.0.1:{}\"\nsocket = \"off\"\ntoken_file = {token:?}\n{tls}{more}",
            manager.port()
        );
        fs::write(&path, text).expect("a file");
        telemetry(&["workers"], &[("--config", &path), all[2], all[3]])
    };
    let missing = asked("");
    fails(&missing, 2, "set `ca` in [tls] or [http.tls]");
    fails(&missing, 2, "`client_ca` is for those that ask");
    shows_the_worker(&asked(&format!("[tls]\nca = {ca:?}\n")));
}
