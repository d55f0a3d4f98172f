//! What handlers read from an event, and who wins when two say different things.

use super::*;
use crate::table::Catalog;
use crate::value::Value;

fn worker() -> Source {
    Source {
        node: "node-a".into(),
        pool_name: Some("gpu".into()),
        worker_id: Some("w1".into()),
        python_pid: Some(41),
        origin: EventOrigin::Live,
    }
}

/// An event with these claims, seen by a manager that knows `source`.
fn with<R>(source: &Source, metadata: &[(&str, &str)], check: impl FnOnce(EventRef<'_>) -> R) -> R {
    check(EventRef::new(EventParts {
        spec: Catalog::builtin()
            .by_wire_name("tool.execution.stop")
            .unwrap(),
        measurements: &[
            ("duration", ValueRef::Int(1_500)),
            ("count", ValueRef::Int(1)),
        ],
        metadata,
        timestamp_ns: 1_700_000_000_000_000_000,
        correlation_id: "c-1",
        sampling_rate: 0.5,
        span: None,
        source,
    }))
}

fn pairs(event: &EventRef<'_>) -> Vec<(String, String)> {
    event
        .metadata_iter()
        .map(|(key, value)| (key.to_owned(), value.to_string()))
        .collect()
}

fn strings(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

#[test]
fn handlers_see_the_event() {
    with(&worker(), &[("tool", "search")], |event| {
        assert_eq!(event.name(), "snakepit.python.tool.execution.stop");
        assert_eq!(event.spec().id, event.id());
        assert_eq!(event.measurement("duration"), Some(ValueRef::Int(1_500)));
        assert_eq!(event.measurement("bytes"), None);
        assert_eq!(event.measurements().len(), 2);
        assert_eq!(event.metadata("tool").as_deref(), Some("search"));
        assert_eq!(event.metadata("model"), None);
        assert_eq!(event.correlation_id(), "c-1");
        assert_eq!(event.source().worker_id.as_deref(), Some("w1"));
    });
}

#[test]
fn what_the_manager_knows_overrides_what_the_worker_claims() {
    let claims = [
        ("node", "forged"),
        ("pool_name", "forged"),
        ("tool", "search"),
        ("worker_id", "forged"),
        ("python_pid", "1"),
        ("timestamp_ns", "1"),
        ("correlation_id", "forged"),
    ];
    with(&worker(), &claims, |event| {
        let expected = strings(&[
            ("node", "node-a"),
            ("pool_name", "gpu"),
            ("worker_id", "w1"),
            ("python_pid", "41"),
            ("timestamp_ns", "1700000000000000000"),
            ("correlation_id", "c-1"),
            ("tool", "search"),
        ]);
        assert_eq!(pairs(&event), expected);
        for (key, value) in expected {
            assert_eq!(event.metadata(&key).as_deref(), Some(value.as_str()));
        }
    });
}

#[test]
fn what_the_manager_does_not_know_overrides_nothing() {
    let claims = [
        ("pool_name", "theirs"),
        ("worker_id", "w9"),
        ("python_pid", "77"),
        ("timestamp_ns", "5"),
        ("correlation_id", "theirs"),
    ];
    let nobody = Source::of_node("");
    let spec = Catalog::builtin()
        .by_wire_name("tool.execution.stop")
        .unwrap();
    let event = EventRef::new(EventParts {
        spec,
        measurements: &[],
        metadata: &claims,
        timestamp_ns: 0,
        correlation_id: "",
        sampling_rate: 1.0,
        span: None,
        source: &nobody,
    });
    assert_eq!(pairs(&event), strings(&claims));
    assert_eq!(event.metadata("python_pid").as_deref(), Some("77"));
    assert_eq!(event.correlation_id(), "theirs");
    assert_eq!(event.metadata("node"), None);
}

#[test]
fn absent_everywhere_is_absent() {
    with(&Source::of_node("n"), &[], |event| {
        assert_eq!(event.metadata("worker_id"), None);
        assert_eq!(event.metadata("pool_name"), None);
        assert_eq!(event.metadata("python_pid"), None);
        assert_eq!(
            event.metadata_iter().count(),
            3,
            "node, timestamp_ns, correlation_id"
        );
    });
}

#[test]
fn any_number_fits_its_text() {
    for number in [i64::MIN, -1, 0, i64::MAX] {
        assert_eq!(metadata::number(number).as_str(), number.to_string());
    }
}

#[test]
fn owning_an_event_keeps_what_handlers_saw() {
    let owned = with(&worker(), &[("tool", "search")], |event| {
        let owned = event.to_owned();
        assert_eq!(owned.metadata, pairs(&event));
        owned
    });
    assert_eq!(owned.name(), "snakepit.python.tool.execution.stop");
    assert_eq!(
        owned.measurements[0],
        ("duration".to_owned(), Value::Int(1_500))
    );
    assert_eq!(owned.metadata("worker_id"), Some("w1"));
    assert_eq!(owned.measurement("count"), Some(ValueRef::Int(1)));
    assert_eq!(owned.sampling_rate, 0.5);
}

#[test]
fn the_view_is_copied_freely() {
    fn is_copy<T: Copy + Send + Sync>() {}
    is_copy::<EventRef<'_>>();
    // Some handlers keep it in a register or two; it must not grow to hold text.
    assert!(size_of::<EventRef<'_>>() <= 96);
}

#[test]
fn the_view_and_its_copy_are_the_same_json() {
    let json = with(&Source::of_node("n"), &[("tool", "search")], |event| {
        let json = serde_json::to_string(&event).unwrap();
        assert_eq!(json, serde_json::to_string(&event.to_owned()).unwrap());
        json
    });
    let expected = concat!(
        r#"{"name":"snakepit.python.tool.execution.stop","#,
        r#""measurements":{"duration":1500,"count":1},"#,
        r#""metadata":{"node":"n","timestamp_ns":"1700000000000000000","#,
        r#""correlation_id":"c-1","tool":"search"},"#,
        r#""timestamp_ns":1700000000000000000,"correlation_id":"c-1","sampling_rate":0.5}"#,
    );
    assert_eq!(json, expected);
}

#[test]
fn texts_are_the_same_only_if_every_byte_is() {
    for len in 0..40 {
        let text = "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz"[..len].to_owned();
        assert!(is_same_text(&text, &text.clone()));
        assert!(is_same_text(&text, &text));
        for place in 0..len {
            let mut other = text.clone();
            other.replace_range(place..=place, "!");
            assert!(!is_same_text(&text, &other), "{text} {other}");
            assert!(!is_same_text(&text, &text[..place]));
        }
    }
}
