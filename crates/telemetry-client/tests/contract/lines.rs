//! Events that go out as lines: what is written is delivered, and what cannot be is counted.

use std::fs::File;
use std::io::{BufRead, Read, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use telemetry_client::Telemetry;
use telemetry_client::backend::StderrBackend;
use telemetry_core::{
    Outcome, ValueRef,
    emit::PolicySpec,
    ledger::{Reason, WorkerSnapshot},
};

use crate::rig::{NOTHING, PATIENCE, balanced, clock, config};

pub(crate) fn lines_to(output: Box<dyn Write + Send>) -> StderrBackend {
    StderrBackend::with_output(config(PolicySpec::default()), clock(), output).expect("a policy")
}

/// A device that takes nothing.
pub(crate) fn full_device() -> File {
    let device = File::options().write(true).open("/dev/full");
    device.expect("a device that is always full")
}

/// Emits so many events to lines that go to `output`, and returns the ledger of what became of them.
fn ledger_of_lines(output: Box<dyn Write + Send>, count: u64) -> WorkerSnapshot {
    let telemetry = Telemetry::builder()
        .backend(Arc::new(lines_to(output)))
        .build();
    for _ in 0..count {
        telemetry.emit("tool.result_size", NOTHING, &[], "");
    }
    assert!(telemetry.flush(PATIENCE));
    let ledger = balanced(&telemetry);
    assert_eq!(ledger.emitted, count);
    assert_eq!(telemetry.shutdown(PATIENCE), ledger);
    ledger
}

#[test]
fn a_line_that_cannot_be_written_is_a_backend_error() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    for output in [
        Box::new(writer) as Box<dyn Write + Send>,
        Box::new(full_device()),
        Box::new(Panics),
    ] {
        let ledger = ledger_of_lines(output, 20);
        assert_eq!(ledger.dropped.get(Reason::BackendError), 20);
        assert_eq!((ledger.delivered, ledger.sent), (0, 0));
    }
}

/// An output with a defect.
struct Panics;

impl Write for Panics {
    fn write(&mut self, _bytes: &[u8]) -> std::io::Result<usize> {
        panic!("this output is broken")
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_is_written_is_delivered_and_not_sent() {
    let written = Written::default();
    let ledger = ledger_of_lines(Box::new(written.clone()), 50);
    let lines = written.0.lock().expect("no panic");
    assert_eq!(lines.iter().filter(|byte| **byte == b'\n').count(), 50);
    assert_eq!((ledger.delivered, ledger.sent), (50, 0));
}

/// Set in the child of the test below.
const CHILD: &str = "CONTRACT_CHILD";

#[test]
fn a_standard_error_that_cannot_be_written_is_a_backend_error() {
    let test = "lines::a_standard_error_that_cannot_be_written_is_a_backend_error";
    if std::env::var_os(CHILD).is_some() {
        let backend = StderrBackend::new(config(PolicySpec::default()), clock());
        let telemetry = Telemetry::builder()
            .backend(Arc::new(backend.expect("a policy")))
            .build();
        telemetry.emit("tool.result_size", NOTHING, &[], "");
        let ledger = telemetry.shutdown(PATIENCE);
        ledger.check().expect("balance");
        assert_eq!(ledger.dropped.get(Reason::BackendError), 1);
        std::process::exit(42);
    }
    let child = std::process::Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", test, "--nocapture"])
        .env(CHILD, "1")
        .stdout(std::process::Stdio::null())
        // Open for reading only: a write fails as that to a closed one does.
        .stderr(File::open("/dev/null").expect("it is there"))
        .status();
    assert_eq!(child.expect("a child").code(), Some(42));
}

/// What was written so far.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn stderr_writes_one_line_for_each_event() {
    let written = Written::default();
    let output = Box::new(written.clone());
    let backend = StderrBackend::with_output(config(PolicySpec::default()), clock(), output);
    let telemetry = Telemetry::builder()
        .backend(Arc::new(backend.expect("a policy")))
        .build();
    for count in 0..100 {
        let measurements = [
            ("count", ValueRef::Int(count)),
            ("percent", f64::INFINITY.into()),
        ];
        telemetry.emit("tool.result_size", &measurements, &[("tool", "grep")], "id");
    }
    assert!(telemetry.flush(PATIENCE));
    let text = String::from_utf8(written.0.lock().expect("no panic").clone()).expect("text");
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| {
            serde_json::from_str(line.strip_prefix("TELEMETRY:").expect("it")).expect("JSON")
        })
        .collect();
    assert_eq!(lines.len(), 100);
    for (count, line) in lines.iter().enumerate() {
        assert_eq!(line["event"], "tool.result_size");
        assert_eq!(line["measurements"]["count"], count);
        assert_eq!(line["measurements"]["percent"], "Infinity");
        assert_eq!(line["metadata"]["tool"], "grep");
        assert_eq!(line["correlation_id"], "id");
        assert_eq!(line["timestamp_ns"], 1_700_000_000_000_000_000_i64);
    }
    telemetry.shutdown(PATIENCE).check().expect("balance");
}

#[test]
fn a_reader_that_stops_reading_costs_events_and_no_time() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let backend =
        StderrBackend::with_output(config(PolicySpec::default()), clock(), Box::new(writer));
    let telemetry = Telemetry::builder()
        .backend(Arc::new(backend.expect("a policy")))
        .build();
    let filler = "x".repeat(900);
    let begun = std::time::Instant::now();
    let mut outcome = Outcome::Accepted;
    let mut emitted = 0;
    while outcome == Outcome::Accepted {
        emitted += 1;
        outcome = telemetry.emit("tool.result_size", NOTHING, &[("tool", &filler)], "");
        assert!(begun.elapsed() < PATIENCE, "the queue never filled");
    }
    assert_eq!(outcome, Outcome::Dropped(Reason::QueueFull));
    let last = telemetry.shutdown(Duration::from_millis(20));
    assert!(last.dropped.get(Reason::ShutdownDeadline) > 0);
    last.check().expect("balance");
    assert_eq!((last.emitted, last.sent, last.queued), (emitted, 0, 0));
    // What was in the writer's hands at the deadline may still arrive.
    let mut lines = 0;
    let mut text = std::io::BufReader::new(reader);
    let mut line = String::new();
    while lines < last.delivered {
        line.clear();
        assert!(text.read_line(&mut line).expect("text") > 0);
        assert!(line.ends_with('\n'), "{line}");
        lines += 1;
    }
    line.clear();
    let late = text.read_to_string(&mut line).map(|_| line.lines().count());
    assert!(late.expect("text") <= 1, "{line}");
}
