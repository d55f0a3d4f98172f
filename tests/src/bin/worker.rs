//! A worker as a pool runs it: emits until it is asked to end, then says its last words.
//!
//! Settings come from the `TELEMETRY_*` environment alone. On SIGTERM it emits [`LAST_WORDS`]
//! events, lets telemetry drain, and writes its ledger as JSON to the file named by
//! `WORKER_LEDGER`, if any.

use std::error::Error;
use std::fs;
use std::time::Duration;

use telemetry_client::Config;
use telemetry_core::ValueRef;
use tokio::signal::unix::{SignalKind, signal};

/// Time between two events.
const PACE: Duration = Duration::from_millis(2);
/// Events emitted once the end was asked for: more than fit into one batch.
const LAST_WORDS: i64 = 500;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut asked_to_end = signal(SignalKind::terminate())?;
    let mut worker = Config::from_env()?.start()?;
    let telemetry = worker.telemetry().clone();
    let emit = |name: &str, number: i64| {
        // The ledger counts what becomes of it.
        let _counted = telemetry.emit(name, &[("count", ValueRef::Int(number))], &[], "");
    };
    let mut pace = tokio::time::interval(PACE);
    let mut number = 0;
    loop {
        tokio::select! {
            _ = pace.tick() => {}
            _ = asked_to_end.recv() => break,
        }
        number += 1;
        emit("tool.execution.start", number);
        emit("tool.execution.stop", number);
    }
    for number in 0..LAST_WORDS {
        emit("python.gc.completed", number);
    }
    let ledger = worker.shutdown();
    if let Some(path) = std::env::var_os("WORKER_LEDGER") {
        fs::write(path, serde_json::to_vec(&ledger)?)?;
    }
    Ok(())
}
