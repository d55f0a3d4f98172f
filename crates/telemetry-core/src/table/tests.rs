//! The catalog's facts: what is built in is complete and consistent, look-ups find it, and nothing
//! a worker sends can reach what only others may emit.

use std::collections::HashSet;

use super::builtin::EVENTS;
use super::*;
use crate::name::EventName;

/// What the workers of the first peer send.
const STOCK_WIRE_NAMES: [(&str, &str); 11] = [
    ("python.call.start", "snakepit.python.call.start"),
    ("python.call.stop", "snakepit.python.call.stop"),
    ("python.call.exception", "snakepit.python.call.exception"),
    ("python.memory.sampled", "snakepit.python.memory.sampled"),
    ("python.cpu.sampled", "snakepit.python.cpu.sampled"),
    ("python.gc.completed", "snakepit.python.gc.completed"),
    ("python.error.occurred", "snakepit.python.error.occurred"),
    (
        "tool.execution.start",
        "snakepit.python.tool.execution.start",
    ),
    ("tool.execution.stop", "snakepit.python.tool.execution.stop"),
    (
        "tool.execution.exception",
        "snakepit.python.tool.execution.exception",
    ),
    ("tool.result_size", "snakepit.python.tool.result_size"),
];

fn name_by_wire(catalog: &Catalog, wire_name: &str) -> Option<String> {
    catalog
        .by_wire_name(wire_name)
        .map(|event| event.name.to_string())
}

#[test]
fn built_in_tables_are_complete() {
    let catalog = Catalog::builtin();
    assert_eq!(catalog.events().len(), 104);
    assert_eq!(catalog.measurement_keys().len(), 37);
    assert_eq!(catalog.metadata_keys().len(), 62);
    let of = |origin| {
        catalog
            .events()
            .iter()
            .filter(|event| event.origin == origin)
            .count()
    };
    assert_eq!(of(Origin::Worker), 34);
    assert_eq!(of(Origin::Manager), 20);
    assert_eq!(of(Origin::Host), 49);
    assert_eq!(of(Origin::Dispatcher), 1);
}

#[test]
fn built_in_tables_pass_the_checks_of_the_builder() {
    Catalog::builder().build().unwrap();
}

#[test]
fn every_key_a_built_in_event_uses_exists() {
    let catalog = Catalog::builtin();
    for (row, event) in EVENTS.iter().zip(catalog.events()) {
        assert_eq!(
            row.measurements.len(),
            event.measurements.len(),
            "{}",
            event.name
        );
        assert_eq!(row.metadata.len(), event.metadata.len(), "{}", event.name);
    }
}

#[test]
fn names_and_wire_names_are_unique_and_well_formed() {
    let mut names = HashSet::new();
    let mut wire_names = HashSet::new();
    for event in Catalog::builtin().events() {
        EventName::new(&event.name).unwrap();
        assert!(names.insert(&event.name), "{} twice", event.name);
        if let Some(wire_name) = &event.wire_name {
            EventName::new(wire_name).unwrap();
            assert!(wire_names.insert(wire_name), "{wire_name} twice");
        }
    }
}

#[test]
fn ids_are_indexes() {
    let catalog = Catalog::builtin();
    for (index, event) in catalog.events().iter().enumerate() {
        assert_eq!(event.id.index(), index);
        assert!(std::ptr::eq(catalog.get(event.id).unwrap(), event));
        assert!(std::ptr::eq(catalog.by_name(&event.name).unwrap(), event));
    }
    assert_eq!(catalog.get(EventId(u16::MAX)), None);
}

#[test]
fn stock_wire_names_resolve() {
    for (wire_name, name) in STOCK_WIRE_NAMES {
        assert_eq!(
            name_by_wire(Catalog::builtin(), wire_name).as_deref(),
            Some(name)
        );
    }
}

#[test]
fn only_what_a_worker_may_send_has_a_wire_name() {
    let catalog = Catalog::builtin();
    for event in catalog.events() {
        assert_eq!(
            event.wire_name.is_some(),
            event.origin == Origin::Worker,
            "{}",
            event.name
        );
    }
    for not_theirs in [
        "pool.status",
        "snakepit.pool.status",
        "telemetry.handler.failure",
    ] {
        assert_eq!(catalog.by_wire_name(not_theirs), None);
        assert_eq!(catalog.by_encoded(&encode_event_parts(not_theirs)), None);
    }
    assert!(catalog.by_name("snakepit.pool.status").is_some());
}

#[test]
fn worker_events_outside_python_keep_their_place() {
    let catalog = Catalog::builtin();
    let check = |wire_name, name: &str| {
        assert_eq!(name_by_wire(catalog, wire_name).as_deref(), Some(name));
    };
    check("error.oom", "snakepit.error.oom");
    check("gpu.memory.sampled", "snakepit.gpu.memory.sampled");
}

#[test]
fn only_the_dispatchers_own_event_has_no_prefix() {
    for event in Catalog::builtin().events() {
        let prefixed = event.name.starts_with(NAME_PREFIX);
        assert_eq!(
            prefixed,
            event.origin != Origin::Dispatcher,
            "{}",
            event.name
        );
    }
}

#[test]
fn encoded_parts_find_the_event() {
    let catalog = Catalog::builtin();
    let found = catalog
        .by_encoded(b"\x0A\x04tool\x0A\x09execution\x0A\x04stop")
        .unwrap();
    assert_eq!(&*found.name, "snakepit.python.tool.execution.stop");
    for event in catalog.events() {
        let Some(wire_name) = &event.wire_name else {
            continue;
        };
        assert_eq!(
            catalog.by_encoded(&encode_event_parts(wire_name)),
            Some(event)
        );
    }
}

