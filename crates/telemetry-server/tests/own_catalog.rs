//! A catalog of one's own as a user gets it: let workers send, write down what they sent, enforce it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A worker with events of its own, many times a second.
const WORKER: &str = r#"while sleep 0.02; do
echo 'TELEMETRY:{"event":"inference.start","measurements":{"queue_ms":3},"metadata":{"tenant":"a"}}' >&2
echo 'TELEMETRY:{"event":"inference.NAME","measurements":{"tokens":5,"load_ratio":0.5}}' >&2; done"#;

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_telemetry"));
    command.args(arguments).stdin(Stdio::null());
    command.output().expect("the command runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// A manager with one worker; ends with the test.
struct Running {
    child: Child,
    url: String,
    config: PathBuf,
}

impl Running {
    /// Starts one whose worker sends `inference.start` and `inference.` + `name`.
    fn start(directory: &Path, name: &str, catalog: &str) -> Self {
        let script = directory.join(format!("{name}.sh"));
        fs::write(&script, WORKER.replace("NAME", name)).expect("a file");
        let config = directory.join("telemetry.toml");
        let run_dir = directory.join("run");
        let text = format!(
            "[manager]\nrun_dir = {run_dir:?}\n[http]\n[telemetry]\ntransport = \"stderr\"\n\
             [[pool]]\nname = \"sh\"\ncommand = [\"sh\", {script:?}]\n{catalog}"
        )
        .replace("[http]\n", "[http]\nlisten = \"127.0.0.1:0\"\n");
        fs::write(&config, text).expect("a file");
        let mut child = Command::new(env!("CARGO_BIN_EXE_telemetry"))
            .args(["manager", "--config", config.to_str().expect("UTF-8")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the command runs");
        let said = BufReader::new(child.stdout.as_mut().expect("piped"));
        let first = said.lines().next().expect("a line").expect("UTF-8");
        assert!(first.starts_with("listening on "), "{first}");
        let url = format!("unix:{}", run_dir.join("http.sock").display());
        Self { child, url, config }
    }

    /// Waits until its worker has sent a few events of each name, and returns what is said of it.
    fn seen(&self, events: u64) -> Value {
        loop {
            let asked = run(&["workers", "--url", &self.url, "--json"]);
            let rows: Value = serde_json::from_slice(&asked.stdout).expect("JSON");
            let rows = &rows["items"];
            if rows[0]["ledger"]["received"].as_u64() > Some(events) {
                return rows[0].clone();
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let _gone = kill_process(pid.expect("a process"), Signal::TERM);
        let _status = self.child.wait();
    }
}

fn rejected(worker: &Value) -> u64 {
    let rejected = worker["ledger"]["rejected"].as_object();
    rejected
        .into_iter()
        .flatten()
        .filter_map(|(_, count)| count.as_u64())
        .sum()
}

#[test]
fn what_was_learned_is_enforced_without_a_rejection_and_a_renamed_event_is_found() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = {
        let manager = Running::start(directory.path(), "stop", "");
        assert_eq!(rejected(&manager.seen(20)), 0);
        let checked = run(&["catalog", "check", &manager.url]);
        assert_eq!(checked.status.code(), Some(1), "{checked:?}");
        let said = text(&checked.stdout);
        assert!(
            said.contains("event \"inference.stop\" is not in the catalog"),
            "{said}"
        );

        let listed = text(&run(&["catalog", "--url", &manager.url]).stdout);
        let learned = "snakepit.python.inference.stop ";
        assert!(
            listed.lines().any(|line| line.starts_with(learned)),
            "{listed}"
        );
        let shown = run(&["catalog", "show", "inference.stop", "--url", &manager.url]);
        let shown = text(&shown.stdout);
        assert!(
            shown.contains("measurement  tokens  (none, gauge)"),
            "{shown}"
        );
        let absent = run(&["catalog", "show", "inference.stpo", "--url", &manager.url]);
        let said = text(&absent.stderr);
        assert!(said.contains("did you mean \"inference.stop\"?"), "{said}");

        let name = "inference.stop";
        let tapped = run(&[
            "tap",
            "--url",
            &manager.url,
            "--match",
            name,
            "-n",
            "1",
            "--json",
        ]);
        let tapped: Value = serde_json::from_slice(&tapped.stdout).expect("JSON");
        let event = tapped.get("event").unwrap_or(&tapped);
        assert_eq!(event["learned"], true, "{tapped}");

        let learned = run(&["catalog", "learn", "--url", &manager.url]);
        assert!(learned.status.success(), "{learned:?}");
        let learned = text(&learned.stdout);
        assert!(
            learned.contains("queue_ms = { unit = \"milliseconds\" }"),
            "{learned}"
        );
        let kept = directory.path().join("catalog.toml");
        fs::write(&kept, &learned).expect("a file");
        let kept = kept.to_str().expect("UTF-8").to_owned();
        let same = run(&["catalog", "diff", &kept, &manager.url]);
        assert!(same.status.success(), "{same:?}");
        let checked = run(&["catalog", "check", &kept, "--url", &manager.url]);
        assert!(checked.status.success(), "{checked:?}");
        kept
    };
    let learned = fs::read_to_string(&config).expect("a file");
    let enforced = format!("[catalog]\nmode = \"enforce\"\n{learned}");
    {
        let manager = Running::start(directory.path(), "stop", &enforced);
        assert_eq!(rejected(&manager.seen(20)), 0);
        let checked = run(&["catalog", "check", &manager.url]);
        assert!(checked.status.success(), "{checked:?}");
        let path = manager.config.to_str().expect("UTF-8");
        let listed = text(&run(&["catalog", "--config", path]).stdout);
        assert!(listed.contains("(wire inference.stop)"), "{listed}");
    }
    for catalog in [enforced.as_str(), ""] {
        let manager = Running::start(directory.path(), "stpo", catalog);
        let worker = manager.seen(20);
        assert_eq!(rejected(&worker) > 0, !catalog.is_empty(), "{worker}");
        let checked = run(&["catalog", "check", &config, "--url", &manager.url]);
        assert_eq!(checked.status.code(), Some(1), "{checked:?}");
        let said = text(&checked.stdout);
        let expected =
            "event \"inference.stpo\" is not in the catalog; did you mean \"inference.stop\"?";
        assert!(said.contains(expected), "{said}");
        let differ = run(&["catalog", "diff", &config, &manager.url]);
        assert_eq!(
            differ.status.code(),
            Some(if catalog.is_empty() { 1 } else { 0 })
        );
    }
}
