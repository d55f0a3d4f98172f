//! Facts about metrics: names, totals that never fall, limits, and text that strict parsers take.

use std::process::{Command, Stdio};
use std::sync::Arc;

use prometheus_client::encoding::DescriptorEncoder;
use telemetry_core::{
    EventParts, EventRef, ManualClock, Source, SystemClock, ValueRef, catalog::Catalog,
};

use super::{ExpositionFormat, HandlerMetrics, MetricSource, PrometheusConfig, PrometheusExporter};
use crate::dispatch::{Dispatcher, Handler, MemoryHandler};

mod parser;

use parser::Exposition;

const STOP: &str = "snakepit.python.call.stop";
const MEMORY: &str = "snakepit.python.memory.sampled";
const STOPS: &str = "snakepit_python_call_stop_events_total";
const SECONDS: &str = "snakepit_python_call_stop_duration_seconds";
const RSS: &str = "snakepit_python_memory_sampled_rss_bytes";

fn exporter(series_limit: usize) -> PrometheusExporter {
    PrometheusExporter::new(
        Arc::clone(Catalog::builtin()),
        PrometheusConfig { series_limit },
    )
}

fn source(worker: &str, pool: &str) -> Source {
    Source {
        pool_name: Some(pool.into()),
        worker_id: Some(worker.into()),
        ..Source::of_node("here")
    }
}

