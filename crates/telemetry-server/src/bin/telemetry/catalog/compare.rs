//! What workers sent beside a catalog, and two catalogs beside one another.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use telemetry_core::catalog::{Catalog, nearest};

use super::book::Book;
use super::text;

/// `; did you mean "…"?`, if there is something.
pub(super) fn did_you_mean(meant: Option<&str>) -> String {
    meant.map_or(String::new(), |meant| format!("; did you mean {meant:?}?"))
}

/// What a manager has seen of workers and a catalog does not have, in words; without another catalog, the
/// manager's own does not have it.
pub(super) fn violations(seen: &Book, known: Option<&Catalog>) -> Vec<String> {
    let mut found = BTreeSet::new();
    let mut name = |name: &str, told: &str| {
        let meant = match known {
            None => Some(told).filter(|it| !it.is_empty()),
            Some(known) if known.by_wire_name(name).is_some() => return,
            Some(known) => known.suggest(name),
        };
        found.insert(format!(
            "event {name:?} is not in the catalog{}",
            did_you_mean(meant)
        ));
    };
    let is_new = |event: &&Value| event["known"] != true;
    for event in seen.rows("learned").filter(is_new) {
        name(text(event, "wire_name"), text(event, "suggestion"));
    }
    for event in seen.rows("refused") {
        name(text(event, "name"), text(event, "suggestion"));
    }
    for event in seen.rows("learned") {
        for (key, _) in seen.measurements_of(event) {
            let keys: Vec<&str> = match known {
                Some(known) => known
                    .measurement_keys()
                    .iter()
                    .map(|it| &*it.name)
                    .collect(),
                None => seen
                    .rows("measurements")
                    .map(|it| text(it, "key"))
                    .collect(),
            };
            if !keys.contains(&key) {
                let meant = did_you_mean(nearest(key, keys));
                let event = text(event, "wire_name");
                found.insert(format!(
                    "measurement {key:?} of {event:?} is not in the catalog{meant}"
                ));
            }
        }
    }
    found.into_iter().collect()
}

/// What is in one catalog and not in the other, a line each.
pub(super) fn differences(old: &Book, new: &Book) -> Vec<String> {
    let (old, new) = (facts(old), facts(new));
    let mut found = Vec::new();
    for (fact, said) in &old {
        match new.get(fact) {
            None => found.push(format!("- {fact}{said}")),
            Some(now) if now != said => {
                found.push(format!("- {fact}{said}"));
                found.push(format!("+ {fact}{now}"));
            }
            Some(_) => {}
        }
    }
    let added = new.iter().filter(|(fact, _)| !old.contains_key(*fact));
    found.extend(added.map(|(fact, said)| format!("+ {fact}{said}")));
    found
}

/// What a catalog says, and what was learned beside it, one fact each.
fn facts(book: &Book) -> BTreeMap<String, String> {
    let mut facts = BTreeMap::new();
    for event in book.rows("events").chain(book.rows("learned")) {
        let name = match text(event, "wire_name") {
            "" => text(event, "name"),
            wire => wire,
        };
        if event["known"] != true {
            facts.insert(format!("event {name}"), String::new());
            for key in book.metadata_of(event) {
                facts.insert(format!("event {name}: metadata {key}"), String::new());
            }
        }
        for (key, (unit, kind)) in book.measurements_of(event) {
            if event["known"] != true {
                facts.insert(format!("event {name}: measurement {key}"), String::new());
            }
            facts.insert(format!("measurement {key}"), format!(" ({unit}, {kind})"));
        }
    }
    for key in book.rows("measurements") {
        let said = format!(" ({}, {})", text(key, "unit"), text(key, "kind"));
        facts.insert(format!("measurement {}", text(key, "key")), said);
    }
    for key in book.rows("metadata").filter(|it| it["label"] == true) {
        facts.insert(format!("label {}", text(key, "key")), String::new());
    }
    facts
}
