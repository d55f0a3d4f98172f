//! The `telemetry` command as a user meets it: real processes, exit codes, and what they say.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

#[path = "cli/look.rs"]
mod look;
#[path = "cli/policy.rs"]
mod policy;

/// A worker that reports over stderr, many times a second.
const WORKER: &str = r#"while sleep 0.02; do echo 'TELEMETRY:{\"event\":\"tool.execution.stop\",\"measurements\":{\"duration\":5},\"metadata\":{\"tool\":\"a b\"}}' >&2; done"#;

fn telemetry(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_telemetry"));
    command.args(arguments).stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    telemetry(arguments).output().expect("the command runs")
}

/// Checks exit code and message.
fn fails(arguments: &[&str], code: i32, expected: &str) {
    let output = run(arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.contains(expected), "{said}");
}

/// A manager that ends with the test.
struct Running {
    child: Child,
    url: String,
    socket: PathBuf,
}

impl Running {
    fn start(directory: &Path) -> Self {
        Self::start_with(directory, "")
    }

    /// The same, with more in its configuration.
    fn start_with(directory: &Path, more: &str) -> Self {
        let config = directory.join("telemetry.toml");
        let run_dir = directory.join("run");
        let text = format!(
            "[manager]\nrun_dir = {run_dir:?}\n[http]\nlisten = \"127.0.0.1:0\"\n\
             [telemetry]\ntransport = \"stderr\"\n\
             [[pool]]\nname = \"sh\"\ncommand = [\"sh\", \"-c\", \"{WORKER}\"]\n{more}"
        );
        fs::write(&config, text).expect("a file");
        let mut child = telemetry(&["manager", "--config", config.to_str().expect("UTF-8")])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the command runs");
        let said = BufReader::new(child.stdout.as_mut().expect("piped"));
        let first = said.lines().next().expect("a line").expect("UTF-8");
        let url = first
            .strip_prefix("listening on ")
            .expect("the address")
            .to_owned();
        let socket = run_dir.join("http.sock");
        Self { child, url, socket }
    }

    /// A command that asks this manager.
    fn ask(&self, arguments: &[&str]) -> Command {
        let mut command = telemetry(arguments);
        command.env("TELEMETRY_URL", format!("unix:{}", self.socket.display()));
        command
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // After a test that went well it may have ended already. Killed it would leave its worker behind.
        if let Ok(None) = self.child.try_wait() {
            let pid = Pid::from_child(&self.child);
            let _ended_now = kill_process(pid, Signal::TERM);
        }
        let _ended_before = self.child.wait();
    }
}

#[test]
fn missing_configuration_is_named() {
    let expected = "cannot read the configuration \"nowhere.toml\": No such file or directory";
    fails(&["manager", "--config", "nowhere.toml"], 2, expected);
}

#[test]
fn manager_that_is_not_there_is_named() {
    let expected = "no manager listens at http://127.0.0.1:1 (Connection refused";
    fails(&["workers", "--url", "http://127.0.0.1:1"], 1, expected);
    fails(&["tap", "--url", "http://127.0.0.1:1"], 1, expected);
    let expected = "--url \"ftp://x\" is not allowed; it must be like \"http://127.0.0.1:9464\"";
    fails(&["workers", "--url", "ftp://x"], 2, expected);
    let expected = "no manager listens at unix:/nowhere/http.sock (No such file or directory";
    fails(
        &["workers", "--url", "unix:/nowhere/http.sock"],
        1,
        expected,
    );
    fails(&["workers", "--url", "unix:http.sock"], 2, "is not allowed");
    let expected = "token file /nowhere/token: No such file or directory";
    fails(&["workers", "--token-file", "/nowhere/token"], 1, expected);
    let expected = "cannot read the configuration \"nowhere.toml\"";
    fails(&["tap", "--config", "nowhere.toml"], 2, expected);
}

#[test]
fn catalog_lists_every_event() {
    let list = String::from_utf8(run(&["catalog"]).stdout).expect("UTF-8");
    assert!(
        list.lines()
            .any(|line| line.starts_with("snakepit.pool.status ")),
        "{list}"
    );
    assert!(list.contains("(wire tool.execution.stop)"), "{list}");
    assert!(
        list.contains("measurement  (nanoseconds, histogram)"),
        "{list}"
    );
    assert!(list.contains("metadata  (label)"), "{list}");
    let document = String::from_utf8(run(&["catalog", "--markdown"]).stdout).expect("UTF-8");
    assert!(document.contains("| "), "{document}");
}

