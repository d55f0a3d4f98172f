//! `telemetry workers`: the workers of a running manager as a table.

use std::io::{self, Write};

use serde_json::Value;

use crate::api::{Api, block_on};
use crate::failure::Failure;
use crate::running::Running;
use crate::show;

/// The heading of a column, and what it shows of a worker.
type Column = (&'static str, fn(&Value) -> String);

const COLUMNS: [Column; 14] = [
    ("WORKER", |worker| field(worker, "/worker_id")),
    ("POOL", |worker| field(worker, "/pool_name")),
    ("STATE", state),
    ("PID", pid),
    ("RECEIVED", |worker| field(worker, "/ledger/received")),
    ("DISPATCHED", |worker| field(worker, "/ledger/dispatched")),
    ("REJECTED", |worker| total(worker, "/ledger/rejected")),
    ("DROPPED", |worker| {
        reported(worker, total, "/reported/dropped")
    }),
    ("GAPS", |worker| reported(worker, field, "/ledger/gaps")),
    ("LOST", lost),
    ("POLICY", policy),
    ("LEDGER", balance),
    ("RECONNECTS", |worker| field(worker, "/reconnects")),
    ("LAST ERROR", |worker| field(worker, "/last_error")),
];

/// Prints the table, or the manager's answer as it is.
pub(crate) fn run(running: &Running, json: bool) -> Result<(), Failure> {
    let api = Api::of(running)?;
    let (way, answer) = block_on(api.get_all("/api/workers"))?;
    let mut out = io::stdout().lock();
    let parsed: Value = serde_json::from_slice(&answer).map_err(|error| {
        Failure::Failed(format!(
            "{way} did not answer in JSON ({error}); is it a manager?"
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
    let heading = COLUMNS.map(|(heading, _)| heading.to_owned()).to_vec();
    let row = |worker: &Value| COLUMNS.map(|(_, shown)| shown(worker)).to_vec();
    std::iter::once(heading)
        .chain(workers.iter().map(row))
        .collect()
}

fn field(worker: &Value, place: &str) -> String {
    show::word(worker.pointer(place))
}

fn is_legacy(worker: &Value) -> bool {
    worker.get("legacy").and_then(Value::as_bool) == Some(true)
}

/// The state, whether the worker is a stock one, and for how long its program has not run.
fn state(worker: &Value) -> String {
    let state = field(worker, "/state");
    if is_legacy(worker) {
        return format!("{state}, legacy");
    }
    match worker.get("stalled_ms").and_then(Value::as_u64) {
        None | Some(0) => state,
        Some(stalled) => format!(
            "{state}, stalled {}.{} s",
            stalled / 1_000,
            stalled / 100 % 10
        ),
    }
}

/// The process id; of a worker that has no process now, that of the last one, said to be so.
fn pid(worker: &Value) -> String {
    let last = worker.get("last_pid").and_then(Value::as_u64);
    match (worker.get("pid").and_then(Value::as_u64), last) {
        (None, Some(last)) => format!("was {last}"),
        _ => field(worker, "/pid"),
    }
}

/// The sum over all reasons.
fn total(worker: &Value, place: &str) -> String {
    let Some(reasons) = worker.pointer(place).and_then(Value::as_object) else {
        return show::word(None);
    };
    let counts = reasons.values().filter_map(Value::as_u64);
    counts.sum::<u64>().to_string()
}

/// What a worker that reports has said; a stock one says nothing, and of it nothing can be known.
fn reported(worker: &Value, shown: fn(&Value, &str) -> String, place: &str) -> String {
    if is_legacy(worker) {
        return show::word(None);
    }
    shown(worker, place)
}

/// Events lost with processes that ended, and those that were read from what they left.
fn lost(worker: &Value) -> String {
    let lost = for_certain(worker);
    match worker.get("recovered").and_then(Value::as_u64) {
        Some(recovered @ 1..) => format!("{lost}, {recovered} recovered"),
        _ => lost,
    }
}

/// Events lost with processes that ended. Where some of those said no last word there may be more; the
/// time is that of the last word of the latest.
fn for_certain(worker: &Value) -> String {
    let known = reported(worker, field, "/lost_at_crash");
    let since = worker.get("unknown_since_ns").and_then(Value::as_i64);
    let Some(since) = since.filter(|_| !is_legacy(worker)) else {
        return known;
    };
    let since = show::time_of_day(since);
    match worker
        .get("unaccounted_incarnations")
        .and_then(Value::as_u64)
    {
        Some(count @ 2..) => format!("≥ {known}, {count} unknown, last since {since}"),
        _ => format!("≥ {known}, unknown since {since}"),
    }
}

/// Revision that the worker reports / revision that it should have. A stock one reports none, and
/// one that reports over stderr cannot be told.
fn policy(worker: &Value) -> String {
    if worker.get("policy_revision").is_none() {
        return show::word(None);
    }
    let wanted = field(worker, "/policy_revision");
    let applied = if is_legacy(worker) {
        show::word(None)
    } else {
        field(worker, "/applied_revision")
    };
    format!("{applied}/{wanted}")
}

/// Whether every event of the worker is accounted for. Of a stock one it cannot be known.
fn balance(worker: &Value) -> String {
    if is_legacy(worker) {
        return show::word(None);
    }
    match worker.get("ledger_difference").and_then(Value::as_u64) {
        None => show::word(None),
        Some(0) => "balances".to_owned(),
        Some(events) => format!("off by {events}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The cells of a worker under these headings.
    fn cells(worker: &Value, headings: &[&str]) -> Vec<String> {
        let rows = rows(std::slice::from_ref(worker));
        let cell = |heading: &&str| {
            let column = rows[0].iter().position(|shown| shown == heading);
            rows[1][column.expect("a heading of the table")].clone()
        };
        headings.iter().map(cell).collect()
    }

    #[test]
    fn a_worker_without_a_process_shows_the_last_one_as_such() {
        let worker =
            json!({ "state": "backoff", "pid": null, "last_pid": 7, "last_error": "exit code 1" });
        let shown = cells(&worker, &["STATE", "PID", "LAST ERROR"]);
        assert_eq!(shown, ["backoff", "was 7", "exit code 1"]);
        assert_eq!(cells(&json!({ "pid": 8, "last_pid": 7 }), &["PID"]), ["8"]);
    }

    #[test]
    fn what_was_read_from_the_memory_of_the_dead_is_shown_beside_what_is_lost() {
        let mut worker = json!({ "lost_at_crash": 0, "recovered": 37 });
        assert_eq!(cells(&worker, &["LOST"]), ["0, 37 recovered"]);
        worker["recovered"] = json!(0);
        assert_eq!(cells(&worker, &["LOST"]), ["0"]);
    }

    const JUDGED: [&str; 4] = ["STATE", "DROPPED", "POLICY", "LEDGER"];

    #[test]
    fn a_worker_shows_its_drops_its_policy_and_whether_its_ledger_balances() {
        let mut worker = json!({
            "state": "streaming", "legacy": false,
            "policy_revision": 3, "applied_revision": 2, "ledger_difference": 0,
            "reported": { "dropped": { "queue_full": 4, "filtered": 5 } },
        });
        assert_eq!(
            cells(&worker, &JUDGED),
            ["streaming", "9", "2/3", "balances"]
        );
        worker["ledger_difference"] = json!(7);
        assert_eq!(cells(&worker, &["LEDGER"]), ["off by 7"]);
    }

    #[test]
    fn a_worker_whose_program_cannot_run_is_said_to_be_stalled() {
        let mut worker = json!({ "state": "streaming", "stalled_ms": 2_340 });
        assert_eq!(cells(&worker, &["STATE"]), ["streaming, stalled 2.3 s"]);
        worker["stalled_ms"] = json!(0);
        assert_eq!(cells(&worker, &["STATE"]), ["streaming"]);
    }

    #[test]
    fn what_died_without_a_last_word_is_said_to_be_unknown() {
        let mut worker = json!({
            "lost_at_crash": 3, "unknown_since_ns": null,
            "ledger": { "rejected": { "unknown_event": 2, "decode_error": 1 } },
        });
        assert_eq!(cells(&worker, &["REJECTED", "LOST"]), ["3", "3"]);
        worker["unknown_since_ns"] = json!(5_000_000_000_i64);
        assert_eq!(
            cells(&worker, &["LOST"]),
            ["≥ 3, unknown since 00:00:05.000"]
        );
        worker["unaccounted_incarnations"] = json!(4);
        assert_eq!(
            cells(&worker, &["LOST"]),
            ["≥ 3, 4 unknown, last since 00:00:05.000"]
        );
        worker["legacy"] = json!(true);
        assert_eq!(cells(&worker, &["LOST"]), ["-"]);
    }

    #[test]
    fn what_a_worker_without_a_stream_cannot_say_is_left_open() {
        let worker = json!({ "worker_id": "sh-1", "state": "running" });
        assert_eq!(cells(&worker, &JUDGED), ["running", "-", "-", "-"]);
    }

    #[test]
    fn a_stock_worker_is_called_legacy_and_credited_with_nothing_it_did_not_say() {
        let worker = json!({
            "state": "streaming", "legacy": true,
            "policy_revision": 3, "applied_revision": 0, "ledger_difference": 0,
            "reported": { "dropped": {} },
        });
        let shown = cells(&worker, &JUDGED);
        assert_eq!(shown, ["streaming, legacy", "-", "-/3", "-"]);
    }
}
