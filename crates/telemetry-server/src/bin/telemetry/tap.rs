//! `telemetry tap`: live events of a running manager, one escaped line each.

use std::io::{self, Write};

use clap::Args;
use http_body_util::BodyExt;
use serde_json::Value;
use telemetry_core::catalog::Pattern;

use crate::api::{Api, block_on, query_value};
use crate::failure::Failure;
use crate::look::{Look, print};
use crate::show;

/// Longest line of the manager's answer; an event is far shorter.
const MAX_LINE_BYTES: usize = 1024 * 1024;

/// Which events, and how many.
#[derive(Debug, Args)]
pub(crate) struct Tap {
    #[command(flatten)]
    look: Look,
    /// Only events whose name matches, e.g. 'tool.*'.
    #[arg(long = "match", value_name = "GLOB", default_value = "*")]
    pattern: String,
    /// Only events of these pools.
    #[arg(long, value_name = "GLOB")]
    pool: Option<String>,
    /// Only events of these workers.
    #[arg(long, value_name = "GLOB")]
    worker: Option<String>,
    /// Only events that have this; may be given several times.
    #[arg(long = "where", value_name = "KEY=VALUE")]
    wheres: Vec<String>,
    /// End after so many events.
    #[arg(short = 'n', value_name = "EVENTS")]
    count: Option<u64>,
}

/// Prints events until there were enough, or the manager ends the stream or is gone.
pub(crate) fn run(tap: &Tap) -> Result<(), Failure> {
    let api = Api::of(&tap.look.manager)?;
    Pattern::new(&tap.pattern)?;
    let mut path = format!("/api/v1/tap?match={}", query_value(&tap.pattern));
    let named = [("pool", &tap.pool), ("worker", &tap.worker)];
    let named = named
        .into_iter()
        .filter_map(|(name, it)| Some((name, it.as_ref()?)));
    let wheres = tap.wheres.iter().map(|it| ("where", it));
    for (name, value) in named.chain(wheres) {
        path.push_str(&format!("&{name}={}", query_value(value)));
    }
    let mut left = tap.count.unwrap_or(u64::MAX);
    block_on(async {
        let (way, answer) = api.get(&path).await?;
        let mut body = answer.into_body();
        let mut line = Vec::new();
        while left > 0
            && let Some(frame) = body.frame().await
        {
            let frame =
                frame.map_err(|error| Failure::Failed(format!("{way} is gone: {error}")))?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            for piece in data.split_inclusive(|&byte| byte == b'\n') {
                line.extend_from_slice(piece);
                if line.ends_with(b"\n") {
                    if left > 0 {
                        left -= u64::from(tell(&line, tap.look.json)?);
                    }
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

/// Prints one line of the answer: an event, how many were left out, or a warning. Says whether it was an event.
fn tell(line: &[u8], json: bool) -> Result<bool, Failure> {
    let Ok(said) = serde_json::from_slice::<Value>(line) else {
        return Ok(false);
    };
    if let Some(warning) = said.get("warning") {
        // Events go on without it.
        let _unheard = writeln!(io::stderr(), "telemetry: {}", show::word(Some(warning)));
        return Ok(false);
    }
    let text = if json {
        said.to_string()
    } else {
        describe(&said)
    };
    print(&format!("{text}\n"))?;
    Ok(said.get("lagged").is_none())
}

fn describe(event: &Value) -> String {
    if let Some(lagged) = event.get("lagged") {
        return format!(
            "… {} events left out: the terminal is slower",
            show::word(Some(lagged))
        );
    }
    let time = event
        .get("timestamp_ns")
        .and_then(Value::as_i64)
        .unwrap_or_default();
    let parts = [
        show::time_of_day(time),
        show::word(event.get("name")),
        match event["learned"] == true {
            true => "learned".to_owned(),
            false => String::new(),
        },
        show::pairs(event.get("measurements"), show::measured),
        show::pairs(event.get("metadata"), |_, value| show::word(Some(value))),
        show::pairs(event.get("span"), |_, value| show::word(Some(value))),
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
            "measurements": { "duration": 5_234_567 },
            "metadata": { "tool": "a\nb", "worker_id": "p-1" },
        });
        let line = describe(&event);
        let start = "00:00:01.000  snakepit.python.tool.execution.stop  duration=5.23ms  tool=";
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
        let line = describe(&serde_json::json!({ "lagged": 3 }));
        assert_eq!(line, "… 3 events left out: the terminal is slower");
    }
}