fn count(
    exporter: &PrometheusExporter,
    source: &Source,
    name: &str,
    measurements: &[(&str, ValueRef<'_>)],
    metadata: &[(&str, &str)],
) {
    let spec = Catalog::builtin().by_name(name).expect("a built-in event");
    let event = EventRef::new(EventParts {
        spec,
        measurements,
        metadata,
        timestamp_ns: 1,
        correlation_id: "",
        sampling_rate: 1.0,
        span: None,
        source,
    });
    exporter.handle(&event).unwrap();
}

fn stop(exporter: &PrometheusExporter, worker: &str, command: &str) {
    let millisecond = [("duration", ValueRef::Int(1_000_000))];
    count(
        exporter,
        &source(worker, "p"),
        STOP,
        &millisecond,
        &[("command", command)],
    );
}

fn rss(exporter: &PrometheusExporter, worker: &str, bytes: i64) {
    let measurements = [("rss_bytes", ValueRef::Int(bytes))];
    count(exporter, &source(worker, "p"), MEMORY, &measurements, &[]);
}

fn scrape(exporter: &PrometheusExporter) -> Exposition {
    Exposition::parse(&exporter.render())
}

#[test]
fn an_event_becomes_a_counter_a_histogram_and_labels() {
    let exporter = exporter(100);
    stop(&exporter, "w1", "run");
    stop(&exporter, "w1", "run");
    stop(&exporter, "w2", "run");
    let text = scrape(&exporter);
    let labels = [("pool", "p"), ("worker_id", "w1"), ("command", "run")];
    assert_eq!(text.value(STOPS, &labels), Some(2.0));
    assert_eq!(text.value(&format!("{SECONDS}_count"), &labels), Some(2.0));
    assert_eq!(text.value(&format!("{SECONDS}_sum"), &labels), Some(0.002));
    let bucket = |le: &str| {
        text.value(
            &format!("{SECONDS}_bucket"),
            &[&labels[..], &[("le", le)]].concat(),
        )
    };
    assert_eq!(
        (bucket("0.00064"), bucket("0.00256")),
        (Some(0.0), Some(2.0))
    );
    assert_eq!(bucket("+Inf"), Some(2.0));
    assert_eq!(text.sum(STOPS), 3.0);
    assert_eq!(text.kind(SECONDS), Some("histogram"));
    assert_eq!(
        text.kind("snakepit_python_call_stop_response_size_bytes"),
        Some("counter")
    );
}

#[test]
fn levels_are_gauges_in_base_units() {
    let exporter = exporter(100);
    rss(&exporter, "w1", 10);
    rss(&exporter, "w1", 4);
    let cpu = [("cpu_percent", ValueRef::Float(150.0))];
    count(
        &exporter,
        &source("w1", "p"),
        "snakepit.python.cpu.sampled",
        &cpu,
        &[],
    );
    let text = scrape(&exporter);
    let labels = [("pool", "p"), ("worker_id", "w1")];
    assert_eq!(text.value(RSS, &labels), Some(4.0));
    assert_eq!(
        text.value("snakepit_python_cpu_sampled_cpu_ratios", &labels),
        Some(1.5)
    );
}

#[test]
fn folding_a_worker_keeps_totals_and_forgets_its_gauges() {
    let exporter = exporter(100);
    for worker in ["w1", "w2"] {
        stop(&exporter, worker, "run");
        stop(&exporter, worker, "walk");
        rss(&exporter, worker, 1_000);
    }
    let before = scrape(&exporter);
    assert!(exporter.fold_worker("w1"));
    assert!(!exporter.fold_worker("w1"));
    let after = scrape(&exporter);
    for total in [
        STOPS,
        &format!("{SECONDS}_count"),
        &format!("{SECONDS}_sum"),
    ] {
        assert_eq!(before.sum(total), after.sum(total), "{total}");
    }
    assert_eq!(
        after.value(STOPS, &[("pool", "p"), ("command", "run")]),
        Some(1.0)
    );
    assert_eq!(after.samples(RSS).len(), 1);
    assert_eq!(after.value("telemetry_prometheus_series", &[]), Some(6.0));

    // The same id again is counted apart, until it goes as well.
    stop(&exporter, "w1", "run");
    assert_eq!(scrape(&exporter).sum(STOPS), 5.0);
    assert!(exporter.fold_worker("w1"));
    let last = scrape(&exporter);
    assert_eq!(last.sum(STOPS), 5.0);
    assert_eq!(
        last.value(STOPS, &[("pool", "p"), ("command", "run")]),
        Some(2.0)
    );
}

#[test]
fn exporters_that_take_turns_on_a_thread_do_not_mix() {
    let (one, other) = (exporter(100), exporter(100));
    for (worker, command) in [("w1", "run"), ("w1", "walk"), ("w2", "run"), ("w1", "run")] {
        stop(&one, worker, command);
        stop(&other, worker, command);
        stop(&other, worker, command);
    }
    for (exporter, times) in [(&one, 1.0), (&other, 2.0)] {
        let text = scrape(exporter);
        let of = |worker, command| {
            let labels = [("pool", "p"), ("worker_id", worker), ("command", command)];
            text.value(STOPS, &labels)
        };
        assert_eq!(of("w1", "run"), Some(2.0 * times));
        assert_eq!(of("w1", "walk"), Some(times));
        assert_eq!(of("w2", "run"), Some(times));
        assert_eq!(text.sum(STOPS), 4.0 * times);
    }
}

#[test]
fn labels_beyond_the_limit_share_one_series_and_are_counted() {
    let exporter = exporter(10);
    for number in 0..1_000 {
        stop(
            &exporter,
            if number % 2 == 0 { "w1" } else { "w2" },
            &format!("command-{number}"),
        );
    }
    let text = scrape(&exporter);
    assert_eq!(text.samples(STOPS).len(), 11);
    assert_eq!(text.value(STOPS, &[("overflow", "true")]), Some(990.0));
    assert_eq!(text.sum(STOPS), 1_000.0);
    assert_eq!(exporter.cardinality_folded(), 990);
    // Folding frees room and loses nothing.
    exporter.fold_worker("w1");
    exporter.fold_worker("w2");
    let text = scrape(&exporter);
    assert_eq!((text.samples(STOPS).len(), text.sum(STOPS)), (11, 1_000.0));
}

#[test]
fn values_that_are_no_metric_are_left_out_and_counted() {
    let exporter = exporter(10);
    for value in [
        ValueRef::Float(f64::NAN),
        ValueRef::Float(f64::INFINITY),
        ValueRef::Int(-1),
        ValueRef::Str("long"),
    ] {
        count(
            &exporter,
            &source("w1", "p"),
            STOP,
            &[("duration", value)],
            &[],
        );
    }
    let text = scrape(&exporter);
    assert_eq!(text.sum(&format!("{SECONDS}_count")), 0.0);
    assert_eq!(text.sum(STOPS), 4.0);
    assert_eq!(
        text.value("telemetry_prometheus_refused_values_total", &[]),
        Some(4.0)
    );
}

#[test]
fn hostile_label_values_come_back_as_they_were() {
    for value in [
        "quote\" backslash\\ both\\\" end",
        "trailing\\",
        "\\n is no newline",
        "}{,=# HELP x",
        "snow ☃ and 雪",
        " ",
    ] {
        let exporter = exporter(10);
        stop(&exporter, "w\"1\\", value);
        let text = scrape(&exporter);
        let labels = [("pool", "p"), ("worker_id", "w\"1\\"), ("command", value)];
        assert_eq!(text.value(STOPS, &labels), Some(1.0), "{value:?}");
    }
}

#[test]
fn control_and_direction_marks_are_shown_and_do_not_split_series() {
    let exporter = exporter(10);
    stop(&exporter, "w1", "a\nb\u{202e}\u{9b}\u{7f}");
    stop(&exporter, "w1", "a\\u{000A}b\\u{202E}\\u{009B}\\u{007F}");
    let text = exporter.render();
    assert!(!text.contains(['\u{202e}', '\u{9b}', '\u{7f}']), "{text}");
    assert_eq!(Exposition::parse(&text).samples(STOPS).len(), 1);
    assert_eq!(Exposition::parse(&text).sum(STOPS), 2.0);
}

#[test]
fn a_long_label_value_is_cut() {
    let exporter = exporter(10);
    stop(&exporter, "w1", &"ü".repeat(1_000));
    let text = scrape(&exporter);
    let cut = "ü".repeat(super::MAX_LABEL_BYTES / 2);
    let labels = [("pool", "p"), ("worker_id", "w1"), ("command", &*cut)];
    assert_eq!(text.value(STOPS, &labels), Some(1.0));
}

#[test]
fn events_whose_names_look_alike_keep_families_of_their_own() {
    let builder = Catalog::builder().event("a.b_c", &["duration"], &[]);
    let catalog = builder.event("a.b-c", &["duration"], &[]).build().unwrap();
    let exporter = PrometheusExporter::new(Arc::clone(&catalog), PrometheusConfig::default());
    for name in ["a.b_c", "a.b-c"] {
        exporter
            .handle(&EventRef::new(EventParts {
                spec: catalog.by_wire_name(name).unwrap(),
                measurements: &[("duration", ValueRef::Int(1))],
                metadata: &[],
                timestamp_ns: 0,
                correlation_id: "",
                sampling_rate: 1.0,
                span: None,
                source: &source("w", "p"),
            }))
            .unwrap();
    }
    let text = scrape(&exporter);
    assert_eq!(text.sum("snakepit_python_a_b_c_events_total"), 1.0);
}

/// A source that writes a family and then fails, panics or succeeds.
struct Bad(fn() -> std::fmt::Result);

impl MetricSource for Bad {
    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
        let rows = [(vec![("reason", "a\"b\\c\nd")], 1)];
        super::encode_counters(encoder, "from_source", "Help.", &rows)?;
        (self.0)()
    }
}

#[test]
fn a_source_that_fails_spoils_nothing_else() {
    let check = |outcome: fn() -> std::fmt::Result, expected: usize| {
        let exporter = exporter(10);
        exporter.add_source(Bad(outcome));
        stop(&exporter, "w1", "run");
        let text = scrape(&exporter);
        assert_eq!(text.sum(STOPS), 1.0);
        assert_eq!(text.samples("from_source_total").len(), expected);
    };
    check(|| Ok(()), 1);
    check(|| Err(std::fmt::Error), 0);
    check(|| panic!("scrape"), 0);
}

#[test]
fn ledgers_of_handlers_are_shown() {
    let clock = Arc::new(ManualClock::new(0));
    let dispatcher = Dispatcher::new(
        Arc::clone(Catalog::builtin()),
        Source::of_node("here"),
        clock,
    );
    let exporter = exporter(10);
    dispatcher
        .attach("prometheus", "*", exporter.clone())
        .unwrap();
    dispatcher
        .attach_queued("m", &["*"], MemoryHandler::new(1), Default::default())
        .unwrap();
    exporter.add_source(HandlerMetrics(dispatcher.clone()));
    dispatcher
        .emit_own("snakepit.pool.status", &[], &[])
        .unwrap();
    let text = scrape(&exporter);
    assert_eq!(
        text.value("telemetry_handler_dispatched_total", &[("handler", "m")]),
        Some(1.0)
    );
    assert_eq!(text.samples("telemetry_handler_queued").len(), 1);
    assert_eq!(text.sum("snakepit_pool_status_events_total"), 1.0);
}

#[test]
fn totals_never_fall_while_workers_come_and_go() {
    let exporter = exporter(50);
    std::thread::scope(|scope| {
        let busy: Vec<_> = (0..3)
            .map(|thread| {
                let exporter = &exporter;
                scope.spawn(move || {
                    for number in 0..600 {
                        let worker = format!("w{thread}-{}", number / 20);
                        stop(exporter, &worker, &format!("c{}", number % 7));
                        if number % 20 == 19 {
                            assert!(exporter.fold_worker(&worker));
                        }
                    }
                })
            })
            .collect();
        let mut last = 0.0;
        while busy.iter().any(|thread| !thread.is_finished()) {
            let sum = scrape(&exporter).sum(STOPS);
            assert!(sum >= last, "{sum} after {last}");
            last = sum;
        }
    });
    let text = scrape(&exporter);
    assert_eq!(text.sum(STOPS), 1_800.0);
    assert_eq!(text.value("telemetry_prometheus_series", &[]), Some(7.0));
}

/// One exporter that has seen every event of the catalog with every documented key.
fn everything() -> PrometheusExporter {
    let exporter = exporter(100);
    let catalog = Catalog::builtin();
    for spec in catalog.events() {
        let keys = spec
            .measurements
            .iter()
            .map(|id| &*catalog.measurement_keys()[id.index()].name);
        let measurements: Vec<_> = keys.map(|key| (key, ValueRef::Int(3))).collect();
        let keys = spec
            .metadata
            .iter()
            .map(|id| &*catalog.metadata_keys()[id.index()].name);
        let metadata: Vec<_> = keys.map(|key| (key, "a\"\\b")).collect();
        count(
            &exporter,
            &source("w1", "p"),
            &spec.name,
            &measurements,
            &metadata,
        );
    }
    let clock = Arc::new(SystemClock::new());
    let dispatcher = Dispatcher::new(
        Arc::clone(Catalog::builtin()),
        Source::of_node("here"),
        clock,
    );
    dispatcher
        .attach("prometheus", "*", exporter.clone())
        .unwrap();
    exporter.add_source(HandlerMetrics(dispatcher));
    exporter
}

#[test]
fn every_event_of_the_catalog_has_families_of_its_own() {
    let text = scrape(&everything());
    for spec in Catalog::builtin().events() {
        let total = format!("{}_events_total", spec.name.replace('.', "_"));
        assert_eq!(text.sum(&total), 1.0, "{total}");
    }
}

#[test]
fn promtool_accepts_the_older_format() {
    let text = everything().render_as(ExpositionFormat::Prometheus);
    let mut promtool = match Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
    {
        Ok(promtool) => promtool,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "a test that does not run says so")]
            {
                eprintln!("skipped: promtool does not start: {error}");
            }
            return;
        }
    };
    let mut stdin = promtool.stdin.take().unwrap();
    std::io::Write::write_all(&mut stdin, text.as_bytes()).unwrap();
    drop(stdin);
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.is_empty(), "{said}");
}

#[test]
fn the_format_follows_the_accept_header() {
    let of = ExpositionFormat::of_accept;
    let scraper = "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;q=0.5";
    assert_eq!(of(scraper), ExpositionFormat::OpenMetrics);
    assert_eq!(of("*/*"), ExpositionFormat::Prometheus);
    assert_eq!(of(""), ExpositionFormat::Prometheus);
}
