//! Facts about log lines: levels, fields, escaping.

use std::io::Write;
use std::sync::{Arc, Mutex};

use telemetry_core::{EventParts, EventRef, Source, ValueRef, catalog::Catalog};
use tracing_subscriber::fmt::MakeWriter;

use super::LogHandler;
use crate::dispatch::Handler;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// What is written for an event, with everything down to debug switched on.
fn logged(name: &str, metadata: &[(&str, &str)]) -> String {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(lines.clone())
        .with_ansi(false)
        .with_max_level(tracing::Level::DEBUG)
        .finish();
    tracing::subscriber::with_default(subscriber, || {
        let source = Source {
            worker_id: Some("w1".into()),
            ..Source::of_node("here")
        };
        let event = EventRef::new(EventParts {
            spec: Catalog::builtin().by_name(name).expect("a built-in event"),
            measurements: &[
                ("duration", ValueRef::Int(5)),
                ("count", ValueRef::Float(0.5)),
            ],
            metadata,
            timestamp_ns: 7,
            correlation_id: "job",
            sampling_rate: 1.0,
            span: None,
            source: &source,
        });
        LogHandler.handle(&event).unwrap();
    });
    String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
}

#[test]
fn an_event_is_one_line_with_all_it_holds() {
    let line = logged("snakepit.pool.worker_ready", &[("mode", "process")]);
    for part in [
        " INFO telemetry::event: ",
        "event=snakepit.pool.worker_ready",
        "worker=\"w1\"",
        "correlation_id=job",
        "timestamp_ns=7",
        "measurements=duration=5 count=0.5",
        "metadata=node=here mode=process",
    ] {
        assert!(line.contains(part), "{part:?} in {line:?}");
    }
    assert_eq!(line.lines().count(), 1);
}

#[test]
fn the_level_follows_the_name() {
    let check = |name: &str, level: &str| {
        let line = logged(name, &[]);
        assert!(
            line.contains(&format!("{level} telemetry::event")),
            "{name}: {line}"
        );
    };
    check("snakepit.python.call.exception", "ERROR");
    check("snakepit.worker.crash", "ERROR");
    check("snakepit.python.error.occurred", "ERROR");
    check("snakepit.grpc.connection.lost", "WARN");
    check("snakepit.python.call.stop", "DEBUG");
    check("snakepit.python.memory.sampled", "DEBUG");
    check("snakepit.session.created", "INFO");
}

#[test]
fn hostile_text_stays_one_line_and_one_value() {
    let hostile = "a\nb\u{1b}[31m\u{202e}\u{9b} x=\"1\"";
    let line = logged("snakepit.worker.crash", &[("reason", hostile)]);
    assert_eq!(line.lines().count(), 1);
    let bad = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
    assert!(!line.contains(bad), "{line:?}");
    assert!(line.contains("x=\\\"1\\\"\""), "{line:?}");
}
