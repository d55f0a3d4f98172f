//! `telemetry pools`, `handlers`, `quarantine` and `ledger`: what a running manager counts.

use serde_json::Value;

use crate::failure::Failure;
use crate::look::{Column, Look, column, field, number, print, print_json, total};
use crate::show;

/// A column that is added up.
const fn sum(heading: &'static str, shown: fn(&Value) -> String, sum: fn(&Value) -> u64) -> Column {
    Column {
        heading,
        shown,
        sum: Some(sum),
        spare: 0,
    }
}

/// Prints the pools.
pub(crate) fn pools(look: &Look) -> Result<(), Failure> {
    let columns = [
        column("POOL", |row| field(row, "/name")),
        sum(
            "WORKERS",
            |row| field(row, "/workers"),
            |row| number(row, "/workers"),
        ),
        sum(
            "STREAMING",
            |row| field(row, "/streaming"),
            |row| number(row, "/streaming"),
        ),
        sum(
            "RECEIVED",
            |row| field(row, "/ledger/received"),
            |row| number(row, "/ledger/received"),
        ),
        sum(
            "REJECTED",
            |row| total(row, "/ledger/rejected").to_string(),
            |row| total(row, "/ledger/rejected"),
        ),
        sum(
            "DROPPED",
            |row| total(row, "/ledger/dropped").to_string(),
            |row| total(row, "/ledger/dropped"),
        ),
        sum(
            "GAPS",
            |row| field(row, "/ledger/gaps"),
            |row| number(row, "/ledger/gaps"),
        ),
        sum(
            "LOST",
            |row| field(row, "/ledger/lost"),
            |row| number(row, "/ledger/lost"),
        ),
    ];
    look.print(&look.all("/api/v1/pools")?, "no pools", &columns)
}

/// Prints the handlers.
pub(crate) fn handlers(look: &Look) -> Result<(), Failure> {
    let columns = [
        column("HANDLER", |row| field(row, "/id")),
        column("DISPATCHED", |row| field(row, "/dispatched")),
        column("DELIVERED", |row| field(row, "/delivered")),
        column("DROPPED", |row| total(row, "/dropped").to_string()),
        column("QUEUED", |row| field(row, "/queued")),
        column("PATTERNS", |row| {
            let patterns = row["patterns"].as_array().into_iter().flatten();
            let patterns: Vec<String> = patterns.map(|it| show::word(Some(it))).collect();
            patterns.join(" ")
        }),
    ];
    look.print(&look.all("/api/v1/handlers")?, "no handlers", &columns)
}

/// Prints the names that nobody knows.
pub(crate) fn quarantine(look: &Look) -> Result<(), Failure> {
    let columns = [
        column("NAME", |row| field(row, "/name")),
        column("COUNT", |row| field(row, "/count")),
        column("LAST SEEN", |row| {
            show::time_of_day(row["last_seen_ns"].as_i64().unwrap_or_default())
        }),
        column("DID YOU MEAN", |row| field(row, "/suggestion")),
    ];
    let rows = look.all("/api/v1/quarantine?sort=-count")?;
    look.print(&rows, "every name that workers sent is known", &columns)
}

/// Prints what became of all events; with `verify` it fails where that does not add up.
pub(crate) fn ledger(look: &Look, verify: bool) -> Result<(), Failure> {
    let said = look.ask("/api/v1/ledger")?;
    let balances = said["balances"] == true;
    if look.json {
        print_json(said)?;
    } else {
        print(&account(&said))?;
    }
    match balances || !verify {
        true => Ok(()),
        false => Err(Failure::Failed(
            "the ledger does not balance; with events under way a law may seem to be broken for a moment, so look \
             again"
                .to_owned(),
        )),
    }
}

/// An account in lines: what there was and what became of it, and the laws.
fn account(said: &Value) -> String {
    let ledger = &said["ledger"];
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut row = |name: String, count: &Value| rows.push(vec![name, show::word(Some(count))]);
    let reasons = |row: &mut dyn FnMut(String, &Value), indent: &str, key: &str| {
        for (reason, count) in ledger[key].as_object().into_iter().flatten() {
            row(format!("{indent}{key}: {reason}"), count);
        }
    };
    row("emitted".to_owned(), &ledger["emitted"]);
    row("  received".to_owned(), &ledger["received"]);
    row("    dispatched".to_owned(), &ledger["dispatched"]);
    reasons(&mut row, "    ", "rejected");
    reasons(&mut row, "  ", "dropped");
    for key in ["gaps", "lost"] {
        row(format!("  {key}"), &ledger[key]);
    }
    for key in ["queued", "away", "unaccounted"] {
        row(key.to_owned(), &ledger[key]);
    }
    let mut text = show::table(&rows);
    for law in said["laws"].as_array().into_iter().flatten() {
        let verdict = match law["why"].as_str() {
            None => "holds".to_owned(),
            Some(why) => show::word(Some(&why.into())),
        };
        text.push_str(&format!(
            "{} of {}: {verdict}\n",
            field(law, "/law"),
            field(law, "/of")
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_account_says_what_became_of_every_event_and_which_laws_hold() {
        let said = json!({
            "ledger": {
                "emitted": 10, "received": 7, "dispatched": 6, "rejected": { "unknown_event": 1 },
                "dropped": { "queue_full": 2 }, "gaps": 1, "lost": 0, "away": 0, "queued": 3, "unaccounted": 0,
            },
            "laws": [
                { "law": "M3", "of": "fleet", "holds": true },
                { "law": "M4", "of": "fleet", "holds": false, "why": "emitted 10 is not 9" },
            ],
        });
        let text = account(&said);
        assert!(
            text.starts_with("emitted                      10\n  received"),
            "{text}"
        );
        assert!(
            text.contains("    rejected: unknown_event  1\n  dropped: queue_full"),
            "{text}"
        );
        assert!(
            text.ends_with("M3 of fleet: holds\nM4 of fleet: emitted 10 is not 9\n"),
            "{text}"
        );
    }
}
