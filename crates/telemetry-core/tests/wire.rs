//! The hand-written codec against prost: same bytes in, same event out, same verdict on rubbish.

#[path = "wire/near.rs"]
mod near;

use std::collections::HashMap;

use proptest::collection::{hash_map, vec};
use proptest::prelude::*;
use prost::Message;
use telemetry_core::{
    SpanContext, SpanId, ValueRef,
    wire::{
        DecodeError, DecodeLimits, DecodedEvent, EventEncoder, append_sequence, decode_event,
        encode_event_parts,
    },
};
use telemetry_proto::telemetry_value::Value as ProtoValue;
use telemetry_proto::{SpanContext as ProtoSpan, TelemetryEvent, TelemetryValue};

fn value() -> impl Strategy<Value = ProtoValue> {
    prop_oneof![
        any::<i64>().prop_map(ProtoValue::IntValue),
        any::<f64>().prop_map(ProtoValue::FloatValue),
        ".{0,40}".prop_map(ProtoValue::StringValue),
    ]
}

fn event() -> impl Strategy<Value = TelemetryEvent> {
    (
        vec("[a-z_]{1,12}", 1..=8),
        hash_map(".{0,20}", value(), 0..6),
        hash_map(".{0,20}", ".{0,200}", 0..6),
        any::<i64>(),
        ".{0,40}",
        any::<u64>(),
        proptest::option::of(0.0..1.0),
        proptest::option::of(span()),
    )
        .prop_map(
            |(
                event_parts,
                values,
                metadata,
                timestamp_ns,
                correlation_id,
                sequence,
                rate,
                span,
            )| {
                let measurements = values
                    .into_iter()
                    .map(|(key, v)| (key, TelemetryValue { value: Some(v) }));
                TelemetryEvent {
                    event_parts,
                    measurements: measurements.collect(),
                    metadata,
                    timestamp_ns,
                    correlation_id,
                    sequence,
                    sampling_rate: rate,
                    hello: None,
                    report: None,
                    span,
                }
            },
        )
}

/// An identity, now and then one whose ids are none.
fn span() -> impl Strategy<Value = ProtoSpan> {
    let trace_id = prop_oneof![4 => vec(any::<u8>(), 16), 1 => vec(0..1_u8, 0..20)];
    (trace_id, any::<u64>(), any::<u64>(), -1..8).prop_map(
        |(trace_id, span_id, parent_span_id, phase)| ProtoSpan {
            trace_id,
            span_id: if span_id % 7 == 0 { 0 } else { span_id },
            parent_span_id: if parent_span_id % 3 == 0 {
                0
            } else {
                parent_span_id
            },
            phase,
        },
    )
}

fn value_ref(value: &ProtoValue) -> ValueRef<'_> {
    match value {
        ProtoValue::IntValue(int) => ValueRef::Int(*int),
        ProtoValue::FloatValue(float) => ValueRef::Float(*float),
        ProtoValue::StringValue(text) => ValueRef::Str(text),
    }
}

/// Our decoding as a prost message, so that the two can be compared whole.
fn as_prost(decoded: &DecodedEvent<'_>) -> Result<TelemetryEvent, DecodeError> {
    let dotted = decoded.parts.dotted()?;
    let measurements = decoded.values().map(|(key, value)| {
        let value = value.map(|value| match value {
            ValueRef::Int(int) => ProtoValue::IntValue(int),
            ValueRef::Float(float) => ProtoValue::FloatValue(float),
            ValueRef::Str(text) => ProtoValue::StringValue(text.to_owned()),
        });
        (key.to_owned(), TelemetryValue { value })
    });
    Ok(TelemetryEvent {
        event_parts: if decoded.parts.is_empty() {
            Vec::new()
        } else {
            dotted.split('.').map(str::to_owned).collect()
        },
        measurements: measurements.collect(),
        metadata: decoded
            .metadata
            .iter()
            .map(|(k, v)| (str(k), str(v)))
            .collect(),
        timestamp_ns: decoded.timestamp_ns,
        correlation_id: decoded.correlation_id.to_owned(),
        sequence: decoded.sequence,
        sampling_rate: decoded.sampling_rate,
        hello: None,
        report: None,
        span: decoded.span().map(|span| message(&span)),
    })
}

fn message(span: &SpanContext) -> ProtoSpan {
    ProtoSpan {
        trace_id: span.trace_id.to_bytes().to_vec(),
        span_id: span.span_id.get(),
        parent_span_id: span.parent_span_id.map_or(0, SpanId::get),
        phase: span.phase.number().into(),
    }
}

fn str(text: &str) -> String {
    text.to_owned()
}

