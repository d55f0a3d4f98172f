//! Commands that look at what a manager counts.

use super::*;

#[test]
fn what_a_manager_counts_is_shown_by_a_command_each() {
    let directory = tempfile::tempdir().expect("a directory");
    let manager = Running::start(directory.path());
    // Until something was counted.
    let events = prints(
        &manager,
        &[
            "tap", "-n", "2", "--json", "--match", "tool.*", "--pool", "s?", "--where", "tool=a b",
        ],
    );
    for line in events.lines() {
        let event: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(event["metadata"]["tool"], "a b");
    }
    assert_eq!(events.lines().count(), 2, "{events}");

    let table = prints(&manager, &["workers", "--pool", "s*"]);
    assert!(table.starts_with("WORKER  POOL  STATE"), "{table}");
    assert!(
        table.contains("REJECTED") && table.contains("\nsh-1"),
        "{table}"
    );
    assert_eq!(
        prints(&manager, &["workers", "--match", "gpu-*"]),
        "no workers\n"
    );
    let table = prints(&manager, &["pools"]);
    assert!(
        table.contains("STREAMING") && table.contains("\nsh "),
        "{table}"
    );
    let table = prints(&manager, &["handlers"]);
    assert!(table.contains("\nprometheus"), "{table}");
    let table = prints(&manager, &["quarantine"]);
    assert_eq!(table, "every name that workers sent is known\n");
    let account = prints(&manager, &["ledger", "--verify"]);
    assert!(
        account.starts_with("emitted ") && account.contains("M4 of fleet: holds"),
        "{account}"
    );
    for command in ["pools", "handlers", "quarantine", "ledger"] {
        let said = prints(&manager, &[command, "--json"]);
        let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
        assert_eq!(said["version"], 1, "{command}: {said:#}");
    }

    let mut nothing = manager.ask(&["tap", "--match", "tol.*"]);
    let mut nothing = nothing.stderr(Stdio::piped()).spawn().expect("it runs");
    let said = BufReader::new(nothing.stderr.as_mut().expect("piped"));
    let said = said.lines().next().expect("a warning").expect("UTF-8");
    nothing.kill().expect("killed");
    nothing.wait().expect("ended");
    assert_eq!(
        said,
        "telemetry: no event of the catalog matches \"tol.*\"; did you mean \"tool\"?"
    );
}

#[test]
fn a_doctor_says_what_is_well_and_fails_for_what_is_not() {
    let directory = tempfile::tempdir().expect("a directory");
    let manager = Running::start(directory.path());
    // Until its worker is there.
    prints(&manager, &["tap", "-n", "1"]);
    let config = directory.path().join("telemetry.toml");
    let config = config.to_str().expect("UTF-8");
    let said = prints(&manager, &["doctor", "--config", config]);
    assert!(
        said.contains("ok    the configuration ") && said.contains("answers; "),
        "{said}"
    );
    let run_dir = directory.path().join("run");
    let open = |mode| {
        fs::set_permissions(&run_dir, fs::Permissions::from_mode(mode)).expect("ours");
    };
    open(0o777);
    let output = manager
        .ask(&["doctor", "--config", config])
        .output()
        .expect("it runs");
    open(0o700);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("has mode 0777, so others may write to it; chmod 700 it"),
        "{said}"
    );
    let output = run(&["doctor", "--url", "unix:/nowhere/http.sock", "--json"]);
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        (output.status.code(), &said["items"][0]["level"]),
        (Some(1), &"FAIL".into())
    );
}
