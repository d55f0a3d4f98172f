//! `telemetry workers`: the workers of a running manager as a table.

use std::io::{self, Write};

use serde_json::Value;

use crate::api::{Api, block_on};
use crate::failure::Failure;
use crate::show;

/// Heading and place in the manager's answer of each column.
const COLUMNS: [(&str, &str); 9] = [
    ("WORKER", "/worker_id"),
    ("POOL", "/pool_name"),
    ("STATE", "/state"),
    ("PID", "/pid"),
    ("RECEIVED", "/ledger/received"),
    ("DISPATCHED", "/ledger/dispatched"),
    ("GAPS", "/ledger/gaps"),
    ("RECONNECTS", "/reconnects"),
    ("LAST ERROR", LAST_ERROR),
];
/// Place of the reason why the last attempt or stream ended.
const LAST_ERROR: &str = "/last_error";

/// Prints the table, or the manager's answer as it is.
pub(crate) fn run(url: &str, json: bool) -> Result<(), Failure> {
    let api = Api::at(url)?;
    let answer = block_on(api.get_all("/api/workers"))?;
    let mut out = io::stdout().lock();
    let parsed: Value = serde_json::from_slice(&answer).map_err(|error| {
        Failure::Failed(format!(
            "{url}/api/workers did not answer in JSON ({error}); is it a manager?"
        ))
    })?;
    if json {
        writeln!(out, "{parsed:#}")?;
        return Ok(());
    }
    let workers = parsed.get("workers").unwrap_or(&parsed).as_array();
    let workers = workers.map(Vec::as_slice).unwrap_or_default();
    if workers.is_empty() {
        writeln!(out, "no workers")?;
        return Ok(());
    }
    out.write_all(show::table(&rows(workers)).as_bytes())?;
    Ok(())
}

fn rows(workers: &[Value]) -> Vec<Vec<String>> {
    let heading = COLUMNS
        .iter()
        .map(|(heading, _)| (*heading).to_owned())
        .collect();
    let row = |worker: &Value| {
        COLUMNS
            .iter()
            .map(|(_, place)| show::word(worker.pointer(place)))
            .collect()
    };
    std::iter::once(heading)
        .chain(workers.iter().map(row))
        .collect()
}
