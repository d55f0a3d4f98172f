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
