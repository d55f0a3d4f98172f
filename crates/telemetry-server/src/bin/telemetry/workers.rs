//! `telemetry workers`: the workers of a running manager as a table.

use serde_json::Value;

use crate::api::query_value;
use crate::failure::Failure;
use crate::look::{Column, Look, field, number, print, total};
use crate::show;

/// A number that is added up below the table.
macro_rules! summed {
    ($heading:literal, $spare:literal, $sum:expr) => {
        Column {
            heading: $heading,
            shown: |worker| ($sum)(worker).to_string(),
            sum: Some($sum),
            spare: $spare,
        }
    };
}

/// The columns, and in which order they go where the terminal is narrow.
const COLUMNS: [Column; 13] = [
    shown("WORKER", 0, |worker| field(worker, "/id")),
    shown("POOL", 0, |worker| field(worker, "/pool")),
    shown("STATE", 0, state),
    shown("PID", 4, pid),
    summed!("RECEIVED", 0, |worker| number(worker, "/ledger/received")),
    summed!("DISPATCHED", 6, |worker| number(
        worker,
        "/ledger/dispatched"
    )),
    summed!("REJECTED", 0, |worker| total(worker, "/ledger/rejected")),
    Column {
        heading: "DROPPED",
        shown: |worker| reported(worker, dropped(worker).to_string()),
        sum: Some(dropped),
        spare: 0,
    },
    Column {
        heading: "GAPS",
        shown: |worker| reported(worker, field(worker, "/ledger/gaps")),
        sum: Some(|worker| number(worker, "/ledger/gaps")),
        spare: 5,
    },
    shown("LOST", 0, lost),
    shown("POLICY", 2, policy),
    shown("LEDGER", 3, balance),
    shown("RECONNECTS", 7, |worker| field(worker, "/reconnects")),
];

const fn shown(heading: &'static str, spare: u8, shown: fn(&Value) -> String) -> Column {
    Column {
        heading,
        shown,
        sum: None,
        spare,
    }
}

/// Prints the workers, of one pool or all, and what went wrong with each below.
pub(crate) fn run(look: &Look, pool: Option<&str>, pattern: &str) -> Result<(), Failure> {
    let pool = pool.map_or_else(String::new, |pool| format!("&pool={}", query_value(pool)));
    let path = format!("/api/v1/workers?match={}{pool}", query_value(pattern));
    let workers = look.all(&path)?;
    look.print(&workers, "no workers", &COLUMNS)?;
    match look.json {
        true => Ok(()),
        false => print(&errors(&workers)),
    }
}

/// What went wrong with each worker, a line each.
fn errors(workers: &[Value]) -> String {
    let mut text = String::new();
    for worker in workers {
        let (id, error) = (field(worker, "/id"), field(worker, "/last_error"));
        if error != "-" {
            text.push_str(&format!("{id}: {error}\n"));
        }
    }
    text
}

fn dropped(worker: &Value) -> u64 {
    total(worker, "/ledger/dropped")
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
    match number(worker, "/stalled_ns") / 100_000_000 {
        0 => state,
        tenths => format!("{state}, stalled {}.{} s", tenths / 10, tenths % 10),
    }
}

/// The process id; of a worker that has no process now, that of the last one, said to be so.
fn pid(worker: &Value) -> String {
    let last = worker.pointer("/process/last_pid").and_then(Value::as_u64);
    match (worker.get("pid").and_then(Value::as_u64), last) {
        (None, Some(last)) => format!("was {last}"),
        _ => field(worker, "/pid"),
    }
}

/// What a worker that reports has said; a stock one says nothing, and of it nothing can be known.
fn reported(worker: &Value, shown: String) -> String {
    match is_legacy(worker) {
        true => show::word(None),
        false => shown,
    }
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
    let known = reported(worker, field(worker, "/ledger/lost"));
    let since = worker.get("unknown_since_ns").and_then(Value::as_i64);
    let Some(since) = since.filter(|_| !is_legacy(worker)) else {
        return known;
    };
    let since = show::time_of_day(since);
    match number(worker, "/ledger/unaccounted") {
        count @ 2.. => format!("≥ {known}, {count} unknown, last since {since}"),
        _ => format!("≥ {known}, unknown since {since}"),
    }
}

/// Revision that the worker reports / revision that it should have. A stock one reports none, and
/// one that reports over stderr cannot be told.
fn policy(worker: &Value) -> String {
    match worker.get("policy") {
        None => show::word(None),
        Some(policy) => format!(
            "{}/{}",
            field(policy, "/applied"),
            field(policy, "/revision")
        ),
    }
}

