//! One event: its values, its limits, and what is hidden or cut.

use std::sync::Arc;
use std::time::Duration;

use telemetry_core::{
    ManualClock, Outcome, ValueRef,
    emit::{Fields, Recorder, RecorderConfig, Ties},
    ledger::Reason,
};
use telemetry_proto::telemetry_value::Value as ProtoValue;

use crate::{ALL, drain, recorder};

#[test]
fn an_event_arrives_with_exact_values_and_its_sequence() {
    let recorder = recorder(RecorderConfig::default());
    let site = recorder.callsite("tool.execution.stop").expect("valid");
    for _ in 0..2 {
        let outcome = recorder.record(
            &site,
            &Fields {
                measurements: &[("duration", 42_i64.into()), ("cpu_percent", 0.5.into())],
                metadata: &[("tool", "parse"), ("password", "hunter2")],
                correlation_id: "abc",
                span: None,
                timestamp_ns: None,
            },
        );
        assert_eq!(outcome, Outcome::Accepted);
    }
    let events = drain(&recorder);
    assert_eq!(
        events.iter().map(|e| e.sequence).collect::<Vec<_>>(),
        [1, 2]
    );
    let event = &events[0];
    assert_eq!(event.event_parts, ["tool", "execution", "stop"]);
    let value = |key: &str| event.measurements[key].value.clone();
    assert_eq!(value("duration"), Some(ProtoValue::IntValue(42)));
    assert_eq!(value("cpu_percent"), Some(ProtoValue::FloatValue(0.5)));
    assert_eq!(event.metadata["tool"], "parse");
    assert_eq!(event.metadata["password"], "[redacted]");
    assert_eq!(event.timestamp_ns, 1_700_000_000_000_000_000);
    assert_eq!(event.correlation_id, "abc");
    assert_eq!(event.sampling_rate, None);
}

#[test]
fn what_breaks_a_limit_is_dropped_under_its_reason() {
    let recorder = recorder(RecorderConfig::default());
    assert!(recorder.callsite("no spaces allowed").is_err());
    let site = recorder.callsite("a.b").expect("valid");
    let measured = |value: ValueRef<'_>| {
        recorder.record(
            &site,
            &Fields {
                measurements: &[("count", value)],
                ..Fields::default()
            },
        )
    };
    assert_eq!(
        measured(f64::NAN.into()),
        Outcome::Dropped(Reason::InvalidValue)
    );
    assert_eq!(
        measured(f64::INFINITY.into()),
        Outcome::Dropped(Reason::InvalidValue)
    );
    let many = [("count", ValueRef::Int(1)); 33];
    let outcome = recorder.record(
        &site,
        &Fields {
            measurements: &many,
            ..Fields::default()
        },
    );
    assert_eq!(outcome, Outcome::Dropped(Reason::TooManyFields));
    drop(recorder.draft(&site, Ties::of_id(""), None));

    let snapshot = recorder.snapshot();
    assert_eq!(snapshot.check(), Ok(()));
    assert_eq!(snapshot.emitted, 5);
    for (reason, count) in [
        (Reason::InvalidName, 1),
        (Reason::InvalidValue, 2),
        (Reason::TooManyFields, 1),
        (Reason::InternalError, 1),
    ] {
        assert_eq!(snapshot.dropped.get(reason), count, "{reason}");
    }
    assert!(drain(&recorder).is_empty());
}

#[test]
fn an_event_beyond_its_size_limit_is_dropped_as_oversize() {
    let mut config = RecorderConfig::default();
    config.limits.event_bytes = 100;
    let recorder = recorder(config);
    let site = recorder.callsite("a").expect("valid");
    let text = "x".repeat(200);
    let outcome = recorder.record(
        &site,
        &Fields {
            metadata: &[("tool", &text)],
            ..Fields::default()
        },
    );
    assert_eq!(outcome, Outcome::Dropped(Reason::Oversize));
    assert_eq!(recorder.snapshot().check(), Ok(()));
}

#[test]
fn a_long_value_is_cut_on_a_char_boundary_and_noted() {
    let recorder = recorder(RecorderConfig::default());
    let site = recorder.callsite("a").expect("valid");
    let text = "ä".repeat(1_000);
    let fields = Fields {
        metadata: &[("tool", text.as_str())],
        ..Fields::default()
    };
    assert_eq!(recorder.record(&site, &fields), Outcome::Accepted);
    let events = drain(&recorder);
    let kept = &events[0].metadata["tool"];
    assert!(kept.len() <= 1_024 && text.starts_with(kept.as_str()) && kept.len() > 1_000);
    assert_eq!(
        recorder
            .snapshot()
            .notes
            .get(telemetry_core::ledger::Note::Truncated),
        1
    );
}