/// Floats compare by bits, so that NaN equals itself and -0.0 differs from 0.0.
fn by_bits(event: &TelemetryEvent) -> (TelemetryEvent, HashMap<String, u64>) {
    let mut rest = event.clone();
    // Only what is an identity is compared.
    let span = rest.span.as_ref().and_then(SpanContext::from_message);
    rest.span = span.as_ref().map(message);
    let mut floats = HashMap::new();
    for (key, value) in &mut rest.measurements {
        if let Some(ProtoValue::FloatValue(float)) = &mut value.value {
            floats.insert(key.clone(), float.to_bits());
            *float = 0.0;
        }
    }
    if let Some(rate) = &mut rest.sampling_rate {
        floats.insert(String::new(), rate.to_bits());
        *rate = 0.0;
    }
    (rest, floats)
}

/// Bytes that are nearly a message: fields of all numbers and wire types, nested in maps and groups,
/// some of them cut short, repeated or out of place.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let number = prop_oneof![
        4 => 0_u64..6,
        1 => prop::sample::select(vec![1_001_u64, 1_002, 1_003, 1_004, 1_005]),
        1 => prop::sample::select(vec![(1 << 29) - 1, 1 << 29, u64::MAX >> 3]),
    ];
    let scalar = (
        number.clone(),
        prop_oneof![0_u64..200, any::<u64>()],
        0_usize..9,
    )
        .prop_map(|(number, value, shape)| match shape {
            0..3 => [varint(number << 3), varint(value)].concat(),
            3 => [varint(number << 3 | 1), value.to_le_bytes().to_vec()].concat(),
            4 => [varint(number << 3 | 5), value.to_le_bytes()[..4].to_vec()].concat(),
            5 => varint(number << 3 | 4),
            6 => varint(number << 3 | 3),
            7 => [varint(number << 3 | 2), varint(value)].concat(),
            _ => varint(value),
        });
    let text = (
        number.clone(),
        vec(prop_oneof![Just(b'a'), any::<u8>()], 0..4),
    )
        .prop_map(|(number, bytes)| delimited(number, &bytes));
    let double = (number.clone(), any::<[u8; 8]>())
        .prop_map(|(number, bytes)| [varint(number << 3 | 1), bytes.to_vec()].concat());
    prop_oneof![3 => scalar, 3 => text, 1 => double].prop_recursive(4, 24, 6, move |inner| {
        let inner = vec(inner, 0..6).prop_map(|pieces| pieces.concat());
        (number.clone(), inner, 0_u8..8).prop_map(|(number, inner, shape)| match shape {
            0..2 => [varint(number << 3 | 3), inner, varint(number << 3 | 4)].concat(),
            2 => inner,
            _ => delimited(number, &inner),
        })
    })
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    bytes.push(value.to_le_bytes()[0]);
    bytes
}

fn delimited(number: u64, bytes: &[u8]) -> Vec<u8> {
    [
        varint(number << 3 | 2),
        varint(bytes.len() as u64),
        bytes.to_vec(),
    ]
    .concat()
}

/// As many cases as `PROPTEST_CASES` says, for a long run, or else enough for every day.
fn cases() -> ProptestConfig {
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => ProptestConfig::default(),
        None => ProptestConfig::with_cases(2_000),
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn nested_pieces_get_the_verdict_of_prost(pieces in vec(pieces(), 0..8)) {
        same_verdict(&pieces.concat())?;
    }

    #[test]
    fn maps_with_repeated_keys_and_values_are_merged_as_prost_does(
        entries in vec((2_u64..4, vec((0_u64..4, 0_u64..4, 0_usize..5), 0..5)), 0..6),
    ) {
        let bytes: Vec<u8> = entries
            .iter()
            .flat_map(|(map, fields)| {
                let entry: Vec<u8> = fields
                    .iter()
                    .flat_map(|&(number, value, shape)| match shape {
                        0 => delimited(number, &varint(value)),
                        1 => delimited(number, b""),
                        2 => delimited(2, &[varint(0x08), varint(value)].concat()),
                        3 => delimited(2, &delimited(3, b"a")),
                        _ => delimited(1, b"k"),
                    })
                    .collect();
                delimited(*map, &entry)
            })
            .collect();
        same_verdict(&bytes)?;
    }

    #[test]
    fn what_we_encode_prost_decodes_to_the_same_event(event in event()) {
        let mut encoder = EventEncoder::new();
        encoder.start(&encode_event_parts(&event.event_parts.join(".")));
        for (key, value) in &event.measurements {
            encoder.measurement(key, value_ref(value.value.as_ref().expect("always set")));
        }
        for (key, value) in &event.metadata {
            encoder.metadata(key, value);
        }
        let rate = event.sampling_rate.unwrap_or(1.0);
        encoder.finish(event.timestamp_ns, &event.correlation_id, rate);
        if let Some(span) = event.span.as_ref().and_then(SpanContext::from_message) {
            encoder.span(&span);
        }
        let mut bytes = encoder.bytes().to_vec();
        append_sequence(&mut bytes, event.sequence);
        let decoded = TelemetryEvent::decode(&*bytes).expect("prost reads our bytes");
        prop_assert_eq!(by_bits(&decoded), by_bits(&event));
    }

    #[test]
    fn what_prost_encodes_we_decode_to_the_same_event(event in event()) {
        let bytes = event.encode_to_vec();
        let decoded = decode_event(&bytes, &DecodeLimits::default()).expect("valid");
        prop_assert!(decoded.parts.encoded().is_some());
        prop_assert_eq!(by_bits(&as_prost(&decoded).expect("valid")), by_bits(&event));
    }

    #[test]
    fn mutated_bytes_get_the_verdict_of_prost(
        event in event(),
        edits in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = event.encode_to_vec();
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        same_verdict(&bytes)?;
    }

    #[test]
    fn random_bytes_get_the_verdict_of_prost(bytes in vec(any::<u8>(), 0..64)) {
        same_verdict(&bytes)?;
    }
}

