//! A directory for one manager after the other, and the workers that they start in it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;

/// Longest a test waits for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Prints numbered lines to stderr and keeps the number of the last one in a file of its own.
pub(crate) const PRINTER: &str = r#"
    n=0
    while :; do
        n=$((n+1))
        echo "line $TELEMETRY_WORKER_ID $$ $n" >&2
        echo "TELEMETRY:{\"event\":\"tool.execution.stop\",\"measurements\":{\"duration\":$n}}" >&2
        echo $n > $TRUTH/new-$TELEMETRY_WORKER_ID; mv $TRUTH/new-$TELEMETRY_WORKER_ID $TRUTH/$TELEMETRY_WORKER_ID
        sleep 0.05
    done"#;

/// Says in a file that it was asked to end, and ends.
pub(crate) fn finishing(extra: &str) -> String {
    format!(
        "trap 'echo $TELEMETRY_WORKER_ID >> $TRUTH/finished; exit 0' TERM; echo $$ > $TRUTH/up-$TELEMETRY_WORKER_ID; \
         while :; do sleep 0.01; done; {extra}"
    )
}

/// Waits until `look` finds something.
pub(crate) fn soon<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "never: {what}");
        sleep(Duration::from_millis(5));
    }
}

pub(crate) fn raw(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).expect("small")).expect("not 0")
}

/// Whether the process exists and is no zombie.
pub(crate) fn runs(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.chars().next());
    state.is_some_and(|state| state != 'Z')
}

/// A directory for one manager after the other. Kills what is left in it.
pub(crate) struct Home {
    pub(crate) dir: tempfile::TempDir,
    managers: usize,
}

impl Home {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir(dir.path().join("truth")).expect("a directory");
        Self { dir, managers: 0 }
    }

    pub(crate) fn run_dir(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    /// The configuration with one pool `p`, and what else is to be in `[manager]`.
    pub(crate) fn configure(&self, size: usize, script: &str, manager: &str) {
        let script = script.replace('\\', "\\\\").replace('"', "\\\"");
        let text = format!(
            "[manager]\nrun_dir = {:?}\n{manager}\n[http]\nlisten = \"127.0.0.1:0\"\n\
             [telemetry]\ntransport = \"stderr\"\n\
             [[pool]]\nname = \"p\"\nsize = {size}\ngrace = \"30s\"\n\
             env = {{ TRUTH = {:?} }}\ncommand = [\"sh\", \"-c\", \"\"\"{script}\"\"\"]\n",
            self.run_dir(),
            self.dir.path().join("truth"),
        );
        fs::write(self.dir.path().join("t.toml"), text).expect("a file");
    }

    pub(crate) fn command(&self, log: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_telemetry"));
        command
            .args(["manager", "--config"])
            .arg(self.dir.path().join("t.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(log).expect("a file"));
        command
    }

    pub(crate) fn start(&mut self) -> Manager {
        self.managers += 1;
        let log = self.dir.path().join(format!("log-{}", self.managers));
        let began = Instant::now();
        let mut child = self.command(&log).spawn().expect("the command runs");
        let mut said = BufReader::new(child.stdout.take().expect("piped"));
        let mut first = String::new();
        said.read_line(&mut first).expect("UTF-8");
        let url = first.strip_prefix("listening on ").unwrap_or_else(|| {
            panic!("{}", fs::read_to_string(&log).unwrap_or_default());
        });
        // Out of the way of whoever removes that directory.
        let token_file = self.dir.path().join("operators.token");
        fs::copy(self.run_dir().join("token"), &token_file).expect("a token");
        Manager {
            url: url.trim().to_owned(),
            token_file,
            child,
            _said: said,
            log,
            began,
        }
    }

    /// What a worker has counted so far; 0 before its first.
    pub(crate) fn truth(&self, worker: &str) -> u64 {
        let told = fs::read_to_string(self.dir.path().join("truth").join(worker));
        told.ok().and_then(|n| n.trim().parse().ok()).unwrap_or(0)
    }

    /// All processes that have this directory in their environment, whoever started them.
    pub(crate) fn copies(&self) -> Vec<u32> {
        let mark = format!("TRUTH={}", self.dir.path().join("truth").display());
        let pids = fs::read_dir("/proc").expect("/proc").flatten();
        pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|pid| {
                let read = |what: &str| fs::read(format!("/proc/{pid}/{what}")).unwrap_or_default();
                let environment = read("environ");
                let is_ours = environment
                    .split(|b| *b == 0)
                    .any(|var| var == mark.as_bytes());
                is_ours && read("cmdline").starts_with(b"sh\0-c\0") && runs(*pid)
            })
            .filter(|pid| leads_group(*pid))
            .collect()
    }
}

fn leads_group(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let mut fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    fields.nth(2) == Some(&pid.to_string())
}

impl Drop for Home {
    fn drop(&mut self) {
        for pid in self.copies() {
            let _ended_meanwhile = kill_process_group(raw(pid), Signal::KILL);
        }
    }
}

/// A manager that is killed with the test.
pub(crate) struct Manager {
    pub(crate) child: Child,
    /// Nobody may find it closed.
    _said: BufReader<ChildStdout>,
    url: String,
    token_file: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) began: Instant,
}

impl Manager {
    pub(crate) fn workers(&self) -> BTreeMap<String, Value> {
        let output = Command::new(env!("CARGO_BIN_EXE_telemetry"))
            .args(["workers", "--json", "--url", &self.url, "--token-file"])
            .arg(&self.token_file)
            .output()
            .expect("the command runs");
        let rows = serde_json::from_slice::<Value>(&output.stdout);
        let rows = rows.unwrap_or_else(|_| panic!("{output:?}: {}", self.log()));
        let rows = rows["items"].as_array().expect("a list").iter();
        let row = |row: &Value| {
            let mut row = row.clone();
            let id = row["id"].as_str().expect("an id").to_owned();
            // What is known of its processes stands beside the rest.
            let process = row["process"].take();
            for (key, value) in process.as_object().into_iter().flatten() {
                if row.get(key).is_none() {
                    row[key] = value.clone();
                }
            }
            (id, row)
        };
        rows.map(row).collect()
    }

    pub(crate) fn pids(&self) -> BTreeMap<String, u32> {
        let pid = |row: &Value| u32::try_from(row["pid"].as_u64()?).ok();
        let workers = self.workers().into_iter();
        workers
            .filter_map(|(id, row)| Some((id, pid(&row)?)))
            .collect()
    }

    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Numbers of the lines of a worker that were passed on.
    pub(crate) fn lines(&self, worker: &str) -> Vec<u64> {
        let log = self.log();
        let lines = log.lines().filter_map(|line| line.strip_prefix("line "));
        let of_worker = lines.filter_map(|line| line.strip_prefix(worker)?.strip_prefix(' '));
        of_worker
            .filter_map(|line| line.split(' ').nth(1)?.parse().ok())
            .collect()
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ended");
    }

    pub(crate) fn stop(mut self) {
        kill_process(raw(self.child.id()), Signal::TERM).expect("it runs");
        let exit = self.child.wait().expect("it ended");
        assert!(exit.success(), "{}", self.log());
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        // After a test that went well it has ended already.
        let _ended_before = self.child.kill();
        let _ended_before = self.child.wait();
    }
}
