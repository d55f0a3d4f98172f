//! `telemetry policy`, `mute`, `unmute` and `sample`.

use serde_json::{Value, json};

use super::*;

fn says(manager: &Running, arguments: &[&str]) -> Value {
    serde_json::from_str(&prints(manager, arguments)).expect("JSON")
}

/// The live rules.
fn rules(manager: &Running) -> Value {
    says(manager, &["policy", "get"])["rules"].clone()
}

/// The exit code of a command, and what it says on stderr.
fn refused(manager: &Running, arguments: &[&str]) -> (i32, String) {
    let output = manager.ask(arguments).output().expect("the command runs");
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    (output.status.code().expect("it ended"), said)
}

#[test]
fn rules_are_added_set_and_taken_away() {
    let directory = tempfile::tempdir().expect("a directory");
    let manager = Running::start(directory.path());
    assert_eq!(rules(&manager), json!([]));
    let slow = [
        "policy", "add", "slow", "--match", "tool.*", "--rate", "0.1", "--pool", "s*", "--rank",
        "-5",
    ];
    let said = prints(&manager, &slow);
    assert!(
        said.starts_with("revision ") && said.ends_with(" workers\n"),
        "{said}"
    );
    let slow = json!({ "id": "slow", "match": ["tool.*"], "rate": 0.1, "rank": -5, "target": { "pool": "s*" } });
    assert_eq!(rules(&manager), json!([slow]));

    // What `get` prints `set` takes, and TOML as well.
    let file = directory.path().join("rules");
    fs::write(&file, prints(&manager, &["policy", "get"])).expect("a file");
    let path = file.to_str().expect("UTF-8");
    let kept = says(&manager, &["policy", "get", "--json"])["revision"].clone();
    let toml = directory.path().join("rules.toml");
    fs::write(
        &toml,
        "[[policy.rule]]\nid = \"few\"\nmatch = [\"*\"]\nper_second = 5\n",
    )
    .expect("a file");
    let toml = toml.to_str().expect("UTF-8");
    let changes = prints(&manager, &["policy", "set", toml, "--check"]);
    assert_eq!(changes, "+few\n-slow\n");
    assert_eq!(rules(&manager)[0]["id"], "slow", "nothing has changed");
    let said = prints(&manager, &["policy", "set", toml, "--wait"]);
    assert!(
        said.contains("RULE  ORIGIN") && said.contains("few   live"),
        "{said}"
    );
    assert_eq!(rules(&manager)[0]["id"], "few");
    prints(&manager, &["policy", "set", path]);
    assert_eq!(rules(&manager)[0]["id"], "slow");
    let (code, said) = refused(
        &manager,
        &["policy", "set", toml, "--if-revision", &kept.to_string()],
    );
    assert!(
        code == 1 && said.contains("look at it again"),
        "{code}: {said}"
    );

    // Nothing is no set of rules: what came of a command that failed takes none away.
    let (code, said) = refused(&manager, &["policy", "set", "/dev/null"]);
    assert!(code == 2 && said.contains("no rules"), "{code}: {said}");
    assert_eq!(rules(&manager)[0]["id"], "slow");

    let (code, said) = refused(&manager, &["policy", "rm", "slwo"]);
    assert!(
        code == 1 && said.contains("no live rule \"slwo\""),
        "{code}: {said}"
    );
    prints(&manager, &["policy", "rm", "slow"]);
    assert_eq!(rules(&manager), json!([]));
    let history = prints(&manager, &["policy", "history"]);
    assert!(
        history.contains("process ") && history.lines().next().expect("one").ends_with(" -slow"),
        "{history}"
    );
    prints(&manager, &["policy", "restore", &kept.to_string()]);
    assert_eq!(rules(&manager), json!([slow]));
}

