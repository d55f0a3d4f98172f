//! What `/metrics` says is read by a strict parser that is not ours: that of prometheus_client, the
//! reference for OpenMetrics and for Prometheus' own text format.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;

use serde_json::Value as Json;
use telemetry_core::catalog::escape;
use telemetry_server::{
    dispatch::QueuedConfig,
    export::{ExpositionFormat, HandlerMetrics, PrometheusConfig, PrometheusExporter},
};
use telemetry_tests::{PATIENCE, TestManager, python, worker};

/// Label values that break a careless exposition.
const HOSTILE: [&str; 7] = [
    "quote\" in the middle",
    "back\\slash and \\n that is none",
    "two\nlines",
    "brace } and comma , and equals =",
    "# HELP telemetry_forged_total nothing",
    "bidi \u{202e} and escape \u{1b}[31m",
    "ünïcödé ✓",
];

/// Prints the values of the label `tool` and how many families there are.
const PARSE: &str = "
import json, sys
from prometheus_client.{module} import text_string_to_metric_families
families = list(text_string_to_metric_families(sys.stdin.read()))
tools = sorted({s.labels['tool'] for f in families for s in f.samples if 'tool' in s.labels})
names = [f.name for f in families]
assert len(names) == len(set(names)), 'a family appears twice'
print(json.dumps({'tools': tools, 'families': names}))
";

#[tokio::test]
async fn the_exposition_is_accepted_by_a_strict_parser_with_hostile_label_values() {
    let python = match python() {
        Ok(python) => python,
        #[expect(clippy::print_stdout, reason = "a story that is not told says so")]
        Err(reason) => return println!("skipped: {reason}"),
    };
    let (manager, worker) = (TestManager::blind(), worker().start());
    let dispatcher = manager.dispatcher().clone();
    let exporter =
        PrometheusExporter::new(Arc::clone(manager.catalog()), PrometheusConfig::default());
    dispatcher
        .attach("prometheus", "*", exporter.clone())
        .unwrap();
    let ignore = |_: &telemetry_core::EventRef<'_>| {};
    dispatcher
        .attach_queued("queued", &["*"], ignore, QueuedConfig::default())
        .unwrap();
    exporter.add_source((*manager).clone());
    exporter.add_source(HandlerMetrics(dispatcher));
    manager.connect(&worker).await;
    for tool in HOSTILE {
        worker.telemetry().emit(
            "tool.execution.stop",
            &[("duration", 1_500_000_i64.into()), ("count", 1_i64.into())],
            &[("tool", tool)],
            "",
        );
    }
    worker.telemetry().flush(PATIENCE);
    manager.balanced(&worker).await;

    let expected: BTreeSet<_> = HOSTILE
        .iter()
        .map(|tool| escape(tool).into_owned())
        .collect();
    for (format, module) in [
        (ExpositionFormat::OpenMetrics, "openmetrics.parser"),
        (ExpositionFormat::Prometheus, "parser"),
    ] {
        let text = exporter.render_as(format);
        let mut parser = Command::new(&python)
            .args(["-c", &PARSE.replace("{module}", module)])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        parser
            .stdin
            .take()
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
        let output = parser.wait_with_output().unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{format:?}: {complaint}\n{text}");
        let parsed: Json = serde_json::from_slice(&output.stdout).unwrap();
        let tools = parsed["tools"].as_array().unwrap().iter();
        let tools: BTreeSet<_> = tools
            .map(|tool| tool.as_str().unwrap().to_owned())
            .collect();
        assert_eq!(tools, expected, "{format:?}");
        let families = parsed["families"].as_array().unwrap().len();
        assert!(families > 10, "{format:?}: only {families} families");
    }
}
