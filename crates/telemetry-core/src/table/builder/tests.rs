//! What a user may add to the catalog, and how what may not be added is refused.

use super::*;

fn check_refused(builder: CatalogBuilder, says: &str) {
    let message = builder.build().unwrap_err().to_string();
    assert!(message.contains(says), "{message:?} does not say {says:?}");
}

#[test]
fn user_events_are_dispatched_under_python() {
    let catalog = Catalog::builder()
        .event("inference.stop", &["duration"], &["model"])
        .event("python.warmup", &[], &[])
        .build()
        .unwrap();
    let check = |wire_name: &str, name: &str| {
        let event = catalog.by_wire_name(wire_name).unwrap();
        assert_eq!((&*event.name, event.origin), (name, Origin::Worker));
        assert_eq!(
            catalog.by_encoded(&super::super::encode_event_parts(wire_name)),
            Some(event)
        );
    };
    check("inference.stop", "snakepit.python.inference.stop");
    check("python.warmup", "snakepit.python.warmup");
}

#[test]
fn spans_become_three_events() {
    let catalog = Catalog::builder()
        .measurement_key("tokens", Unit::Count)
        .span("inference", &["tokens"], &["model"])
        .build()
        .unwrap();
    let check = |wire_name: &str, measurements: &[&str], metadata: &[&str]| {
        let event = catalog.by_wire_name(wire_name).unwrap();
        let names = |ids: &[super::super::KeyId], table: &[super::super::KeySpec]| {
            ids.iter()
                .map(|id| table[id.index()].name.to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            names(&event.measurements, catalog.measurement_keys()),
            measurements
        );
        assert_eq!(names(&event.metadata, catalog.metadata_keys()), metadata);
    };
    check(
        "inference.start",
        &["system_time"],
        &["correlation_id", "model"],
    );
    check(
        "inference.stop",
        &["duration", "tokens"],
        &["correlation_id", "model"],
    );
    check(
        "inference.exception",
        &["duration", "tokens"],
        &["correlation_id", "model", "error_type", "error_message"],
    );
}

#[test]
fn user_keys_follow_their_unit_unless_told() {
    let catalog = Catalog::builder()
        .measurement_key("tokens", Unit::Count)
        .measurement_key("think_time", Unit::Nanoseconds)
        .measurement_key_as("kv_cache_used", Unit::Bytes, MetricKind::Gauge)
        .metadata_key("tenant", Label::Yes)
        .metadata_key("prompt", Label::No)
        .build()
        .unwrap();
    let kind = |key| catalog.measurement_key(key).unwrap().kind;
    assert_eq!(kind("tokens"), MetricKind::Counter);
    assert_eq!(kind("think_time"), MetricKind::Histogram);
    assert_eq!(kind("kv_cache_used"), MetricKind::Gauge);
    assert!(catalog.metadata_key("tenant").unwrap().label);
    assert!(!catalog.metadata_key("prompt").unwrap().label);
}

#[test]
fn built_in_ids_do_not_move() {
    let extended = Catalog::builder()
        .span("inference", &[], &[])
        .build()
        .unwrap();
    for (ours, theirs) in Catalog::builtin().events().iter().zip(extended.events()) {
        assert_eq!(ours, theirs);
    }
}

#[test]
fn a_name_that_is_none_is_refused() {
    for name in ["", "a..b", "sp ace", "näme", "1.2.3.4.5.6.7.8.9"] {
        let error = Catalog::builder()
            .event(name, &[], &[])
            .build()
            .unwrap_err();
        assert!(
            matches!(error, CatalogError::InvalidName { .. }),
            "{name:?}: {error}"
        );
    }
}

#[test]
fn built_in_events_cannot_be_shadowed() {
    let check = |name: &str, builtin: &str| {
        let error = Catalog::builder()
            .event(name, &[], &[])
            .build()
            .unwrap_err();
        let (name, builtin) = (name.to_owned(), builtin.to_owned());
        assert_eq!(error, CatalogError::ShadowsBuiltin { name, builtin });
    };
    // The same wire name, the same event name, and a name that workers may not send.
    check("tool.execution.stop", "snakepit.python.tool.execution.stop");
    check("call.stop", "snakepit.python.call.stop");
    check("pool.status", "snakepit.pool.status");
}

#[test]
fn an_event_is_added_once() {
    check_refused(
        Catalog::builder()
            .event("mine", &[], &[])
            .event("mine", &[], &[]),
        "event \"mine\" is added twice",
    );
    check_refused(
        Catalog::builder()
            .event("mine", &[], &[])
            .event("python.mine", &[], &[]),
        "event \"python.mine\" is added twice",
    );
    check_refused(
        Catalog::builder()
            .span("mine", &[], &[])
            .event("mine.stop", &[], &[]),
        "event \"mine.stop\" is added twice",
    );
}

#[test]
fn a_key_is_added_once() {
    check_refused(
        Catalog::builder().measurement_key("duration", Unit::Nanoseconds),
        "measurement key \"duration\" exists already",
    );
    check_refused(
        Catalog::builder()
            .metadata_key("mine", Label::No)
            .metadata_key("mine", Label::Yes),
        "metadata key \"mine\" exists already",
    );
    // The tables are apart.
    Catalog::builder()
        .metadata_key("duration", Label::No)
        .build()
        .unwrap();
}

#[test]
fn a_key_must_be_usable_as_a_label() {
    for key in [
        "",
        "a.b",
        "a-b",
        "9a",
        "__a",
        "le",
        "quantile",
        "ä",
        &"k".repeat(65),
    ] {
        let error = Catalog::builder()
            .metadata_key(key, Label::Yes)
            .build()
            .unwrap_err();
        assert!(
            matches!(error, CatalogError::InvalidKey { .. }),
            "{key:?}: {error}"
        );
    }
    Catalog::builder()
        .metadata_key(&"k".repeat(64), Label::Yes)
        .build()
        .unwrap();
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_one() {
    check_refused(
        Catalog::builder().event("mine", &["duraton"], &[]),
        "unknown measurement key \"duraton\" (did you mean \"duration\"?)",
    );
    check_refused(
        Catalog::builder().event("mine", &[], &["zzzzzz"]),
        "unknown metadata key \"zzzzzz\"; add it",
    );
}

#[test]
fn user_events_are_limited() {
    let add = |builder: CatalogBuilder, n: usize| builder.event(&format!("e{n}"), &[], &[]);
    let full = (0..MAX_USER_EVENTS).fold(Catalog::builder(), add);
    let catalog = full.clone().build().unwrap();
    assert_eq!(catalog.events().len(), EVENTS.len() + MAX_USER_EVENTS);
    let error = full.event("one_more", &[], &[]).build().unwrap_err();
    assert_eq!(
        error,
        CatalogError::TooManyEvents {
            count: MAX_USER_EVENTS + 1
        }
    );
}

#[test]
fn user_keys_are_limited_together() {
    let add = |builder: CatalogBuilder, n: usize| {
        builder
            .metadata_key(&format!("k{n}"), Label::No)
            .measurement_key(&format!("k{n}"), Unit::Count)
    };
    let full = (0..MAX_USER_KEYS / 2).fold(Catalog::builder(), add);
    full.clone().build().unwrap();
    let error = full
        .metadata_key("one_more", Label::No)
        .build()
        .unwrap_err();
    assert_eq!(
        error,
        CatalogError::TooManyKeys {
            count: MAX_USER_KEYS + 1
        }
    );
}

#[test]
fn buckets_make_a_histogram_of_a_measurement() {
    let catalog = Catalog::builder()
        .measurement_key("wait", Unit::Count)
        .buckets("wait", &[1.0, 2.5])
        .buckets("duration", &[1e6])
        .build()
        .unwrap();
    let wait = catalog.measurement_key("wait").unwrap();
    assert_eq!(wait.kind, MetricKind::Histogram);
    assert_eq!(wait.buckets.as_deref(), Some(&[1.0, 2.5][..]));
    assert!(
        catalog
            .measurement_key("duration")
            .unwrap()
            .buckets
            .is_some()
    );
    for bounds in [
        &[][..],
        &[0.0],
        &[2.0, 1.0],
        &[1.0, 1.0],
        &[f64::NAN],
        &[f64::INFINITY],
        &[1.0; 33],
    ] {
        let refused = Catalog::builder().buckets("duration", bounds).build();
        let error = refused.unwrap_err().to_string();
        assert!(error.contains("\"duration\""), "{bounds:?}: {error}");
    }
    assert!(Catalog::builder().buckets("tool", &[1.0]).build().is_err());
}
