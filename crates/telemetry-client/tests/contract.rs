//! One list of facts, held against every backend: policy, limits and the ledger do not depend on
//! where events go.

use std::fs::File;
use std::io::{BufRead, Read, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use telemetry_client::Telemetry;
use telemetry_client::backend::{
    Backend, CompositeBackend, MemoryBackend, NoopBackend, StderrBackend, StreamBackend,
};
use telemetry_client::serve::StreamConfig;
use telemetry_core::{
    Control, Limits, ManualClock, Note, Outcome, PolicySpec, Reason, Recorder, RecorderConfig,
    SamplingRule, ValueRef, WorkerSnapshot,
};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// Reports nothing as dropped for its value, whatever the backend makes of it.
const NOTHING: &[(&str, ValueRef<'_>)] = &[];

/// What a backend does where backends may differ.
#[derive(Clone, Copy)]
struct Traits {
    /// What becomes of NaN.
    nan: Outcome,
    /// How many ledgers count one event.
    copies: u64,
}

/// Makes a fresh backend under a policy.
type Make = fn(PolicySpec) -> Arc<dyn Backend>;

fn config(policy: PolicySpec) -> RecorderConfig {
    RecorderConfig {
        policy,
        ..RecorderConfig::default()
    }
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(1_700_000_000_000_000_000))
}

fn recorder(policy: PolicySpec) -> Arc<dyn Backend> {
    Arc::new(Recorder::new(config(policy), clock()).expect("a policy"))
}

fn stream(policy: PolicySpec) -> Arc<dyn Backend> {
    let recorder = Arc::new(Recorder::new(config(policy), clock()).expect("a policy"));
    Arc::new(StreamBackend::mounted(recorder, StreamConfig::default()).0)
}

fn memory(policy: PolicySpec) -> Arc<dyn Backend> {
    Arc::new(MemoryBackend::new(config(policy), clock()).expect("a policy"))
}

fn stderr(policy: PolicySpec) -> Arc<dyn Backend> {
    let output = Box::new(std::io::sink());
    Arc::new(StderrBackend::with_output(config(policy), clock(), output).expect("a policy"))
}

fn composite(policy: PolicySpec) -> Arc<dyn Backend> {
    Arc::new(CompositeBackend::new(vec![
        memory(policy.clone()),
        Arc::new(NoopBackend),
        stream(policy),
    ]))
}

/// The list.
fn check(make: Make, traits: Traits) {
    let fresh = |policy: PolicySpec| Telemetry::builder().backend(make(policy)).build();
    let on = PolicySpec::default;
    let emit = |telemetry: &Telemetry, name: &str| telemetry.emit(name, NOTHING, &[], "");
    let dropped = |telemetry: &Telemetry, reason| telemetry.ledger().dropped.get(reason);

    // Every event is counted once, and the laws hold at any time.
    let telemetry = fresh(on());
    for _ in 0..10 {
        assert_eq!(emit(&telemetry, "tool.result_size"), Outcome::Accepted);
    }
    assert_eq!(telemetry.ledger().emitted, 10 * traits.copies);
    balanced(&telemetry);

    // Off costs nothing and counts nothing, and comes back.
    telemetry
        .backend()
        .apply(&Control::Toggle { enabled: false })
        .expect("a toggle");
    assert_eq!(emit(&telemetry, "tool.result_size"), Outcome::Off);
    assert_eq!(
        emit(&telemetry, "not a name"),
        Outcome::Dropped(Reason::InvalidName)
    );
    assert_eq!(telemetry.ledger().emitted, 10 * traits.copies);
    telemetry
        .backend()
        .apply(&Control::Toggle { enabled: true })
        .expect("a toggle");
    assert_eq!(emit(&telemetry, "tool.result_size"), Outcome::Accepted);

    // A refused control changes nothing.
    let nan = SamplingRule {
        rate: f64::NAN,
        patterns: Vec::new(),
    };
    assert!(telemetry.backend().apply(&Control::Sampling(nan)).is_err());
    assert_eq!(emit(&telemetry, "tool.result_size"), Outcome::Accepted);

    // Sampled out and filtered are counted; deny wins.
    let none = SamplingRule {
        rate: 0.0,
        patterns: vec!["sampled.*".into()],
    };
    let policy = PolicySpec {
        sampling: vec![none],
        allow: vec!["*".into()],
        deny: vec!["denied.*".into()],
        ..on()
    };
    let telemetry = fresh(policy);
    assert_eq!(
        emit(&telemetry, "sampled.event"),
        Outcome::Dropped(Reason::SampledOut)
    );
    assert_eq!(
        emit(&telemetry, "denied.event"),
        Outcome::Dropped(Reason::Filtered)
    );
    assert_eq!(emit(&telemetry, "other.event"), Outcome::Accepted);
    assert_eq!(dropped(&telemetry, Reason::SampledOut), traits.copies);
    assert_eq!(dropped(&telemetry, Reason::Filtered), traits.copies);
    assert_eq!(balanced(&telemetry).emitted, 3 * traits.copies);

    // With a correlation id, the decision is the same for every event and every backend.
    let half = SamplingRule {
        rate: 0.5,
        patterns: Vec::new(),
    };
    let telemetry = fresh(PolicySpec {
        sampling: vec![half],
        ..on()
    });
    let mut kept = 0;
    for id in 0..200 {
        let id = format!("request-{id}");
        let first = telemetry.emit("tool.execution.start", NOTHING, &[], &id);
        assert_eq!(
            telemetry.emit("tool.execution.stop", NOTHING, &[], &id),
            first
        );
        kept += u32::from(first == Outcome::Accepted);
    }
    assert!((50..150).contains(&kept), "{kept} of 200 at rate 0.5");

    // Broken events are counted under their reason.
    let telemetry = fresh(on());
    let handle = telemetry.event("two..dots");
    assert!(handle.error().is_some());
    assert_eq!(
        handle.emit(NOTHING, &[], ""),
        Outcome::Dropped(Reason::InvalidName)
    );
    assert_eq!(dropped(&telemetry, Reason::InvalidName), 2 * traits.copies);
    let many: Vec<_> = (0..33).map(|_| ("count", ValueRef::Int(1))).collect();
    let many = telemetry.emit("tool.result_size", &many, &[], "");
    assert_eq!(many, Outcome::Dropped(Reason::TooManyFields));
    let nan = [("percent", ValueRef::Float(f64::NAN))];
    assert_eq!(
        telemetry.emit("tool.result_size", &nan, &[], ""),
        traits.nan
    );

    // Long texts are cut and secrets replaced; the event lives.
    let long = "x".repeat(Limits::default().value_bytes + 1);
    let metadata = [("tool", long.as_str()), ("api_key", "hunter2")];
    assert_eq!(
        telemetry.emit("tool.result_size", NOTHING, &metadata, ""),
        Outcome::Accepted
    );
    assert_eq!(telemetry.ledger().notes.get(Note::Truncated), traits.copies);
    assert_eq!(telemetry.ledger().notes.get(Note::Redacted), traits.copies);

    // Shutdown is idempotent, the ledger balances, and nothing is taken afterwards.
    let last = telemetry.shutdown(PATIENCE);
    last.check().expect("balance");
    assert_eq!(last.queued + last.sent + last.delivered, last.accepted);
    assert_eq!(telemetry.shutdown(Duration::ZERO), last);
    assert_eq!(
        emit(&telemetry, "tool.result_size"),
        Outcome::Dropped(Reason::NotRunning)
    );
    let after = telemetry.ledger();
    after.check().expect("balance");
    assert_eq!(after.dropped.get(Reason::NotRunning), traits.copies);
}

#[test]
fn recorder_keeps_the_contract() {
    check_shutdown_without_reader(recorder);
}

/// A recorder alone has nobody who drains it: only its shutdown differs.
fn check_shutdown_without_reader(make: Make) {
    let telemetry = Telemetry::builder()
        .backend(make(PolicySpec::default()))
        .build();
    telemetry.emit("tool.result_size", NOTHING, &[], "");
    let last = telemetry.shutdown(Duration::from_millis(1));
    assert_eq!(last.dropped.get(Reason::ShutdownDeadline), 1);
    last.check().expect("balance");
}

#[test]
fn stream_keeps_the_contract() {
    check(
        stream,
        Traits {
            nan: Outcome::Dropped(Reason::InvalidValue),
            copies: 1,
        },
    );
}

#[test]
fn memory_keeps_the_contract() {
    check(
        memory,
        Traits {
            nan: Outcome::Dropped(Reason::InvalidValue),
            copies: 1,
        },
    );
}

#[test]
fn stderr_keeps_the_contract() {
    check(
        stderr,
        Traits {
            nan: Outcome::Accepted,
            copies: 1,
        },
    );
}

#[test]
fn composite_keeps_the_contract() {
    check(
        composite,
        Traits {
            nan: Outcome::Dropped(Reason::InvalidValue),
            copies: 2,
        },
    );
}

#[test]
fn noop_emits_and_counts_nothing() {
    let telemetry = Telemetry::off();
    assert_eq!(
        telemetry.emit("tool.result_size", NOTHING, &[], ""),
        Outcome::Off
    );
    assert_eq!(telemetry.emit("not a name", NOTHING, &[], ""), Outcome::Off);
    telemetry.span("tool.execution").start().finish();
    assert!(telemetry.flush(Duration::ZERO));
    assert_eq!(telemetry.shutdown(Duration::ZERO).emitted, 0);
}

#[test]
fn a_full_queue_shuts_down_in_time_and_counts_the_rest() {
    let telemetry = Telemetry::builder()
        .backend(stream(PolicySpec::default()))
        .build();
    while telemetry.emit("tool.result_size", NOTHING, &[], "") == Outcome::Accepted {}
    let begun = std::time::Instant::now();
    let last = telemetry.shutdown(PATIENCE);
    assert!(
        begun.elapsed() < PATIENCE / 2,
        "nobody is attached, so there is nothing to wait for"
    );
    assert_eq!(last.dropped.get(Reason::ShutdownDeadline), 8_192);
    assert_eq!(last.dropped.get(Reason::QueueFull), 1);
    last.check().expect("balance");
}

#[test]
fn a_part_that_panics_takes_nothing_from_the_others() {
    #[derive(Debug)]
    struct Broken(Arc<dyn Backend>);
    impl Backend for Broken {
        fn resolve(
            &self,
            name: &str,
        ) -> Result<telemetry_client::backend::Site, telemetry_core::NameError> {
            self.0.resolve(name)
        }
        fn record(
            &self,
            _site: &telemetry_client::backend::Site,
            _draw: telemetry_client::backend::Draw<'_>,
            _fields: &telemetry_core::Fields<'_>,
        ) -> Outcome {
            panic!("this backend is broken")
        }
        fn decide(
            &self,
            sites: &telemetry_client::backend::SpanSites,
            ties: &telemetry_core::Ties<'_>,
        ) -> Option<telemetry_client::backend::SpanFate> {
            self.0.decide(sites, ties)
        }
        fn apply(&self, control: &Control) -> Result<(), telemetry_core::ControlError> {
            self.0.apply(control)
        }
        fn flush(&self, timeout: Duration) -> bool {
            self.0.flush(timeout)
        }
        fn shutdown(&self, timeout: Duration) -> WorkerSnapshot {
            self.0.shutdown(timeout)
        }
        fn ledger(&self) -> WorkerSnapshot {
            self.0.ledger()
        }
    }
    let memory = Arc::new(MemoryBackend::new(config(PolicySpec::default()), clock()).expect("ok"));
    let broken = Arc::new(Broken(recorder(PolicySpec::default())));
    let unwritable = Arc::new(lines_to(Box::new(full_device())));
    let parts: Vec<Arc<dyn Backend>> = vec![broken, memory.clone(), unwritable];
    let telemetry = Telemetry::builder()
        .backend(Arc::new(CompositeBackend::new(parts)))
        .build();
    assert_eq!(
        telemetry.emit("tool.result_size", NOTHING, &[], ""),
        Outcome::Accepted
    );
    assert_eq!(memory.take().len(), 1);
    assert!(telemetry.flush(PATIENCE));
    let ledger = balanced(&telemetry);
    assert_eq!((ledger.emitted, ledger.delivered), (3, 1));
    assert_eq!(ledger.dropped.get(Reason::BackendError), 2);
}

/// The ledger, which is in balance.
fn balanced(telemetry: &Telemetry) -> WorkerSnapshot {
    let ledger = telemetry.ledger();
    ledger.check().expect("balance");
    ledger
}

fn lines_to(output: Box<dyn Write + Send>) -> StderrBackend {
    StderrBackend::with_output(config(PolicySpec::default()), clock(), output).expect("a policy")
}

/// A device that takes nothing.
fn full_device() -> File {
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
    let test = "a_standard_error_that_cannot_be_written_is_a_backend_error";
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

#[test]
fn events_before_the_start_wait_and_are_counted_as_such() {
    let recorder = Arc::new(Recorder::new(config(PolicySpec::default()), clock()).expect("ok"));
    recorder.set_started(false);
    let telemetry = Telemetry::builder().backend(recorder).build();
    let emit = || telemetry.emit("tool.result_size", NOTHING, &[], "");
    for _ in 0..8_192 {
        assert_eq!(emit(), Outcome::Accepted);
    }
    assert_eq!(emit(), Outcome::Dropped(Reason::NotStarted));
    let ledger = balanced(&telemetry);
    assert_eq!((ledger.emitted, ledger.queued), (8_193, 8_192));
    let last = telemetry.shutdown(Duration::ZERO);
    last.check().expect("balance");
    assert_eq!(last.dropped.get(Reason::NotStarted), 8_193);
    assert_eq!(last.dropped.total(), last.emitted);
}

#[test]
fn a_backend_that_forgets_an_event_has_dropped_it() {
    let recorder = Arc::new(Recorder::new(config(PolicySpec::default()), clock()).expect("ok"));
    let telemetry = Telemetry::builder().backend(recorder.clone()).build();
    for _ in 0..4 {
        telemetry.emit("tool.result_size", NOTHING, &[], "");
    }
    let mut event = Vec::new();
    let mut hand_out = || recorder.hand_out(&mut event).expect("an event");
    let held = hand_out();
    assert_eq!(balanced(&telemetry).queued, 4, "it is in somebody's hands");
    held.delivered();
    hand_out().dropped(Reason::QueueFull);
    drop(hand_out());
    let ledger = balanced(&telemetry);
    assert_eq!((ledger.delivered, ledger.queued), (1, 1));
    assert_eq!(ledger.dropped.get(Reason::QueueFull), 1);
    assert_eq!(ledger.dropped.get(Reason::BackendError), 1);
    // What ends after the deadline was counted at the deadline.
    let late = hand_out();
    assert_eq!(recorder.discard_queued(Reason::ShutdownDeadline), 1);
    late.delivered();
    let ledger = balanced(&telemetry);
    assert_eq!((ledger.delivered, ledger.queued), (1, 0));
    assert_eq!(ledger.dropped.total(), 3);
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

#[test]
fn a_wait_without_end_is_a_wait() {
    for make in [recorder, stream, memory, stderr, composite] as [Make; 5] {
        let telemetry = Telemetry::builder()
            .backend(make(PolicySpec::default()))
            .build();
        assert!(telemetry.flush(Duration::MAX));
        telemetry.shutdown(Duration::MAX);
    }
}