/// Whether every event of the worker is accounted for. Of a stock one it cannot be known.
fn balance(worker: &Value) -> String {
    match worker.pointer("/ledger/difference").and_then(Value::as_u64) {
        None => show::word(None),
        Some(0) => "balances".to_owned(),
        Some(events) => format!("off by {events}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::look::table;

    /// The cells of a worker under these headings.
    fn cells(worker: &Value, headings: &[&str]) -> Vec<String> {
        let cell = |heading: &&str| {
            let column = COLUMNS.iter().find(|column| column.heading == *heading);
            (column.expect("a heading of the table").shown)(worker)
        };
        headings.iter().map(cell).collect()
    }

    #[test]
    fn a_worker_without_a_process_shows_the_last_one_as_such() {
        let worker = json!({
            "id": "p-1", "state": "backoff", "process": { "last_pid": 7 }, "last_error": "exit code 1",
        });
        assert_eq!(cells(&worker, &["STATE", "PID"]), ["backoff", "was 7"]);
        assert_eq!(errors(&[worker]), "p-1: exit code 1\n");
        let worker = json!({ "pid": 8, "process": { "last_pid": 7 } });
        assert_eq!(cells(&worker, &["PID"]), ["8"]);
    }

    #[test]
    fn what_was_read_from_the_memory_of_the_dead_is_shown_beside_what_is_lost() {
        let mut worker = json!({ "ledger": { "lost": 0 }, "recovered": 37 });
        assert_eq!(cells(&worker, &["LOST"]), ["0, 37 recovered"]);
        worker["recovered"] = json!(0);
        assert_eq!(cells(&worker, &["LOST"]), ["0"]);
    }

    const JUDGED: [&str; 4] = ["STATE", "DROPPED", "POLICY", "LEDGER"];

    #[test]
    fn a_worker_shows_its_drops_its_policy_and_whether_its_ledger_balances() {
        let mut worker = json!({
            "state": "streaming", "legacy": false, "policy": { "revision": 3, "applied": 2 },
            "ledger": { "difference": 0, "dropped": { "queue_full": 4, "filtered": 5 } },
        });
        assert_eq!(
            cells(&worker, &JUDGED),
            ["streaming", "9", "2/3", "balances"]
        );
        worker["ledger"]["difference"] = json!(7);
        assert_eq!(cells(&worker, &["LEDGER"]), ["off by 7"]);
    }

    #[test]
    fn a_worker_whose_program_cannot_run_is_said_to_be_stalled() {
        let mut worker = json!({ "state": "streaming", "stalled_ns": 2_340_000_000_u64 });
        assert_eq!(cells(&worker, &["STATE"]), ["streaming, stalled 2.3 s"]);
        worker["stalled_ns"] = json!(0);
        assert_eq!(cells(&worker, &["STATE"]), ["streaming"]);
    }

    #[test]
    fn what_died_without_a_last_word_is_said_to_be_unknown() {
        let mut worker = json!({
            "ledger": { "lost": 3, "rejected": { "unknown_event": 2, "decode_error": 1 } },
        });
        assert_eq!(cells(&worker, &["REJECTED", "LOST"]), ["3", "3"]);
        worker["unknown_since_ns"] = json!(5_000_000_000_i64);
        assert_eq!(
            cells(&worker, &["LOST"]),
            ["≥ 3, unknown since 00:00:05.000"]
        );
        worker["ledger"]["unaccounted"] = json!(4);
        assert_eq!(
            cells(&worker, &["LOST"]),
            ["≥ 3, 4 unknown, last since 00:00:05.000"]
        );
        worker["legacy"] = json!(true);
        assert_eq!(cells(&worker, &["LOST"]), ["-"]);
    }

    #[test]
    fn what_a_worker_without_a_stream_cannot_say_is_left_open() {
        let worker = json!({ "id": "sh-1", "state": "running" });
        assert_eq!(
            cells(&worker, &["STATE", "POLICY", "LEDGER"]),
            ["running", "-", "-"]
        );
    }

    #[test]
    fn a_stock_worker_is_called_legacy_and_credited_with_nothing_it_did_not_say() {
        let worker = json!({
            "state": "streaming", "legacy": true, "policy": { "revision": 3 },
            "ledger": { "dropped": {} },
        });
        let shown = cells(&worker, &JUDGED);
        assert_eq!(shown, ["streaming, legacy", "-", "-/3", "-"]);
    }

    #[test]
    fn usual_workers_fit_a_terminal_of_80_columns_with_what_was_rejected() {
        let worker = |number: u64| {
            json!({
                "id": format!("inference-{number}"), "pool": "inference", "state": "streaming", "pid": 1_234_567,
                "policy": { "revision": 12, "applied": 12 }, "reconnects": 3,
                "ledger": {
                    "received": 123_456_789_u64, "dispatched": 123_456_000, "rejected": { "unknown_event": 789 },
                    "dropped": { "sampled_out": 12_345 }, "gaps": 0, "lost": 0, "difference": 0,
                },
            })
        };
        let text = table(&[worker(1), worker(10)], &COLUMNS, Some(80));
        let widest = text.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(80), "{text}");
        let heading = text.lines().next().expect("a heading");
        assert!(
            heading.contains("REJECTED") && !heading.contains("RECONNECTS"),
            "{text}"
        );
        let sums = text.lines().last().expect("sums");
        assert!(
            sums.starts_with("TOTAL") && sums.contains("246913578"),
            "{text}"
        );
    }
}
