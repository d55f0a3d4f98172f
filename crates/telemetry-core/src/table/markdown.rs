//! The catalog as a Markdown document, from which `docs/events.md` is generated.
//!
//! Text in, text out: the file is written elsewhere. The same catalog always gives the same text,
//! so that a check can compare.

use std::fmt::Write;

use super::{Catalog, EventSpec, KeyId, KeySpec, MetricKind, Unit};

/// The whole document.
pub(super) fn render(catalog: &Catalog) -> String {
    let mut out = String::with_capacity(32 * 1024);
    // Writing to a String cannot fail.
    let _ = write_document(&mut out, catalog);
    out
}

fn write_document(out: &mut String, catalog: &Catalog) -> std::fmt::Result {
    out.push_str(INTRODUCTION);
    for group in groups(catalog) {
        writeln!(out, "\n### {group}\n")?;
        out.push_str("| event | wire name | origin | measurements | metadata | rate | when |\n");
        out.push_str("|---|---|---|---|---|---|---|\n");
        for event in catalog
            .events()
            .iter()
            .filter(|event| group_of(event) == group)
        {
            write_event(out, catalog, event)?;
        }
    }
    out.push_str("\n## Measurement keys\n\n| key | unit | shown as |\n|---|---|---|\n");
    for key in catalog.measurement_keys() {
        let shown = if key.kind == MetricKind::None {
            ""
        } else {
            key.kind.as_str()
        };
        writeln!(
            out,
            "| `{}` | {} | {shown} |",
            key.name,
            unit_words(key.unit)
        )?;
    }
    out.push_str("\n## Metadata keys\n\n| key | unit | may be a label |\n|---|---|---|\n");
    for key in catalog.metadata_keys() {
        let label = if key.label { "yes" } else { "no" };
        writeln!(
            out,
            "| `{}` | {} | {label} |",
            key.name,
            unit_words(key.unit)
        )?;
    }
    Ok(())
}

const INTRODUCTION: &str = "\
# Events

Every event and key the manager knows. Handlers see the *event* name; workers send the *wire name*,
and an event without one cannot be sent by a worker. Besides the metadata listed, an event carries
`node`, `pool_name`, `worker_id` and `python_pid` where they are known, `timestamp_ns`, and
`correlation_id` where there is one.

A worker may send others, under names of its own; what becomes of them is in
[operations](operations.md#events-of-your-own).

Origin: a *worker* process, the *manager*, the *host* program that embeds the manager, or the
*dispatcher* of events itself. What is shown as a counter is a gauge in a `….sampled` event.

## Events by group
";

fn write_event(out: &mut String, catalog: &Catalog, event: &EventSpec) -> std::fmt::Result {
    write!(out, "| `{}` | ", event.name)?;
    if let Some(wire_name) = &event.wire_name {
        write!(out, "`{wire_name}`")?;
    }
    write!(out, " | {} | ", event.origin)?;
    write_keys(out, &event.measurements, catalog.measurement_keys())?;
    out.push_str(" | ");
    write_keys(out, &event.metadata, catalog.metadata_keys())?;
    writeln!(
        out,
        " | {} | {} |",
        event.rate,
        event.doc.replace('|', "\\|")
    )
}

/// `duration` (ns), `count`: keys with the symbol of their unit.
fn write_keys(out: &mut String, ids: &[KeyId], table: &[KeySpec]) -> std::fmt::Result {
    let keys = ids.iter().filter_map(|id| table.get(id.index()));
    for (position, key) in keys.enumerate() {
        let separator = if position == 0 { "" } else { ", " };
        write!(out, "{separator}`{}`", key.name)?;
        if let Some(symbol) = unit_symbol(key.unit) {
            write!(out, " ({symbol})")?;
        }
    }
    Ok(())
}

/// The first segments of the events' paths, in order of first use.
fn groups(catalog: &Catalog) -> Vec<&str> {
    let mut groups = Vec::new();
    for event in catalog.events() {
        let group = group_of(event);
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    groups
}

fn group_of(event: &EventSpec) -> &str {
    event.path().split('.').next().unwrap_or_default()
}

fn unit_symbol(unit: Unit) -> Option<&'static str> {
    match unit {
        Unit::Nanoseconds => Some("ns"),
        Unit::Milliseconds => Some("ms"),
        Unit::Seconds => Some("s"),
        Unit::Bytes => Some("B"),
        Unit::Percent => Some("%"),
        Unit::Celsius => Some("°C"),
        Unit::Watts => Some("W"),
        Unit::UnixNanoseconds => Some("Unix ns"),
        Unit::Ratio | Unit::Count | Unit::None => None,
    }
}

fn unit_words(unit: Unit) -> &'static str {
    match unit {
        Unit::Nanoseconds => "nanoseconds",
        Unit::Milliseconds => "milliseconds",
        Unit::Seconds => "seconds",
        Unit::Bytes => "bytes",
        Unit::Count => "count",
        Unit::Percent => "percent",
        Unit::Ratio => "ratio",
        Unit::Celsius => "°C",
        Unit::Watts => "watts",
        Unit::UnixNanoseconds => "nanoseconds since the Unix epoch",
        Unit::None => "",
    }
}
