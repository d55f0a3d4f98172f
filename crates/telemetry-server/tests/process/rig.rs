//! Starts a real manager with shell workers, asks it over HTTP, and waits for what is to happen.

use std::fs;
use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Longest wait for something that is to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How long a manager has for its end when its test is over, and between two looks at that.
const TO_END: Duration = Duration::from_secs(10);
const BETWEEN_LOOKS: Duration = Duration::from_millis(2);

/// Longest wait for an answer.
const ANSWER: Duration = Duration::from_secs(10);

/// A worker that does nothing and ends when asked.
pub(crate) const IDLE: &str = "while :; do sleep 0.05; done";

/// A manager that ends with the test.
#[derive(Debug)]
pub(crate) struct Manager {
    pub(crate) child: Child,
    pub(crate) directory: TempDir,
    port: u16,
}

/// A directory with the configuration of one pool `sh` whose workers run a script.
pub(crate) fn configured(more: &str, size: usize, script: &str) -> (TempDir, u16) {
    let directory = tempfile::tempdir().expect("a directory");
    // Not known from stdout, which may be closed.
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = free.local_addr().expect("an address").port();
    let path = directory.path();
    fs::write(path.join("worker.sh"), script).expect("a file");
    let text = format!(
        "[manager]\nrun_dir = {:?}\n[http]\nlisten = \"127.0.0.1:{port}\"\n\
         [telemetry]\ntransport = \"stderr\"\n{more}\n\
         [[pool]]\nname = \"sh\"\nsize = {size}\ncwd = {path:?}\ngrace = \"60s\"\n\
         command = [\"sh\", \"worker.sh\"]\n",
        path.join("run")
    );
    fs::write(path.join("telemetry.toml"), text).expect("a file");
    (directory, port)
}