#[test]
fn what_is_wrong_with_rules_is_said_with_its_place() {
    let directory = tempfile::tempdir().expect("a directory");
    let manager = Running::start(directory.path());
    let file = directory.path().join("rules");
    let path = file.to_str().expect("UTF-8");
    let text = r#"{"rules": [{"id": "a", "match": ["["], "drop": true}, {"id": "b", "match": ["*"], "rate": 3}]}"#;
    fs::write(&file, text).expect("a file");
    let (code, said) = refused(&manager, &["policy", "set", path]);
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("422") && said.contains("\n  a: match: ") && said.contains("\n  b: rate: "),
        "{said}"
    );
    let (code, said) = refused(&manager, &["policy", "set", path, "--check"]);
    assert!(
        code == 1 && said.contains("rule a: match: "),
        "{code}: {said}"
    );
    fs::write(
        &file,
        "[[policy.rule]]\nid = \"a\"\nmatch = []\nkeep = true\n",
    )
    .expect("a file");
    let (code, said) = refused(&manager, &["policy", "set", path]);
    assert!(code == 2 && said.contains("rules:"), "{code}: {said}");
    let (code, said) = refused(&manager, &["policy", "add", "x", "--rate", "0.5", "--drop"]);
    assert!(
        code == 2 && said.contains("cannot be used with"),
        "{code}: {said}"
    );
    let (code, said) = refused(&manager, &["policy", "add", "x"]);
    assert!(
        code == 2 && said.contains("exactly one of keep"),
        "{code}: {said}"
    );
    let (code, said) = refused(&manager, &["policy", "add", "x", "--drop", "--for", "soon"]);
    assert!(
        code == 2 && said.contains("for: expected a time"),
        "{code}: {said}"
    );
    let (code, said) = refused(&manager, &["policy", "rm", "x", "--for", "10m"]);
    assert!(
        code == 2 && said.contains("--for ends one rule"),
        "{code}: {said}"
    );
    let (_, said) = refused(
        &manager,
        &["policy", "add", "x", "--drop", "--match", "tol.*"],
    );
    assert!(
        said.contains("rule x: match: \"tol.*\" matches no event"),
        "{said}"
    );
}

#[test]
fn pools_and_workers_are_muted_and_sampled_by_name() {
    let directory = tempfile::tempdir().expect("a directory");
    let more = "[[pool]]\nname = \"sh-1\"\ncommand = [\"sleep\", \"60\"]\n";
    let manager = Running::start_with(directory.path(), more);
    prints(&manager, &["mute", "sh", "--for", "10m"]);
    let muted = &rules(&manager)[0];
    assert_eq!(
        (&muted["id"], &muted["off"]),
        (&json!("mute.pool.sh"), &json!(true))
    );
    assert_eq!(muted["target"], json!({ "pool": "sh" }));
    assert!(muted["expires_ns"].is_u64(), "{muted}");
    prints(
        &manager,
        &["sample", "worker:sh-*", "0.5", "tool.*", "call.*"],
    );
    prints(&manager, &["sample", "all", "0.1"]);
    let (code, said) = refused(&manager, &["mute", "sh-1"]);
    assert!(
        code == 2 && said.contains("say pool:sh-1 or worker:sh-1"),
        "{code}: {said}"
    );
    let (code, said) = refused(&manager, &["mute", "gpu"]);
    assert!(
        code == 2 && said.contains("no pool and no worker \"gpu\""),
        "{code}: {said}"
    );
    let (code, said) = refused(&manager, &["mute", "host:gpu"]);
    assert!(
        code == 2 && said.contains("use pool:NAME, worker:GLOB or all"),
        "{code}: {said}"
    );
    prints(&manager, &["mute", "sh-1-1"]);
    let all = rules(&manager);
    let all = all.as_array().expect("rules");
    assert_eq!(all.len(), 4, "{all:?}");
    prints(&manager, &["unmute", "pool:sh"]);
    prints(&manager, &["unmute", "sh-1-1"]);
    prints(&manager, &["sample", "all", "1"]);
    let left = rules(&manager);
    assert_eq!(left.as_array().map(Vec::len), Some(1), "{left}");
    assert_eq!(
        (&left[0]["rate"], &left[0]["match"]),
        (&json!(0.5), &json!(["tool.*", "call.*"]))
    );
}