#[test]
fn encoded_parts_must_match_whole() {
    let catalog = Catalog::builtin();
    for other in [
        &b""[..],
        b"\x0A\x04tool",
        b"\x0A\x04tool\x0A\x09execution\x0A\x04sto",
        b"\x0A\x13tool.execution.stop",
        b"\xFF\xFF\xFF",
    ] {
        assert_eq!(catalog.by_encoded(other), None);
    }
}

#[test]
fn measurements_know_their_unit_and_kind() {
    let check = |key: &str, unit, kind| {
        let spec = Catalog::builtin().measurement_key(key).unwrap();
        assert_eq!(
            (spec.unit, spec.kind, spec.label),
            (unit, kind, false),
            "{key}"
        );
    };
    check("duration", Unit::Nanoseconds, MetricKind::Histogram);
    check("latency_ms", Unit::Milliseconds, MetricKind::Histogram);
    check("rss_bytes", Unit::Bytes, MetricKind::Gauge);
    check("bytes", Unit::Bytes, MetricKind::Counter);
    check("queue_depth", Unit::Count, MetricKind::Gauge);
    check("count", Unit::Count, MetricKind::Counter);
    check("system_time", Unit::UnixNanoseconds, MetricKind::None);
    check("python_pid", Unit::None, MetricKind::None);
}

#[test]
fn a_sampled_amount_is_a_gauge() {
    let catalog = Catalog::builtin();
    let check = |wire_name, kind| {
        let bytes = catalog.measurement_key("bytes").unwrap();
        assert_eq!(
            catalog.by_wire_name(wire_name).unwrap().metric_kind(bytes),
            kind
        );
    };
    check("gpu.memory.sampled", MetricKind::Gauge);
    check("tool.result_size", MetricKind::Counter);
}

#[test]
fn unbounded_keys_are_no_labels() {
    let catalog = Catalog::builtin();
    for key in catalog.metadata_keys() {
        let unbounded = [
            "_id",
            "_pid",
            "_port",
            "message",
            "traceback",
            "_ns",
            "shape",
        ];
        let by_nature = unbounded.iter().any(|ending| key.name.ends_with(ending));
        assert!(!(by_nature && key.label), "{} must be no label", key.name);
        assert_eq!(key.kind, MetricKind::None, "{}", key.name);
    }
    for label in [
        "tool",
        "operation",
        "error_type",
        "grpc_status",
        "device",
        "pool_name",
    ] {
        assert!(
            catalog.metadata_key(label).unwrap().label,
            "{label} may be a label"
        );
    }
}

#[test]
fn suggestions_are_near_or_absent() {
    let check = |given, meant: Option<&str>| {
        assert_eq!(Catalog::builtin().suggest(given), meant, "{given}");
    };
    check("tool.execution.stopp", Some("tool.execution.stop"));
    check("tool.execuiton.stop", Some("tool.execution.stop"));
    check("tool.result-size", Some("tool.result_size"));
    // The habits of newcomers: the full name, and the path.
    check(
        "snakepit.python.tool.execution.stop",
        Some("tool.execution.stop"),
    );
    check("python.tool.execution.stop", Some("tool.execution.stop"));
    check("snakepit.error.oom", Some("error.oom"));
    // Nothing a worker may send is near.
    check("pool.status", None);
    check("completely.different", None);
    check("", None);
    check("x", None);
    check(&"tool.execution.stop".repeat(10), None);
}

#[test]
fn the_built_in_catalog_is_one_and_frozen() {
    fn shareable<T: Send + Sync>(_: &T) {}
    let first = Catalog::builtin();
    shareable(first);
    let extended = Catalog::builder().event("mine", &[], &[]).build().unwrap();
    assert!(extended.by_wire_name("mine").is_some());
    assert!(std::ptr::eq(first, Catalog::builtin()));
    assert_eq!(first.by_wire_name("mine"), None);
}

#[test]
fn the_document_has_a_row_for_every_event_and_key() {
    let catalog = Catalog::builder()
        .metadata_key("tenant", Label::Yes)
        .span("inference", &[], &["tenant"])
        .build()
        .unwrap();
    let document = catalog.to_markdown();
    let rows = |name: &str| {
        let cell = format!("| `{name}` | ");
        document
            .lines()
            .filter(|line| line.starts_with(&cell))
            .count()
    };
    for event in catalog.events() {
        assert_eq!(rows(&event.name), 1, "{}", event.name);
    }
    for key in catalog
        .measurement_keys()
        .iter()
        .chain(catalog.metadata_keys())
    {
        let both = catalog
            .measurement_key(&key.name)
            .and(catalog.metadata_key(&key.name));
        assert_eq!(
            rows(&key.name),
            1 + usize::from(both.is_some()),
            "{}",
            key.name
        );
    }
    for row in [
        "| `snakepit.python.tool.execution.stop` | `tool.execution.stop` | worker \
         | `duration` (ns), `count` | `tool`, `operation`, `model` | high | A tool returned. |",
        "| `snakepit.pool.status` |  | manager | `available_workers`, `busy_workers`, \
         `queue_depth`, `total_workers` |  | low | The state of a pool, at a fixed interval. |",
        "| `rss_bytes` | bytes | gauge |",
        "| `timeout_ms` | milliseconds | no |",
    ] {
        assert!(document.lines().any(|line| line == row), "no row {row}");
    }
    assert_eq!(document, catalog.to_markdown());
}