/// The command that runs a manager there.
pub(crate) fn command(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_telemetry"));
    command
        .args(["manager", "--config"])
        .arg(directory.join("telemetry.toml"))
        .env_remove("TELEMETRY_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

impl Manager {
    /// Starts it as `change` wants, and waits until it answers.
    pub(crate) fn start(
        (directory, port): (TempDir, u16),
        change: impl FnOnce(&mut Command),
    ) -> Self {
        let mut command = command(directory.path());
        change(&mut command);
        Self::run(&mut command, (directory, port))
    }

    /// Runs a command that starts it, and waits until it answers.
    pub(crate) fn run(command: &mut Command, (directory, port): (TempDir, u16)) -> Self {
        let child = command.spawn().expect("the command runs");
        let mut manager = Self {
            child,
            directory,
            port,
        };
        wait("an answer of the manager", || {
            if let Some(ended) = manager.child.try_wait().expect("a child") {
                panic!("the manager ended: {ended}");
            }
            TcpStream::connect(("127.0.0.1", manager.port)).ok()
        });
        manager
    }

    /// The body of an answer, whatever else goes on. A free machine takes milliseconds for it, one that
    /// builds other things some seconds, and a manager that stands still for ever.
    pub(crate) fn get(&self, path: &str) -> String {
        let began = Instant::now();
        let answer = self.try_get(path).expect("an answer");
        let took = began.elapsed();
        assert!(took < ANSWER, "{path} took {took:?}");
        answer
    }

    /// The answer over the unix socket, whatever else goes on.
    pub(crate) fn get_over_socket(&self, path: &str) -> String {
        let mut stream =
            UnixStream::connect(self.directory.path().join("run/http.sock")).expect("it listens");
        stream.set_read_timeout(Some(ANSWER)).expect("a socket");
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        .expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }

    fn try_get(&self, path: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(ANSWER))?;
        let token = fs::read_to_string(self.directory.path().join("run/token"))?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\
             Connection: close\r\n\r\n",
            token.trim()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        Ok(answer)
    }

    /// The value of a metric without labels.
    pub(crate) fn metric(&self, name: &str) -> Option<f64> {
        let metrics = self.get("/metrics");
        let value = metrics
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map(|value| value.parse().expect("a number"))
    }

    /// The process ids of the workers that run.
    pub(crate) fn workers(&self) -> Vec<i32> {
        let answer = self.get("/api/workers");
        let body = answer.split("\r\n\r\n").nth(1).expect("a body");
        let start = body.find('[').expect("a list");
        let end = body.rfind(']').expect("a list");
        let rows: serde_json::Value = serde_json::from_str(&body[start..=end]).expect("JSON");
        let rows = rows.as_array().expect("a list").iter();
        rows.filter_map(|row| i32::try_from(row["pid"].as_i64()?).ok())
            .collect()
    }

    /// The same, once there are so many.
    pub(crate) fn all_workers(&self, count: usize) -> Vec<i32> {
        wait("the workers", || {
            Some(self.workers()).filter(|all| all.len() == count)
        })
    }

    /// Kills a worker and waits for the one that takes its place.
    pub(crate) fn replaces_a_killed_worker(&self) {
        let before = wait("a worker", || {
            Some(self.workers()).filter(|all| !all.is_empty())
        });
        signal(before[0], Signal::KILL);
        wait("a new worker", || {
            let now = self.workers();
            let replaced = now.len() == before.len() && !now.contains(&before[0]);
            replaced.then_some(())
        });
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a process id")
    }

    pub(crate) fn signal(&self, with: Signal) {
        signal(self.pid(), with);
    }

    /// Waits for its end, at most `patience`.
    pub(crate) fn ends_within(&mut self, patience: Duration) -> ExitStatus {
        let began = Instant::now();
        let ended = wait("the manager's end", || {
            self.child.try_wait().expect("a child")
        });
        let took = began.elapsed();
        assert!(took < patience, "the end took {took:?}");
        ended
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        // After a test that went well it may have ended already. Killed it would leave its workers behind.
        let pid = Pid::from_child(&self.child);
        let (mut by, until) = (Signal::TERM, Instant::now() + TO_END);
        while let Ok(None) = self.child.try_wait() {
            let _ended_now = kill_process(pid, by);
            while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < until {
                thread::sleep(BETWEEN_LOOKS);
            }
            by = Signal::KILL;
        }
    }
}

pub(crate) fn signal(pid: i32, with: Signal) {
    let pid = Pid::from_raw(pid).expect("a process id");
    kill_process(pid, with).expect("signalled");
}

pub(crate) fn runs(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // A zombie has ended, too.
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// Looks again and again until there is something.
pub(crate) fn wait<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "{what} did not come");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A pipe for a manager's stderr; both ends stay open here.
#[derive(Debug)]
pub(crate) struct Log {
    reader: PipeReader,
    writer: PipeWriter,
}

impl Log {
    pub(crate) fn new() -> Self {
        let (reader, writer) = pipe().expect("a pipe");
        Self { reader, writer }
    }

    /// The end to write to, for a process.
    pub(crate) fn end(&self) -> Stdio {
        self.writer.try_clone().expect("a descriptor").into()
    }

    /// Whether a write would wait now.
    pub(crate) fn is_full(&self) -> bool {
        let mut ends = [PollFd::new(&self.writer, PollFlags::OUT)];
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let writable = poll(&mut ends, Some(&at_once)).expect("polled");
        writable == 0
    }

    /// Reads in the background from now on; the lines come one by one.
    pub(crate) fn lines(self) -> std::sync::mpsc::Receiver<String> {
        use std::io::BufRead as _;
        let Self { reader, writer } = self;
        drop(writer);
        let (send, lines) = std::sync::mpsc::channel();
        thread::spawn(move || {
            for line in std::io::BufReader::new(reader).lines() {
                let Ok(line) = line else { return };
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        lines
    }

    /// Everything that is written until nobody holds the other end.
    pub(crate) fn all(self) -> String {
        self.lines()
            .iter()
            .fold(String::new(), |all, line| all + &line + "\n")
    }
}

/// The next line that contains this.
pub(crate) fn line_with(lines: &std::sync::mpsc::Receiver<String>, part: &str) -> String {
    let until = Instant::now() + PATIENCE;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let line = lines.recv_timeout(left);
        let line = line.unwrap_or_else(|_| panic!("no line with {part:?}"));
        if line.contains(part) {
            return line;
        }
    }
}