#[test]
fn shells_complete_what_is_shown_and_nothing_else() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = run(&["completions", shell]);
        assert!(output.status.success(), "{output:?}");
        let script = String::from_utf8(output.stdout).expect("UTF-8");
        assert!(script.contains("workers"), "{shell}: {script}");
        assert!(!script.contains("exec"), "{shell}: {script}");
    }
    fails(&["completions", "tcsh"], 2, "possible values: bash");
}

#[test]
fn bash_completes_the_command() {
    // Not every system has it.
    if Command::new("bash").arg("--version").output().is_err() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let script = directory.path().join("telemetry.bash");
    fs::write(&script, run(&["completions", "bash"]).stdout).expect("a file");
    let program = r#"
        source "$1" && complete -p telemetry || exit
        COMP_WORDS=(telemetry w) COMP_CWORD=1
        _telemetry telemetry w telemetry && echo "${COMPREPLY[@]}"
        COMP_WORDS=(telemetry tap --m) COMP_CWORD=2
        _telemetry telemetry --m tap && echo "${COMPREPLY[@]}"
    "#;
    let output = Command::new("bash")
        .args(["--norc", "-c", program, "bash"])
        .arg(&script)
        .output()
        .expect("bash runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<&str> = said.lines().collect();
    let [registered, command, option] = lines[..] else {
        panic!("three lines: {output:?}");
    };
    assert!(registered.ends_with("-F _telemetry telemetry"), "{said}");
    assert_eq!((command, option), ("workers", "--match"));
}

#[test]
fn every_command_that_is_shown_has_a_manual_page() {
    let directory = tempfile::tempdir().expect("a directory");
    let into = directory.path().join("man1");
    let output = run(&["man", "--into", into.to_str().expect("UTF-8")]);
    assert!(output.status.success(), "{output:?}");
    let mut pages: Vec<String> = fs::read_dir(&into)
        .expect("pages")
        .map(|page| page.expect("a page").file_name().display().to_string())
        .collect();
    pages.sort();
    let expected = [
        "telemetry-catalog-check.1",
        "telemetry-catalog-diff.1",
        "telemetry-catalog-learn.1",
        "telemetry-catalog-list.1",
        "telemetry-catalog-show.1",
        "telemetry-catalog.1",
        "telemetry-completions.1",
        "telemetry-config-check.1",
        "telemetry-config.1",
        "telemetry-doctor.1",
        "telemetry-handlers.1",
        "telemetry-ledger.1",
        "telemetry-man.1",
        "telemetry-manager.1",
        "telemetry-mute.1",
        "telemetry-policy-add.1",
        "telemetry-policy-get.1",
        "telemetry-policy-history.1",
        "telemetry-policy-restore.1",
        "telemetry-policy-rm.1",
        "telemetry-policy-set.1",
        "telemetry-policy-status.1",
        "telemetry-policy.1",
        "telemetry-pools.1",
        "telemetry-quarantine.1",
        "telemetry-sample.1",
        "telemetry-tap.1",
        "telemetry-tls-init.1",
        "telemetry-tls.1",
        "telemetry-unmute.1",
        "telemetry-workers.1",
        "telemetry.1",
    ];
    assert_eq!(pages, expected);
    let page = fs::read_to_string(into.join("telemetry-manager.1")).expect("a page");
    assert!(page.contains("TELEMETRY_LOG"), "{page}");
    assert!(
        !page.contains(" 20"),
        "no date, so each build makes the same: {page}"
    );

    let file = directory.path().join("file");
    fs::write(&file, "").expect("a file");
    let file = file.to_str().expect("UTF-8");
    fails(
        &["man", "--into", file],
        1,
        "cannot write manual pages into ",
    );
}

#[test]
fn manager_shows_its_events_and_ends_when_asked() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut manager = Running::start(directory.path());
    let url = manager.url.clone();
    let config = directory.path().join("telemetry.toml");
    let config = config.to_str().expect("UTF-8");
    let pattern = "snakepit.python.tool.*";
    // By the socket that the configuration names; the port in it is 0.
    let mut tap = telemetry(&["tap", "--config", config, "--match", pattern])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the command runs");
    let lines = BufReader::new(tap.stdout.as_mut().expect("piped"));
    let line = lines.lines().next().expect("an event").expect("UTF-8");
    tap.kill().expect("killed");
    tap.wait().expect("ended");
    assert!(
        line.contains("  snakepit.python.tool.execution.stop  duration=5ns  "),
        "{line}"
    );
    assert!(
        line.contains("tool=\"a b\"") && line.contains("worker_id=sh-1"),
        "{line}"
    );

    let expected = "answered 401 Unauthorized: this needs the operators' token, which is in ";
    fails(&["workers", "--url", &url], 1, expected);
    let token = directory.path().join("run/token");
    let token = token.to_str().expect("UTF-8");
    let workers = run(&["workers", "--url", &url, "--token-file", token, "--json"]);
    assert!(workers.status.success(), "{workers:?}");
    let workers: serde_json::Value = serde_json::from_slice(&workers.stdout).expect("JSON");
    let [worker] = &workers["items"].as_array().expect("a list")[..] else {
        panic!("one worker: {workers:#}");
    };
    assert_eq!(
        (&workers["version"], &worker["id"]),
        (&1.into(), &"sh-1".into())
    );
    assert_eq!(
        (&worker["pool"], &worker["state"]),
        (&"sh".into(), &"ready".into())
    );
    assert!(
        worker["ledger"]["received"].as_u64() > Some(0),
        "{worker:#}"
    );

    let expected = format!(
        "telemetry: {url} answered 400 Bad Request: the catalog has no event \
         \"tool.execution.stp\"; did you mean \"tool.execution.stop\"?"
    );
    let mut arguments = vec!["tap", "--url", &url, "--match", "tool.execution.stp"];
    arguments.extend(["--token-file", token]);
    fails(&arguments, 1, &expected);

    let port = url.rsplit(':').next().expect("a port");
    let config = directory.path().join("second.toml");
    let run_dir = directory.path().join("second");
    let text = format!("[manager]\nrun_dir = {run_dir:?}\n[http]\nlisten = \"127.0.0.1:{port}\"\n");
    fs::write(&config, text).expect("a file");
    let config = config.to_str().expect("UTF-8");
    fails(&["manager", "--config", config], 1, "the address is in use");

    let pid = i32::try_from(manager.child.id())
        .ok()
        .and_then(Pid::from_raw)
        .expect("an id");
    kill_process(pid, Signal::TERM).expect("signalled");
    let mut rest = String::new();
    let ended = manager.child.wait().expect("ended");
    manager
        .child
        .stdout
        .take()
        .expect("piped")
        .read_to_string(&mut rest)
        .expect("UTF-8");
    assert_eq!(ended.code(), Some(0), "{rest}");
}