fn same_verdict(bytes: &[u8]) -> Result<(), TestCaseError> {
    let ours = decode_event(bytes, &DecodeLimits::default())
        .and_then(|event| as_prost(&event).map(|same| (same, event.hello, event.report)));
    near::known_keys_change_nothing(bytes)?;
    let theirs = TelemetryEvent::decode(bytes);
    match (ours, theirs) {
        // We leave hello and report encoded, and limit what prost does not.
        (Ok((_, Some(_), _) | (_, _, Some(_))) | Err(DecodeError::TooMany { .. }), _)
        | (Err(_), Err(_)) => Ok(()),
        (Ok((ours, None, None)), Ok(theirs)) => {
            // A dot inside a segment is lost in the dotted form, which no valid name has.
            if !theirs
                .event_parts
                .iter()
                .any(|part| part.contains('.') || part.is_empty())
            {
                prop_assert_eq!(by_bits(&ours), by_bits(&theirs));
            }
            Ok(())
        }
        (ours, theirs) => Err(TestCaseError::fail(format!(
            "ours {ours:?}, prost {theirs:?}"
        ))),
    }
}

#[test]
fn rubbish_is_refused_with_its_reason() {
    let check = |bytes: &[u8], expected: DecodeError| {
        let error = decode_event(bytes, &DecodeLimits::default()).expect_err("rubbish");
        assert_eq!(error, expected);
    };
    check(&[0x2a, 2, 0xff, 0xfe], DecodeError::Utf8("correlation_id"));
    check(
        &[0x22, 1, 0],
        DecodeError::WireType {
            field: "timestamp_ns",
            found: 2,
            expected: 0,
        },
    );
    check(&[0x2a, 200], DecodeError::Malformed("event"));
    check(
        &[0x0a, 1, b'a'].repeat(9),
        DecodeError::TooMany {
            field: "event_parts",
            max: 8,
        },
    );
    let entries: Vec<u8> = (0..33).flat_map(|i| [0x1a, 3, 0x0a, 1, b'0' + i]).collect();
    check(
        &entries,
        DecodeError::TooMany {
            field: "metadata entries",
            max: 32,
        },
    );
    let huge = [&[0x2a, 0x80, 0x80, 0x08][..], &vec![b'x'; 128 * 1024]].concat();
    check(
        &huge,
        DecodeError::Oversize {
            len: huge.len(),
            max: 64 * 1024,
        },
    );
}

#[test]
fn the_pieces_make_valid_and_invalid_messages() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let mut draw = || vec(pieces(), 0..8).new_tree(&mut runner).unwrap().current();
    let valid = (0..2_000)
        .filter(|_| TelemetryEvent::decode(&*draw().concat()).is_ok())
        .count();
    assert!((200..1_800).contains(&valid), "{valid} of 2000");
}

#[test]
fn a_field_within_a_group_needs_a_valid_number_too() {
    // Field 100, start of group, a field of number 0 or of 30 bits, end of group.
    for inner in [varint(0), varint(1 << 32)] {
        let bytes = [&[0xa3, 0x06][..], &inner, &[1], &[0xa4, 0x06]].concat();
        assert!(TelemetryEvent::decode(&*bytes).is_err());
        assert_eq!(
            decode_event(&bytes, &DecodeLimits::default()).expect_err("no such field"),
            DecodeError::Malformed("event")
        );
    }
}

#[test]
fn groups_nested_a_hundred_thousand_deep_end_without_recursion() {
    // Field 100, start of group, over and over.
    let bytes = [0xa3, 0x06].repeat(100_000);
    assert_eq!(
        decode_event(&bytes, &DecodeLimits::default()).expect_err("too deep"),
        DecodeError::Malformed("event")
    );
}

#[test]
fn a_name_scattered_over_the_message_is_put_together() {
    let mut bytes = vec![0x0a, 1, b'a', 0x20, 7, 0x0a, 1, b'b'];
    append_sequence(&mut bytes, 300);
    let event = decode_event(&bytes, &DecodeLimits::default()).expect("valid");
    assert_eq!(event.parts.encoded(), None);
    assert_eq!(event.parts.dotted().as_deref(), Ok("a.b"));
    assert_eq!((event.timestamp_ns, event.sequence), (7, 300));
}