#[test]
fn a_secret_is_hidden_however_long_its_key_and_whatever_carries_it() {
    let recorder = recorder(RecorderConfig::default());
    let site = recorder.callsite("a").expect("valid");
    let long = format!("{}_password", "x".repeat(64));
    let fields = Fields {
        measurements: &[("token", "canary".into()), ("password", 7_i64.into())],
        metadata: &[(&long, "canary")],
        ..Fields::default()
    };
    assert_eq!(recorder.record(&site, &fields), Outcome::Accepted);
    let mut bytes = Vec::new();
    recorder.drain_frames(&mut bytes, ALL);
    assert!(!bytes.windows(6).any(|window| window == b"canary"));
    let notes = recorder.snapshot().notes;
    assert_eq!(notes.get(telemetry_core::ledger::Note::Redacted), 2);
}

#[test]
fn a_dropped_event_notes_the_same_whole_or_field_by_field() {
    let measurements = [("password", "x".into()), ("count", f64::NAN.into())];
    let whole = recorder(RecorderConfig::default());
    let site = whole.callsite("a.b").expect("valid");
    let fields = Fields {
        measurements: &measurements,
        metadata: &[("password", "hunter2")],
        ..Fields::default()
    };
    let outcome = whole.record(&site, &fields);
    assert_eq!(outcome, Outcome::Dropped(Reason::InvalidValue));

    let piecewise = recorder(RecorderConfig::default());
    let site = piecewise.callsite("a.b").expect("valid");
    let mut draft = piecewise.draft(&site, Ties::of_id(""), None).expect("kept");
    for (key, value) in measurements {
        draft.measurement(key, value);
    }
    draft.metadata("password", "hunter2");
    assert_eq!(draft.commit(), outcome);

    assert_eq!(piecewise.snapshot(), whole.snapshot());
    assert_eq!(
        whole
            .snapshot()
            .notes
            .get(telemetry_core::ledger::Note::Redacted),
        1
    );
}

#[test]
fn an_event_is_stamped_when_it_begins_unless_its_time_is_given() {
    let clock = Arc::new(ManualClock::new(1_000));
    let recorder = Recorder::new(RecorderConfig::default(), clock.clone()).expect("a policy");
    let site = recorder.callsite("a.b").expect("valid");
    let now = recorder.draft(&site, Ties::of_id(""), None).expect("kept");
    clock.advance(Duration::from_nanos(5));
    assert_eq!(now.commit(), Outcome::Accepted);
    let given = recorder
        .draft(&site, Ties::of_id(""), Some(-7))
        .expect("kept");
    assert_eq!(given.commit(), Outcome::Accepted);
    let times = drain(&recorder).into_iter().map(|event| event.timestamp_ns);
    assert_eq!(times.collect::<Vec<_>>(), [1_000, -7]);
}

#[test]
fn the_largest_event_that_is_accepted_can_be_read_with_its_sequence() {
    let recorder = recorder(RecorderConfig::default());
    let site = recorder.callsite("a").expect("valid");
    let full = "x".repeat(1_024);
    let keys: Vec<_> = (0..64).map(|n| format!("{n:064}")).collect();
    for last in 600..=800 {
        let mut draft = recorder.draft(&site, Ties::of_id(""), None).expect("kept");
        for key in &keys[..32] {
            draft.measurement(key, full.as_str().into());
        }
        for key in &keys[32..59] {
            draft.metadata(key, &full);
        }
        draft.metadata(&keys[59], &full[..last]);
        if draft.commit() == Outcome::Dropped(Reason::Oversize) {
            assert!(last > 600, "the limit lies within the range that was tried");
            return;
        }
        let mut bytes = Vec::new();
        recorder.drain_frames(&mut bytes, ALL);
        telemetry_core::wire::decode_event(
            &bytes[5..],
            &telemetry_core::wire::DecodeLimits::default(),
        )
        .unwrap_or_else(|error| panic!("{error}"));
    }
    panic!("the limit lies within the range that was tried");
}
