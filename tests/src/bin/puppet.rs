//! A worker process that emits what a test tells it to, when it is told.
//!
//! Settings come from the `TELEMETRY_*` environment, as a pool sets it; `PUPPET_AT_START` is a number
//! of events to emit before anybody can have connected: the server starts after them, and waits for
//! the first control as long as it takes. Orders come as lines on the socket beside the
//! telemetry socket, with `.orders` at the end of its name; each gets one line of JSON as its answer:
//!
//! * `emit NAME COUNT`: how many were accepted, dropped, and neither because telemetry is off.
//! * `event JSON`: the same for one event with everything it can carry.
//! * `ledger`: the ledger, the process id, and what became of the events at the start.
//! * `exit CODE`: no answer, no farewell.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value as Json, json};
use telemetry_client::backend::{Backend, StreamBackend};
use telemetry_client::serve::ServeConfig;
use telemetry_client::{Config, Telemetry};
use telemetry_core::{Outcome, SystemClock, Value, emit::Recorder};
use telemetry_tests::PATIENCE;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut asked_to_end = signal(SignalKind::terminate())?;
    let config = Config::from_env()?;
    let clock = Arc::new(SystemClock::new());
    let recorder = Arc::new(Recorder::new(config.recorder(), clock)?);
    let alone = Telemetry::builder().backend(Arc::clone(&recorder) as Arc<dyn Backend>);
    let count = std::env::var("PUPPET_AT_START").map_or(Ok(0), |count| count.parse())?;
    let at_start = emit(&alone.build(), "tool.execution.start", count);
    let telemetry = serve(&config, recorder)?;
    let listener = UnixListener::bind(orders_path()?)?;
    loop {
        tokio::select! {
            connection = listener.accept() => {
                tokio::spawn(obey(connection?.0, telemetry.clone(), at_start.clone()));
            }
            _ = asked_to_end.recv() => break,
        }
    }
    telemetry.shutdown(config.exit_timeout);
    Ok(())
}

fn serve(config: &Config, recorder: Arc<Recorder>) -> Result<Telemetry, Box<dyn Error>> {
    let address = config.address.as_ref().ok_or("a puppet needs an address")?;
    let mut serve = ServeConfig::default();
    serve.stream.identity = config.identity();
    serve.stream.first_control_wait = PATIENCE;
    let backend = StreamBackend::serve(address, recorder, serve)?;
    Ok(Telemetry::builder().backend(Arc::new(backend)).build())
}

/// Where orders are taken; what an earlier process left there is removed.
fn orders_path() -> Result<PathBuf, Box<dyn Error>> {
    let address = std::env::var("TELEMETRY_ADDRESS")?;
    let socket = address
        .strip_prefix("unix:")
        .ok_or("a puppet needs a unix socket")?;
    let path = PathBuf::from(format!("{socket}.orders"));
    if path.exists() {
        std::fs::remove_file(&path)?;
    }
    Ok(path)
}

async fn obey(connection: UnixStream, telemetry: Telemetry, at_start: Json) {
    let (orders, mut answers) = connection.into_split();
    let mut orders = BufReader::new(orders).lines();
    while let Ok(Some(order)) = orders.next_line().await {
        let answer = answer(&order, &telemetry, &at_start)
            .unwrap_or_else(|error| json!({ "error": format!("{order}: {error}") }));
        if answers
            .write_all(format!("{answer}\n").as_bytes())
            .await
            .is_err()
        {
            return;
        }
    }
}

fn answer(order: &str, telemetry: &Telemetry, at_start: &Json) -> Result<Json, Box<dyn Error>> {
    let (verb, rest) = order.split_once(' ').unwrap_or((order, ""));
    Ok(match verb {
        "emit" => {
            let (name, count) = rest.split_once(' ').ok_or("expected a name and a count")?;
            emit(telemetry, name, count.parse()?)
        }
        "event" => event(telemetry, &serde_json::from_str(rest)?)?,
        "ledger" => json!({
            "pid": std::process::id(),
            "ledger": telemetry.ledger(),
            "at_start": at_start,
        }),
        "exit" => std::process::exit(rest.parse()?),
        _ => return Err("unknown order".into()),
    })
}

fn emit(telemetry: &Telemetry, name: &str, count: u64) -> Json {
    tell((0..count).map(|_| telemetry.emit(name, &[("count", 1_i64.into())], &[], "")))
}

/// Emits one event: `name`, `correlation_id`, and `measurements` and `metadata` as objects.
fn event(telemetry: &Telemetry, event: &Json) -> Result<Json, Box<dyn Error>> {
    let text = |key: &str| event[key].as_str().unwrap_or_default();
    let mut measurements = BTreeMap::new();
    for (key, value) in event["measurements"].as_object().into_iter().flatten() {
        let value = match value {
            Json::String(text) => Value::Str(text.clone()),
            number => match (number.as_i64(), number.as_f64()) {
                (Some(number), _) => Value::Int(number),
                (None, Some(number)) => Value::Float(number),
                (None, None) => return Err(format!("{key}: {number} is no value").into()),
            },
        };
        measurements.insert(key.as_str(), value);
    }
    let measurements: Vec<_> = measurements
        .iter()
        .map(|(key, value)| (*key, value.as_ref()))
        .collect();
    let metadata = event["metadata"].as_object().into_iter().flatten();
    let metadata: Vec<_> = metadata
        .map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default()))
        .collect();
    let outcome = telemetry.emit(
        text("name"),
        &measurements,
        &metadata,
        text("correlation_id"),
    );
    Ok(tell(std::iter::once(outcome)))
}

/// What became of some events.
fn tell(outcomes: impl Iterator<Item = Outcome>) -> Json {
    let (mut accepted, mut off, mut dropped) = (0_u64, 0_u64, 0_u64);
    for outcome in outcomes {
        match outcome {
            Outcome::Accepted => accepted += 1,
            Outcome::Off => off += 1,
            Outcome::Dropped(_) => dropped += 1,
            other => panic!("{other:?} is counted nowhere"),
        }
    }
    json!({ "accepted": accepted, "off": off, "dropped": dropped })
}
