//! `telemetry tap`: live events of a running manager, one escaped line each.

use std::io::{self, Write};

use http_body_util::BodyExt;
use serde_json::Value;
use telemetry_core::catalog::Pattern;

use crate::api::{Api, block_on, query_value};
use crate::failure::Failure;
use crate::running::Running;
use crate::show;

/// Longest line of the manager's answer; an event is far shorter.
const MAX_LINE_BYTES: usize = 1024 * 1024;

/// Prints events until the manager ends the stream or is gone.
pub(crate) fn run(running: &Running, pattern: &str) -> Result<(), Failure> {
    let api = Api::of(running)?;
    Pattern::new(pattern)?;
    let path = format!("/api/tap?match={}", query_value(pattern));
    block_on(async {
        let (way, answer) = api.get(&path).await?;
        let mut body = answer.into_body();
        let mut line = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame =
                frame.map_err(|error| Failure::Failed(format!("{way} is gone: {error}")))?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            for piece in data.split_inclusive(|&byte| byte == b'\n') {
                line.extend_from_slice(piece);
                if line.ends_with(b"\n") {
                    print(&line)?;
                    line.clear();
                } else if line.len() > MAX_LINE_BYTES {
                    let told = format!("{way} does not send events; is it a manager?");
                    return Err(Failure::Failed(told));
                }
            }
        }
        Ok(())
    })
}

/// Prints one line of the answer: an event, or how many were left out.
fn print(line: &[u8]) -> Result<(), Failure> {
    let Ok(event) = serde_json::from_slice::<Value>(line) else {
        return Ok(());
    };
    let mut out = io::stdout().lock();
    writeln!(out, "{}", describe(&event))?;
    out.flush()?;
    Ok(())
}

fn describe(event: &Value) -> String {
    if let Some(dropped) = event.get("dropped") {
        return format!(
            "… {} events left out: the terminal is slower",
            show::word(Some(dropped))
        );
    }
    let time = event
        .get("timestamp_ns")
        .and_then(Value::as_i64)
        .unwrap_or_default();
    let parts = [
        show::time_of_day(time),
        show::word(event.get("name")),
        show::pairs(event.get("measurements")),
        show::pairs(event.get("metadata")),
        show::pairs(event.get("span")),
    ];
    parts
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_is_one_line() {
        let event = serde_json::json!({
            "name": "snakepit.python.tool.execution.stop",
            "timestamp_ns": 1_000_000_000_i64,
            "measurements": { "duration": 5 },
            "metadata": { "tool": "a\nb", "worker_id": "p-1" },
        });
        let line = describe(&event);
        let start = "00:00:01.000  snakepit.python.tool.execution.stop  duration=5  tool=";
        assert!(line.starts_with(start), "{line}");
        assert!(
            line.ends_with(" worker_id=p-1") && !line.contains('\n'),
            "{line}"
        );
    }

    #[test]
    fn the_ids_of_a_span_come_last() {
        let event = serde_json::json!({
            "name": "snakepit.python.tool.execution.start",
            "timestamp_ns": 1_000_000_000_i64,
            "metadata": { "tool": "grep" },
            "span": { "trace_id": "4b", "span_id": "f0", "parent_span_id": "0a", "phase": "start" },
        });
        let line = describe(&event);
        for id in [
            "trace_id=4b",
            "span_id=f0",
            "parent_span_id=0a",
            "phase=start",
        ] {
            let place = line.find(&format!(" {id}"));
            assert!(place > line.find("tool=grep"), "{line}");
        }
    }

    #[test]
    fn gap_is_told() {
        let line = describe(&serde_json::json!({ "dropped": 3 }));
        assert_eq!(line, "… 3 events left out: the terminal is slower");
    }
}
