//! The end by a signal: a child process that is killed, and what its manager got.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal as Number, getpid, kill_process};
use telemetry_client::backend::StreamBackend;
use telemetry_client::serve::ServeConfig;
use telemetry_client::{Signal, Telemetry};
use telemetry_core::{Address, emit::PolicySpec};

use crate::manager::{Manager, count_of};
use crate::{PATIENCE, recorder};

/// What the child is to do; it is this very program.
const CHILD: &str = "SIGNAL_CHILD";
/// More than a flush in a hurry would take along, less than the queue.
const EVENTS: i64 = 900;

/// A process that serves, and ends by a signal.
struct Victim {
    process: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Victim {
    /// Starts `test` once more, as the child that `what` says.
    fn start(test: &str, what: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        let mut process = command
            .args(["--exact", test, "--nocapture"])
            .env(CHILD, what)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child");
        let lines = BufReader::new(process.stdout.take().expect("a pipe"));
        Self { process, lines }
    }

    /// What it says after a word of ours.
    fn told(&mut self, word: &str) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            let read = self.lines.read_line(&mut line).expect("text");
            assert!(read > 0, "it ended without {word}");
            if let Some((_, told)) = line.trim_end().split_once(word) {
                return told.to_owned();
            }
        }
    }

    fn go(&mut self) {
        let stdin = self.process.stdin.as_mut().expect("a pipe");
        stdin.write_all(b"go\n").expect("an open pipe");
    }

    fn kill(&self, number: Number) {
        let pid = Pid::from_raw(i32::try_from(self.process.id()).expect("small"));
        kill_process(pid.expect("not zero"), number).expect("it runs");
    }

    /// The signal that ended it.
    fn ended_by(&mut self) -> Option<i32> {
        self.process.wait().expect("our child").signal()
    }
}

/// The child: serves, and emits when it is told to. Ends by a signal, or with the status 3.
fn serve(signals: &[Signal]) -> Telemetry {
    let backend = StreamBackend::serve(None, recorder(), ServeConfig::default());
    let backend = Arc::new(backend.expect("a private socket"));
    let telemetry = Telemetry::builder().backend(backend.clone()).build();
    for _ in 0..2 {
        let done = telemetry.flush_on_signal(signals, PATIENCE);
        done.expect("a handler");
    }
    say(&format!(
        "address={}",
        backend.server().expect("it serves").address()
    ));
    telemetry
}

/// Tells the test, which reads our standard output.
fn say(line: &str) {
    writeln!(std::io::stdout(), "{line}").expect("an open pipe");
}

fn emit_all(telemetry: &Telemetry) {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).expect("a word");
    for count in 0..EVENTS {
        let measurements = [("count", count.into())];
        telemetry.emit("tool.result_size", &measurements, &[], "");
    }
}

/// Waits for the end.
fn wait() -> ! {
    loop {
        std::thread::park();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_is_sent_before_the_signal_takes_its_course() {
    let test = "signals::all_is_sent_before_the_signal_takes_its_course";
    if std::env::var_os(CHILD).is_some() {
        let telemetry = serve(&[]);
        emit_all(&telemetry);
        kill_process(getpid(), Number::TERM).expect("it is us");
        wait();
    }
    let mut victim = Victim::start(test, "serve");
    let address: Address = victim.told("address=").parse().expect("an address");
    let manager = Manager::dial(address.socket_path().expect("a socket")).await;
    let mut stream = manager.stream().await;
    stream.hello();
    stream.policy(PolicySpec::default());
    assert!(stream.next().await.expect("a frame").hello.is_some());
    victim.go();
    let (events, status) = stream.rest().await;
    let counts: Vec<_> = events.iter().filter_map(count_of).collect();
    assert_eq!(counts, (0..EVENTS).collect::<Vec<_>>());
    assert_eq!(status, "0");
    let last = events.last().and_then(|event| event.report.as_ref());
    assert!(last.is_some_and(|report| report.r#final), "a final report");
    assert_eq!(victim.ended_by(), Some(Number::TERM.as_raw()));
}

#[test]
fn without_a_manager_the_end_is_at_once() {
    let test = "signals::without_a_manager_the_end_is_at_once";
    if std::env::var_os(CHILD).is_some() {
        let telemetry = serve(&[Signal::HangUp, Signal::User1]);
        emit_all(&telemetry);
        say("emitted=all");
        wait();
    }
    for number in [Number::HUP, Number::USR1] {
        let mut victim = Victim::start(test, "serve");
        victim.go();
        victim.told("emitted=");
        let begun = std::time::Instant::now();
        victim.kill(number);
        assert_eq!(victim.ended_by(), Some(number.as_raw()));
        assert!(begun.elapsed() < PATIENCE / 2);
    }
}

#[test]
fn every_telemetry_is_shut_down_before_the_process_ends() {
    let test = "signals::every_telemetry_is_shut_down_before_the_process_ends";
    if std::env::var_os(CHILD).is_some() {
        let lines = |_| {
            let config = telemetry_core::emit::RecorderConfig::default();
            let clock = Arc::new(telemetry_core::SystemClock::new());
            let output = Box::new(std::io::stdout());
            let backend =
                telemetry_client::backend::StderrBackend::with_output(config, clock, output);
            let backend = Arc::new(backend.expect("a policy"));
            let telemetry = Telemetry::builder().backend(backend).build();
            let done = telemetry.flush_on_signal(&[Signal::Terminate], PATIENCE);
            done.expect("a handler");
            telemetry
        };
        let both = [0, 1].map(lines);
        for telemetry in &both {
            emit_all(telemetry);
        }
        kill_process(getpid(), Number::TERM).expect("it is us");
        wait();
    }
    let mut victim = Victim::start(test, "lines");
    victim.go();
    victim.go();
    for _ in 0..2 * EVENTS {
        victim.told("TELEMETRY:");
    }
    assert_eq!(victim.ended_by(), Some(Number::TERM.as_raw()));
}

#[test]
fn what_is_ignored_stays_ignored() {
    let test = "signals::what_is_ignored_stays_ignored";
    if std::env::var_os(CHILD).is_some() {
        let telemetry = serve(&[Signal::HangUp]);
        kill_process(getpid(), Number::HUP).expect("it is us");
        // Had there been a handler, a thread would be on its way to end the process.
        assert_eq!(telemetry.shutdown(Duration::ZERO).emitted, 0);
        std::process::exit(3);
    }
    let program = std::env::current_exe().expect("this program");
    let status = Command::new("sh")
        .args(["-c", "trap '' HUP; exec \"$@\"", "sh"])
        .arg(program)
        .args(["--exact", test])
        .env(CHILD, "ignore")
        .stdout(Stdio::null())
        .status();
    assert_eq!(status.expect("a child").code(), Some(3));
}