/// What a command prints that succeeds.
fn prints(manager: &Running, arguments: &[&str]) -> String {
    let output = manager.ask(arguments).output().expect("the command runs");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn a_configuration_is_checked_with_line_and_column() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("t.toml");
    let path = file.to_str().expect("UTF-8");
    fs::write(&file, "[[pool]]\nname = \"a\"\ncommand = [\"true\"]\n").expect("a file");
    let output = run(&["config", "check", path]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said, format!("{path}: good, with 1 pools and 0 rules\n"));
    let text = "[[pool]]\nname = \"a\"\ncommand = [\"true\"]\nsise = 2\n";
    fs::write(&file, text).expect("a file");
    let expected = format!("{path}:4:1: unknown key \"sise\"");
    fails(&["config", "check", path], 2, &expected);
    fails(&["config", "check", "nowhere.toml"], 2, "\"nowhere.toml\"");
}

#[test]
fn second_manager_at_the_same_door_is_refused_before_it_touches_anything() {
    let directory = tempfile::tempdir().expect("a directory");
    let _first = Running::start(directory.path());
    // Its own directory, which the lock of the first does not guard.
    let config = directory.path().join("second.toml");
    let (run_dir, door) = (
        directory.path().join("second"),
        directory.path().join("run/manager.sock"),
    );
    let text = format!(
        "[manager]\nrun_dir = {run_dir:?}\n[accept]\nlisten = \"unix:{}\"\n",
        door.display()
    );
    fs::write(&config, text).expect("a file");
    let expected = "[accept]: another manager listens at ";
    fails(
        &["manager", "--config", config.to_str().expect("UTF-8")],
        1,
        expected,
    );
}

#[test]
fn a_configuration_that_others_may_write_is_obeyed_only_if_it_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = directory.path().join("telemetry.toml");
    fs::write(&config, "[nonsense]").expect("a file");
    let in_it = |arguments: &[&str]| {
        let mut command = telemetry(arguments);
        let output = command.current_dir(directory.path()).output();
        let output = output.expect("the command runs");
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let unknown = "telemetry.toml:1:2: unknown key \"nonsense\"";
    for (mode, named, expected) in [
        (0o644, None, unknown),
        (0o666, None, "may be written by every user"),
        (0o666, Some("--config"), unknown),
    ] {
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(&config, mode).expect("ours");
        for command in ["manager", "workers"] {
            let named = named.map(|it| [it, "telemetry.toml"]);
            let arguments = [command].into_iter().chain(named.into_iter().flatten());
            let said = in_it(&arguments.collect::<Vec<_>>());
            assert!(said.contains(expected), "{command}: {said}");
        }
    }
}
