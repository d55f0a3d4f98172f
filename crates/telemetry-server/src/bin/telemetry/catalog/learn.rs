//! What a manager saw as the `[catalog]` of a configuration.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;
use telemetry_core::catalog::{Catalog, MAX_USER_EVENTS, MAX_USER_KEYS, Unit};

use super::book::Book;
use super::text;

/// An own key: unit and kind of a measurement, and whether metadata is a label.
#[derive(Default, Clone)]
struct Key {
    measured: Option<(String, String)>,
    label: Option<bool>,
}

impl Key {
    /// How many keys of a catalog it is.
    fn weight(&self) -> usize {
        usize::from(self.measured.is_some()) + usize::from(self.label.is_some())
    }
}

/// Everything that is not built in: what the manager's catalog has already, and what it learned. With it
/// comes how many events found no room; those that came least often.
pub(super) fn toml(book: &Book) -> (String, usize) {
    let builtin = Catalog::builtin();
    let is_own = |event: &&Value| builtin.by_name(text(event, "name")).is_none();
    let configured = book.rows("events").filter(is_own);
    let mut learned: Vec<&Value> = book.rows("learned").collect();
    learned.sort_by_key(|event| Reverse(event["count"].as_u64()));
    let mut keys: BTreeMap<String, Key> = BTreeMap::new();
    let mut events: BTreeMap<&str, [Vec<&str>; 2]> = BTreeMap::new();
    let mut left_out = 0;
    for event in configured.chain(learned) {
        let mut more = keys.clone();
        let mut carried = [Vec::new(), Vec::new()];
        for (key, (unit, kind)) in book.measurements_of(event) {
            carried[0].push(key);
            if builtin.measurement_key(key).is_none() {
                let measured = &mut more.entry(key.to_owned()).or_default().measured;
                measured.get_or_insert_with(|| (unit.to_owned(), kind.to_owned()));
            }
        }
        for key in book.metadata_of(event) {
            carried[1].push(key);
            if builtin.metadata_key(key).is_none() {
                let label = book.is_label(key);
                more.entry(key.to_owned()).or_default().label = Some(label);
            }
        }
        let weight: usize = more.values().map(Key::weight).sum();
        if weight > MAX_USER_KEYS || events.len() >= MAX_USER_EVENTS {
            left_out += 1;
            continue;
        }
        keys = more;
        if is_own(&event) {
            // The same event of several pools is one.
            let known = events.entry(text(event, "wire_name")).or_default();
            for (known, more) in known.iter_mut().zip(carried) {
                known.extend(more);
                known.sort_unstable();
                known.dedup();
            }
        }
    }
    // Those of keys that are built in hold as well.
    for key in book.rows("measurements").map(|row| text(row, "key")) {
        if builtin.measurement_key(key).is_some() && book.buckets(key).is_some() {
            keys.entry(key.to_owned()).or_default();
        }
    }
    (written(book, &keys, &events), left_out)
}

fn written(
    book: &Book,
    keys: &BTreeMap<String, Key>,
    events: &BTreeMap<&str, [Vec<&str>; 2]>,
) -> String {
    let mut text = String::new();
    // Writing into a string cannot fail.
    if !keys.is_empty() {
        text.push_str("[catalog.keys]\n");
    }
    for (name, key) in keys {
        let mut said = Vec::new();
        if let Some((unit, kind)) = &key.measured {
            said.push(format!("unit = {unit:?}"));
            let usual = unit
                .parse::<Unit>()
                .map(|unit| unit.default_kind().as_str());
            if usual != Ok(kind) && book.buckets(name).is_none() {
                said.push(format!("kind = {kind:?}"));
            }
        }
        let buckets = book.buckets(name);
        said.extend(buckets.map(|bounds| format!("buckets = {bounds}")));
        said.extend(key.label.map(|label| format!("label = {label}")));
        let _ = writeln!(text, "{name} = {{ {} }}", said.join(", "));
    }
    if !events.is_empty() {
        text.push_str("[catalog.events]\n");
    }
    for (name, [measurements, metadata]) in events {
        let _ = writeln!(
            text,
            "{name:?} = {{ measurements = {measurements:?}, metadata = {metadata:?} }}"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use telemetry_server::config::Config;

    use super::*;

    fn learned(name: &str, count: u64, measurements: Value, metadata: Value) -> Value {
        json!({ "wire_name": name, "name": format!("snakepit.python.{name}"), "known": false,
                "count": count, "measurements": measurements, "metadata": metadata })
    }

    #[test]
    fn what_is_written_is_a_catalog_as_it_is() {
        let step = json!([{ "key": "step_ms", "unit": "milliseconds", "kind": "histogram" },
                          { "key": "loss", "unit": "none", "kind": "gauge" },
                          { "key": "duration", "unit": "nanoseconds", "kind": "histogram" }]);
        let mut value = telemetry_server::api::described(Catalog::builtin());
        value["learned"] = json!([
            learned("train.step", 3, step, json!(["tenant", "tool", "loss"])),
            learned("train.step", 3, json!([]), json!(["region"])),
            learned("train-end", 3, json!([]), json!([])),
        ]);
        let (text, left_out) = toml(&Book { value });
        let expected = "\
[catalog.keys]
loss = { unit = \"none\", kind = \"gauge\", label = false }
region = { label = false }
step_ms = { unit = \"milliseconds\" }
tenant = { label = false }
[catalog.events]
\"train-end\" = { measurements = [], metadata = [] }
\"train.step\" = { measurements = [\"duration\", \"loss\", \"step_ms\"], metadata = [\"loss\", \"region\", \"tenant\", \"tool\"] }
";
        assert_eq!((text.as_str(), left_out), (expected, 0));
        let config = Config::parse(&format!("[catalog]\nmode = \"enforce\"\n{text}"), "t.toml");
        let catalog = config.expect("it is taken").catalog;
        assert!(catalog.by_wire_name("train.step").is_some());
        let bucketed = "[catalog.keys]\nduration = { buckets = [1.5] }\nwait_ms = { unit = \"milliseconds\", buckets = [1.0,20.0] }\n";
        let config = Config::parse(bucketed, "t.toml").expect("allowed");
        let written = toml(&Book::of(&config.catalog)).0;
        assert_eq!(
            written, "[catalog.keys]\nduration = { buckets = [1.5] }\n",
            "nobody uses the other"
        );
        // What such a manager says of itself is the same again.
        let again = toml(&Book::of(&catalog));
        assert_eq!(again.0, expected);
    }

    #[test]
    fn what_finds_no_room_is_what_came_least_often() {
        let key = |n: u64| json!([{ "key": format!("k{n}"), "unit": "none", "kind": "gauge" }]);
        let events = (0..300).map(|n| learned(&format!("e{n}"), n, key(n), json!([])));
        let value = json!({ "learned": events.collect::<Value>() });
        let (text, left_out) = toml(&Book { value });
        assert_eq!(left_out, 44);
        assert!(text.contains("\"e299\"") && !text.contains("\"e43\""));
        Config::parse(&text, "t.toml").expect("it is taken");
    }
}
